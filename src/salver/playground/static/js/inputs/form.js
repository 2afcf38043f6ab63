// The form of a signature: one editor per input, or one table for all, and the request as JSON.
//
// An editor is {element, rows(), accept(rows)}: rows() gives the input's rows or throws InputError,
// accept(rows) shows rows that were typed as JSON and says whether it could.

import { el, fill, segments } from "../dom.js";
import { fitsOneTable, inputKinds, isBatched, pictureLayout, rowDims, shapeText } from "../shapes.js";
import { requestBody, valuesOf } from "../request.js";
import { recall, remember } from "../store.js";
import { examplesEditor } from "./examples.js";
import { fileEditor } from "./file.js";
import { padEditor } from "./pad.js";
import { pictureEditor } from "./picture.js";
import { numbersEditor, singleTable, tableEditor } from "./table.js";
import { jsonEditor, textEditor } from "./text.js";

const WORDS = {
  pad: "Draw", picture: "Picture", file: "File", text: "Text", table: "Table", numbers: "Numbers",
  examples: "Examples", json: "JSON",
};

/**
 * The form.
 * @param ask {key, signature, changed}; key names model and signature in what is remembered.
 * @returns {{element, body(), accept(body)}} body() throws InputError.
 */
export function signatureForm({ key, signature, changed }) {
  if (fitsOneTable(signature)) {
    const table = tableEditor({ specs: signature.inputs, isSingleRow: false, changed });
    return {
      element: el("div", { class: "form" }, inputsNote(signature), table.element),
      body: () => requestBody(signature, table.values()),
      accept: (body) => acceptWith(signature, body, (values) => table.accept(values)),
    };
  }
  const inputs = signature.inputs.map((spec) => inputBox({ key: `${key}:${spec.name}`, signature, spec, changed }));
  return {
    element: el("div", { class: "form" }, inputs.length ? inputs.map((input) => input.element)
      : el("p", { class: "hint" }, "This signature takes no input.")),
    body: () => requestBody(signature, new Map(inputs.map((input) => [input.spec.name, input.rows()]))),
    accept: (body) => acceptWith(signature, body, (values) => acceptEach(inputs, values)),
  };
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
  const only = values.size === 1 ? [...values.values()][0] : null;
  return inputs.every((input) => input.accept(only ?? values.get(input.spec.name)));
}

function inputBox({ key, signature, spec, changed }) {
  const kinds = kindsFor(signature, spec);
  const kept = recall(`kind:${key}`);
  let kind = kinds.includes(kept) ? kept : kinds[0];
  const made = new Map();
  const place = el("div", { class: "editor" });

  function editor() {
    if (!made.has(kind)) made.set(kind, makeEditor(kind, { key, signature, spec, changed }));
    return made.get(kind);
  }

  function choose(next) {
    kind = next;
    remember(`kind:${key}`, kind);
    fill(place, editor().element);
    changed();
  }

  fill(place, editor().element);
  const switcher = kinds.length > 1
    ? segments(`How to give ${spec.name}`, kinds.map((each) => [each, WORDS[each]]), kind, choose)
    : null;
  const element = el(
    "section",
    { class: "input", "aria-label": `Input ${spec.name}` },
    el("header", {}, inputTitle(spec), switcher),
    place,
  );
  return {
    spec,
    element,
    rows: () => editor().rows(),
    accept: (rows) => editor().accept(rows),
  };
}

/** The JSON of one input among several; of a single one the whole request is the better place. */
function kindsFor(signature, spec) {
  const kinds = inputKinds(spec, signature.call);
  const others = kinds.filter((kind) => kind !== "json");
  return signature.inputs.length === 1 && others.length ? others : kinds;
}

function inputTitle(spec) {
  return el(
    "div",
    { class: "input-title" },
    el("strong", {}, spec.name),
    el("code", { class: "type" }, `${spec.dtype}, ${shapeText(spec.shape)}`),
  );
}

function inputsNote(signature) {
  return el("p", { class: "hint types" }, signature.inputs.map((spec) => inputTitle(spec)));
}

function makeEditor(kind, { key, signature, spec, changed }) {
  const layout = pictureLayout(rowDims(spec));
  switch (kind) {
    case "pad": return padEditor({ spec, layout, key, changed });
    case "picture": return pictureEditor({ spec, layout, key, changed });
    case "file": return fileEditor({ spec, changed });
    case "text": return textEditor({ spec, changed });
    case "table": return singleTable(spec, !isBatched(spec), changed);
    case "numbers": return numbersEditor({ spec, changed });
    case "examples": return examplesEditor({ key, asBytes: signature.call === "predict", changed });
    default: return jsonEditor({ spec, changed });
  }
}
