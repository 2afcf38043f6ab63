// Examples that the model brings: one click puts one in.

import { exampleFile } from "../api.js";
import { button, el, fill } from "../dom.js";
import { rowsOf } from "../meaning.js";
import { canvasOf, pixelsOf } from "../pixels.js";
import { InputError } from "../request.js";
import { paint } from "./preview.js";
import { settingsOf } from "./settings.js";

const MOST_AT_FIRST = 12;
const TYPES = new Map(Object.entries({ png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif",
  webp: "image/webp", bmp: "image/bmp", wav: "audio/wav", mp3: "audio/mpeg", ogg: "audio/ogg", flac: "audio/flac" }));

/**
 * The examples of a signature.
 * @param ask {model, version(), signature, give(example), done(), refuse(error)}; see form.js.
 * @returns an element; null without examples.
 */
export function givenExamples({ model, version, signature, give, done, refuse }) {
  const { examples } = signature;
  if (!examples.length) return null;
  const list = el("ul", { class: "given" });
  let isAll = examples.length <= MOST_AT_FIRST + 1;

  function draw() {
    fill(list, examples.slice(0, isAll ? undefined : MOST_AT_FIRST).map((example, at) => el("li", {}, chip(example, at))),
      isAll ? null : el("li", {}, button(`${examples.length - MOST_AT_FIRST} more`, () => {
        isAll = true;
        draw();
      }, { class: "quiet" })));
  }

  function chip(example, at) {
    const words = example.title || Object.values(example.files ?? {})[0]?.split("/").at(-1) || `Example ${at + 1}`;
    return el("button", { type: "button", class: "example-chip", onclick: () => use(example, words) },
      thumbnail(example, signature), el("span", { dir: "auto" }, words));
  }

  async function use(example, words) {
    try {
      const files = new Map();
      for (const [input, path] of Object.entries(example.files ?? {})) {
        const name = path.split("/").at(-1);
        const type = TYPES.get(name.split(".").at(-1).toLowerCase()) ?? "";
        files.set(input, new File([await exampleFile(model, version(), path)], name, { type }));
      }
      if (await give({ inputs: new Map(Object.entries(example.inputs ?? {})), files })) done();
      else refuse(new InputError(`The example “${words}” is not as this input takes it.`));
    } catch (error) {
      refuse(error);
    }
  }

  draw();
  return el("section", { class: "given-examples", "aria-label": "Examples" }, el("p", { class: "label" }, "Try an example"), list);
}

/** Of a picture that the document itself holds. */
function thumbnail(example, { inputs }) {
  for (const spec of inputs) {
    const { layout, kinds } = spec.meaning;
    const value = example.inputs?.[spec.name];
    if (value === undefined || !layout || layout.width < 1 || !["pad", "picture"].includes(kinds[0])) continue;
    const settings = { ...settingsOf("", spec), bgr: false };
    const pixels = pixelsOf(rowsOf(value, spec)[0], layout.width, layout.height, layout, settings);
    if (!pixels) continue;
    const canvas = paint(canvasOf(layout.width, layout.height), pixels, layout.width, layout.height);
    canvas.className = "pixels";
    canvas.setAttribute("aria-hidden", "true");
    return canvas;
  }
  return null;
}
