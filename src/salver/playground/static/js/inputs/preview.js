// What the model will see: the pixels it gets, large enough to be looked at, and their range.

import { el, fill } from "../dom.js";
import { canvasOf } from "../pixels.js";
import { numberText } from "../results.js";

/** A place that shows the pixels a model gets. @returns {{element, show, clear}} */
export function previewBox() {
  const canvas = el("canvas", { class: "pixels", width: 1, height: 1, role: "img", "aria-label": "What the model sees" });
  const words = el("p", { class: "hint" });
  const element = el("div", { class: "preview" }, el("p", { class: "label" }, "What the model sees"), canvas, words);

  /** @param pixels RGBA before scaling. @param range [least, most] of the numbers that are sent. */
  function show(pixels, width, height, channels, range) {
    element.classList.remove("empty");
    canvas.width = width;
    canvas.height = height;
    paint(canvas, pixels, width, height);
    canvas.classList.toggle("wide", width > height * 1.6);
    const depth = channels === 1 ? "" : ` × ${channels}`;
    const [least, most] = range.map((value) => numberText(value, 3).replace("-", "−"));
    fill(words, `${height} × ${width}${depth}, values from ${least} to ${most}`);
  }

  function clear() {
    element.classList.add("empty");
    canvas.width = canvas.height = 1;
    fill(words, "Nothing yet");
  }

  clear();
  return { element, show, clear };
}

/** Puts RGBA pixels on a canvas of their size. */
export function paint(canvas, pixels, width, height) {
  const image = canvasOf(width, height).getContext("2d").createImageData(width, height);
  image.data.set(pixels);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** The least and the greatest number of a nested array. */
export function rangeOf(value) {
  let least = Infinity;
  let most = -Infinity;
  const walk = (at) => {
    if (Array.isArray(at)) at.forEach(walk);
    else {
      least = Math.min(least, at);
      most = Math.max(most, at);
    }
  };
  walk(value);
  return [least, most];
}
