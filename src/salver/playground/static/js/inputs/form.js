// The form of a signature: one editor per input, or one table for all.
//
// An editor is {element, rows(), accept(rows), open?(files)}: rows() gives the input's rows or throws
// InputError; accept(rows) shows rows that came as JSON, and says whether it could; open(files) takes
// files in their place, a promise of the same.

import { el, fill, segments } from "../dom.js";
import { isBatched, shapeText } from "../shapes.js";
import { rowsOf, sharesOneTable } from "../meaning.js";
import { InputError, requestBody, valuesOf } from "../request.js";
import { parse } from "../json.js";
import { recall, remember } from "../store.js";
import { examplesEditor } from "./examples.js";
import { fileEditor } from "./file.js";
import { padEditor } from "./pad.js";
import { pictureEditor } from "./picture.js";
import { soundEditor } from "./sound.js";
import { numbersEditor, singleTable, tableEditor } from "./table.js";
import { jsonEditor, textEditor } from "./text.js";

const WORDS = {
  pad: "Draw", picture: "Picture", file: "File", sound: "Sound", text: "Text", table: "Table",
  numbers: "Numbers", examples: "Examples", json: "JSON",
};

/**
 * The form.
 * @param ask {key, signature, changed}; key names model and signature in what is remembered.
 * @returns {{element, body(), accept(body), give(example), thumbnails()}} body() throws InputError.
 *     give(example) shows {inputs: Map of input → value, files: Map of input → File}, a promise of
 *     whether it could.
 */
export function signatureForm({ key, signature, changed }) {
  if (sharesOneTable(signature)) return tableForm(signature, changed);
  const inputs = signature.inputs.map((spec) => inputBox({ key: `${key}:${spec.name}`, signature, spec, changed }));
  const byName = new Map(inputs.map((input) => [input.spec.name, input]));
  return {
    element: el("div", { class: "form" }, inputs.length ? inputs.map((input) => input.element)
      : el("p", { class: "hint" }, "This signature takes no input.")),
    body: () => requestBody(signature, new Map(inputs.filter((input) => input.isGiven()).map((input) => [input.spec.name, input.rows()]))),
    accept: (body) => acceptWith(signature, body, (values) => acceptEach(inputs, values)),
    async give({ inputs: given, files }) {
      const done = [...given].map(([name, value]) => byName.get(name)?.accept(rowsOf(value, byName.get(name).spec)) ?? false);
      for (const [name, file] of files) done.push(await (byName.get(name)?.open(file) ?? false));
      return done.every(Boolean);
    },
    thumbnails: () => inputs.map((input) => input.thumbnails()).find((found) => found.length) ?? [],
  };
}

function tableForm(signature, changed) {
  const table = tableEditor({ specs: signature.inputs, isSingleRow: false, changed });
  const isDescribed = signature.inputs.some(({ said }) => Object.keys(said).length > 0);
  const [first] = signature.examples;
  const isGiven = ({ name, isOptional }) => first.inputs?.[name] !== undefined || isOptional;
  if (first && signature.inputs.every(isGiven)) {
    const specs = signature.inputs.filter(({ name }) => first.inputs?.[name] !== undefined);
    table.accept(new Map(specs.map((spec) => [spec.name, rowsOf(first.inputs[spec.name], spec)])));
  }
  return {
    element: el("div", { class: "form" }, isDescribed ? described(signature) : inputsNote(signature), table.element),
    body: () => requestBody(signature, table.values()),
    accept: (body) => acceptWith(signature, body, (values) => table.accept(values)),
    async give({ inputs: given, files }) {
      const values = new Map();
      for (const spec of signature.inputs) {
        const value = files.has(spec.name) ? await valueIn(files.get(spec.name)) : given.get(spec.name);
        if (value === undefined && spec.isOptional) continue;
        values.set(spec.name, rowsOf(value, spec));
      }
      return table.accept(values);
    },
    thumbnails: () => [],
  };
}

/** Titles of vectors, whose columns have names of their own. */
function described(signature) {
  const words = signature.inputs.filter(({ said }) => said.names?.length && (said.title || said.description));
  return words.length ? words.map(({ said }) => el("div", {}, el("strong", { dir: "auto" }, said.title ?? ""),
    said.description ? el("p", { class: "hint", dir: "auto" }, said.description) : null)) : null;
}

