// A picture for a tensor: dropped, pasted, chosen or taken, then fitted to what the model takes.

import { el, fill } from "../dom.js";
import { isInteger } from "../shapes.js";
import { InputError } from "../request.js";
import { resized, tensorOf, toCanvas, toned } from "../pixels.js";
import { dropBox, hearPaste } from "./drop.js";
import { previewBox, rangeOf } from "./preview.js";
import { settingsOf, settingsPanel } from "./settings.js";

/** @param ask {spec, layout, key, changed} @returns an editor; see form.js. */
export function pictureEditor({ spec, layout, key, changed }) {
  const settings = settingsOf(key, spec);
  const preview = previewBox();
  const original = el("div", { class: "original" });
  let canvas = null;
  let tensor = null;

  const box = dropBox({
    words: "Drop a picture here, or paste one.", accept: "image/*", onfile: open, onvideo: takeVideo,
  });

  async function open(file) {
    try {
      const bitmap = await createImageBitmap(file); // as turned by the camera that took it
      show(toCanvas(bitmap, bitmap.width, bitmap.height));
      box.say(`${file.name}, ${bitmap.width} × ${bitmap.height}`);
    } catch {
      box.say(`${file.name} is no picture that this browser can read.`);
    }
  }

  function takeVideo(video) {
    show(toCanvas(video, video.videoWidth, video.videoHeight));
    box.say(`From the camera, ${video.videoWidth} × ${video.videoHeight}`);
  }

  function show(picture) {
    canvas = picture;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "The picture");
    fill(original, canvas);
    update();
  }

  function update() {
    if (canvas === null) return;
    const width = layout.width > 0 ? layout.width : settings.width;
    const height = layout.height > 0 ? layout.height : settings.height;
    const pixels = toned(resized(canvas, width, height, settings.fit), settings, layout.channels);
    tensor = tensorOf(pixels, width, height, layout, settings, isInteger(spec.dtype));
    preview.show(pixels, width, height, layout.channels, rangeOf(tensor));
    changed();
  }

  const panel = settingsPanel({ key, layout, settings, isDrawn: false, changed: update });
  const element = el(
    "div",
    { class: "picture-editor" },
    box.element,
    el("div", { class: "pair" }, original, preview.element),
    panel,
  );
  hearPaste(element, open);
  return {
    element,
    rows() {
      if (tensor === null) throw new InputError("Choose a picture first.");
      return [tensor];
    },
    accept: () => false,
  };
}
