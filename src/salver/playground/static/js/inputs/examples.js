// tf.Examples: named features, of which a signature says nothing. What was typed is remembered.

import { button, choice, el, fill } from "../dom.js";
import { InputError, scalarOf } from "../request.js";
import { featureJson, serialized, toBase64 } from "../tf_example.js";
import { recall, remember } from "../store.js";
import { Float } from "../json.js";

const TYPES = [["float", "float"], ["int", "integer"], ["string", "text"], ["bytes", "bytes (base64)"]];

/**
 * @param ask {key, asBytes, changed}; asBytes: for :predict, which takes the messages serialized.
 * @returns an editor; see form.js.
 */
export function examplesEditor({ key, asBytes, changed }) {
  let examples = recall(`examples:${key}`) ?? [[{ name: "x", type: "float", text: "1" }]];
  const list = el("div", { class: "examples" });

  function edited() {
    remember(`examples:${key}`, examples);
    changed();
  }

  function draw() {
    fill(list, examples.map(exampleBox));
  }

  function redraw(focus) {
    draw();
    list.querySelector(focus)?.focus();
    edited();
  }

  function exampleBox(features, at) {
    return el(
      "fieldset",
      { class: "example" },
      el("legend", {}, `Example ${at + 1}`),
      features.map((feature, i) => featureRow(features, feature, at, i)),
      el(
        "div",
        { class: "row" },
        button("Add a feature", () => {
          features.push({ name: "", type: "float", text: "" });
          redraw(`[data-at="${at}.${features.length - 1}"]`);
        }, { class: "quiet" }),
        examples.length > 1 ? button("Remove the example", () => {
          examples.splice(at, 1);
          redraw("button");
        }, { class: "quiet" }) : null,
      ),
    );
  }

  function featureRow(features, feature, at, i) {
    const label = `Example ${at + 1}, feature ${i + 1}`;
    const text = (name, words, more = {}) => el("input", {
      type: "text", value: feature[name], "aria-label": `${label}, ${words}`, placeholder: words,
      autocomplete: "off", spellcheck: "false", ...more,
      oninput: (event) => {
        feature[name] = event.target.value;
        edited();
      },
    });
    return el(
      "div",
      { class: "feature" },
      text("name", "name", { "data-at": `${at}.${i}` }),
      choice(TYPES, feature.type, (value) => {
        feature.type = value;
        edited();
      }, { "aria-label": `${label}, type` }),
      text("text", "value, or several with commas"),
      button("×", () => {
        features.splice(i, 1);
        redraw("button");
      }, { class: "quiet icon", "aria-label": `Remove ${label.toLowerCase()}` }),
    );
  }

  draw();
  return {
    element: el("div", {}, list, button("Add an example", () => {
      examples.push(structuredClone(examples.at(-1) ?? []));
      redraw(`[data-at="${examples.length - 1}.0"]`);
    }, { class: "quiet" })),
    rows() {
      const parsed = examples.map((features, at) => features.map((feature) => valued(feature, at)));
      if (asBytes) return parsed.map((features) => ({ b64: toBase64(serialized(features)) }));
      return parsed.map((features) =>
        Object.fromEntries(features.map((feature) => [feature.name, featureJson(feature)])));
    },
    accept(rows) {
      const read = rows.map(featuresOf);
      if (asBytes || read.includes(null)) return false;
      examples = read;
      draw();
      edited();
      return true;
    },
  };
}

function valued({ name, type, text }, at) {
  if (name === "") throw new InputError(`Example ${at + 1}: a feature has no name`);
  if (type === "string") return { name, type, values: [text] };
  const words = text.split(",").map((word) => word.trim()).filter(Boolean);
  if (type === "bytes") return { name, type, values: words };
  const dtype = type === "int" ? "int64" : "float32";
  return { name, type, values: words.map((word) => scalarOf(word, dtype, `Example ${at + 1}, ${name}`)) };
}

/** The features of an example that came as JSON; null where the form has no place for one. */
function featuresOf(example) {
  if (example === null || typeof example !== "object" || Array.isArray(example)) return null;
  const features = Object.entries(example).map(([name, value]) => featureOf(name, value));
  return features.includes(null) ? null : features;
}

function featureOf(name, value) {
  const values = Array.isArray(value) ? value : [value];
  if (values.every((v) => typeof v === "number" || typeof v === "bigint" || v instanceof Float)) {
    const isWhole = values.every((v) => typeof v === "bigint");
    // JSON.parse does not tell 2.0 from 2; models take floats far more often.
    return { name, type: isWhole ? "int" : "float", text: values.map((v) => v.value ?? v).join(", ") };
  }
  if (values.length === 1 && typeof values[0] === "string") return { name, type: "string", text: values[0] };
  if (values.every((v) => v && typeof v.b64 === "string")) {
    return { name, type: "bytes", text: values.map((v) => v.b64).join(", ") };
  }
  return null;
}