async function valueIn(file) {
  try {
    return parse(await file.text());
  } catch {
    throw new InputError(`${file.name} is no JSON.`);
  }
}

function acceptWith(signature, body, accept) {
  const values = valuesOf(signature, body);
  try {
    return values !== null && accept(values);
  } catch {
    return false; // rows of another form than this input's
  }
}

function acceptEach(inputs, values) {
  const only = inputs.length === 1 ? [...values.values()][0] : undefined;
  return inputs.every((input) => {
    const rows = only ?? values.get(input.spec.name);
    return rows === undefined ? input.leaveOut() : input.accept(rows);
  });
}

function inputBox({ key, signature, spec, changed }) {
  const kinds = kindsFor(signature, spec);
  const kept = recall(`kind:${key}`);
  let kind = kinds.includes(kept) ? kept : kinds[0];
  const made = new Map();
  const place = el("div", { class: "editor" });
  const head = el("header", {});
  let isGiven = !spec.isOptional; // until the person, or a request from elsewhere, gives it

  function touched() {
    isGiven = true;
    changed();
  }

  function editorOf(which) {
    if (!made.has(which)) made.set(which, makeEditor(which, { key, signature, spec, changed: touched }));
    return made.get(which);
  }

  const editor = () => editorOf(kind);

  function show(next) {
    kind = next;
    fill(place, editor().element);
    fill(head, inputTitle(spec), kinds.length > 1
      ? segments(`How to give ${spec.name}`, kinds.map((each) => [each, WORDS[each]]), kind, choose)
      : null);
  }

  function choose(next) {
    remember(`kind:${key}`, next);
    show(next);
    head.querySelector("input:checked")?.focus();
    changed();
  }

  /** The first way of giving it that can show something, the present one before all. */
  const firstThat = (can) => [kind, ...kinds.filter((each) => each !== kind)].find(can);

  function accept(rows) {
    const next = firstThat((each) => editorOf(each).accept(rows));
    if (next !== undefined && next !== kind) show(next);
    isGiven ||= next !== undefined;
    return next !== undefined;
  }

  async function open(file) {
    if (/\.json$/i.test(file.name)) return accept(rowsOf(await valueIn(file), spec));
    if (kinds[0] === "text") return accept([await file.text()]);
    const next = firstThat((each) => editorOf(each).open);
    if (next === undefined || !(await editorOf(next).open([file]))) return false;
    if (next !== kind) show(next);
    isGiven = true;
    return true;
  }

  show(kind);
  const element = el(
    "section",
    { class: "input", "aria-label": `Input ${spec.name}` },
    head,
    spec.said.description ? el("p", { class: "hint", dir: "auto" }, spec.said.description) : null,
    place,
  );
  return {
    spec,
    element,
    isGiven: () => isGiven,
    leaveOut() {
      isGiven = !spec.isOptional;
      return !isGiven;
    },
    accept,
    open,
    rows: () => editor().rows(),
    thumbnails: () => editor().thumbnails?.() ?? [],
  };
}

/** The JSON of one input among several; of a single one the whole request is the better place. */
function kindsFor(signature, spec) {
  const { kinds } = spec.meaning;
  const others = kinds.filter((kind) => kind !== "json");
  return signature.inputs.length === 1 && others.length ? others : kinds;
}

function inputTitle(spec) {
  return el(
    "div",
    { class: "input-title" },
    el("strong", { dir: "auto" }, spec.said.title || spec.name),
    el("code", { class: "type" }, `${spec.said.title ? `${spec.name}: ` : ""}${spec.dtype}, ${shapeText(spec.shape)}${spec.isOptional ? ", may be left out" : ""}`),
  );
}

function inputsNote(signature) {
  return el("p", { class: "hint types" }, signature.inputs.map((spec) => inputTitle(spec)));
}

function makeEditor(kind, { key, signature, spec, changed }) {
  const { layout } = spec.meaning;
  switch (kind) {
    case "pad": return padEditor({ spec, layout, key, changed });
    case "picture": return pictureEditor({ spec, layout, key, changed });
    case "file": return fileEditor({ spec, changed });
    case "sound": return soundEditor({ spec, changed });
    case "text": return textEditor({ spec, changed });
    case "table": return singleTable(spec, !isBatched(spec), changed);
    case "numbers": return numbersEditor({ spec, changed });
    case "examples": return examplesEditor({ key, asBytes: signature.call === "predict", changed });
    default: return jsonEditor({ spec, changed });
  }
}
