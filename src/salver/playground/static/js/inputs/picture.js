// Pictures for a tensor: dropped, pasted, chosen or taken, then fitted to what the model takes. Each
// is a row, so that several go as one batch.

import { button, el, fill } from "../dom.js";
import { groundOfCanvas, isToInvert, marksOf } from "../ground.js";
import { isInteger } from "../shapes.js";
import { InputError } from "../request.js";
import { canvasOf, pixelsOf, resized, tensorOf, toCanvas, toned } from "../pixels.js";
import { dropBox, hearPaste } from "./drop.js";
import { paint, previewBox, rangeOf } from "./preview.js";
import { guessNote, settingsOf, settingsPanel } from "./settings.js";

const MOST_PICTURES = 64;

/** @param ask {spec, layout, key, changed} @returns an editor; see form.js. */
export function pictureEditor({ spec, layout, key, changed }) {
  const settings = settingsOf(key, spec);
  const preview = previewBox();
  const original = el("div", { class: "original" });
  const pair = el("div", { class: "pair" }, original, preview.element);
  const batch = el("ul", { class: "batch" });
  const note = el("p", { class: "hint found", role: "status" });
  let items = []; // {name, canvas} from a picture, {name, tensor} as it was given; with pixels, made

  const box = dropBox({
    words: "Drop pictures here, or paste one.", accept: "image/*", isMany: true, onfiles: open, onvideo: takeVideo,
  });

  /** Takes files in the place of what was there; says whether any could be read. */
  async function open(files) {
    const taken = [...files].slice(0, MOST_PICTURES);
    const read = await Promise.all(taken.map(readPicture));
    const found = read.filter((each) => each.canvas);
    const bad = read.filter((each) => !each.canvas).map(({ name }) => `${name} is no picture that this browser can read.`);
    if (files.length > taken.length) bad.push(`${MOST_PICTURES} pictures at most.`);
    if (found.length) put(found);
    box.say([...bad, ...(found.length === 1 ? [sizeText(found[0])] : found.length ? [`${found.length} pictures, sent as one batch.`] : [])].join(" "));
    return found.length > 0;
  }

  async function readPicture(file) {
    try {
      const bitmap = await createImageBitmap(file); // as turned by the camera that took it
      return { name: file.name, size: [bitmap.width, bitmap.height], canvas: toCanvas(bitmap, bitmap.width, bitmap.height) };
    } catch {
      return { name: file.name };
    }
  }

  function takeVideo(video) {
    const [width, height] = [video.videoWidth, video.videoHeight];
    put([{ name: "From the camera", canvas: toCanvas(video, width, height) }]);
    box.say(`From the camera, ${width} × ${height}`);
  }

  function put(next) {
    items = next;
    update();
  }

  const sizes = () => [layout.width > 0 ? layout.width : settings.width, layout.height > 0 ? layout.height : settings.height];

  function make(item) {
    const [width, height] = sizes();
    if (!item.canvas) return { ...item, pixels: pixelsOf(item.tensor, width, height, layout, settings), isInverted: false };
    const ground = groundOfCanvas(item.canvas);
    const isInverted = isToInvert(settings.invert, spec.meaning.ground, ground);
    const isCut = settings.fit === "marks";
    const source = isCut ? marksOf(item.canvas, ground) : item.canvas;
    const pixels = toned(resized(source, width, height, isCut ? "crop" : settings.fit), { ...settings, invert: isInverted }, layout.channels);
    return { ...item, pixels, isInverted, tensor: tensorOf(pixels, width, height, layout, settings, isInteger(spec.dtype)) };
  }

  function update() {
    items = items.map(make);
    draw();
    if (items.length) changed();
  }

  function draw() {
    const [width, height] = sizes();
    const only = items.length === 1 ? items[0] : null;
    pair.hidden = !only;
    fill(original, only?.canvas ? named(only.canvas) : null);
    if (only?.pixels) preview.show(only.pixels, width, height, layout.channels, rangeOf(only.tensor));
    else preview.clear();
    fill(batch, items.length > 1 ? items.map((item, at) => thumbnail(item, at, width, height)) : null);
    drawNote();
  }

  function named(canvas) {
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "The picture");
    return canvas;
  }

  function thumbnail(item, at, width, height) {
    const canvas = item.pixels ? paint(canvasOf(width, height), item.pixels, width, height) : canvasOf(1, 1);
    canvas.className = "pixels";
    return el("li", {}, canvas, el("span", { class: "hint", dir: "auto" }, item.name),
      button("×", () => put(items.filter((_, other) => other !== at)), { class: "quiet icon", "aria-label": `Remove ${item.name}` }));
  }

  /** Says that pictures were turned, with the way to have it otherwise. */
  function drawNote() {
    const turned = items.filter(({ isInverted }) => isInverted).length;
    if (!turned || settings.invert !== "auto") {
      fill(note, settings.invert === "no" && items.some(({ canvas }) => canvas && looksInverted(canvas))
        ? ["It looks inverted. ", button("Invert it", () => panel.set("invert", "auto"), { class: "quiet" })] : null);
      return;
    }
    const [found, wanted] = spec.meaning.ground === "dark" ? ["dark on light", "light on dark"] : ["light on dark", "dark on light"];
    const what = items.length === 1 ? "The picture is" : `${turned} of ${items.length} pictures are`;
    fill(note, `${what} ${found}, and the model wants ${wanted}: inverted. `,
      button("Do not invert", () => panel.set("invert", "no"), { class: "quiet" }));
  }

  const looksInverted = (canvas) => isToInvert("auto", spec.meaning.ground, groundOfCanvas(canvas));

  const panel = settingsPanel({ key, spec, layout, settings, isDrawn: false, changed: update });
  const element = el("div", { class: "picture-editor" }, box.element, note, pair, batch, panel.element, guessNote(spec));
  hearPaste(element, open);
  draw();
  return {
    element,
    open,
    rows() {
      if (items.length === 0) throw new InputError("Choose a picture first.");
      return items.map(({ tensor }) => tensor);
    },
    accept(rows) {
      const [width, height] = sizes();
      if (!rows.length || rows.length > MOST_PICTURES) return false;
      if (rows.some((tensor) => pixelsOf(tensor, width, height, layout, settings) === null)) return false;
      box.say("");
      items = rows.map((tensor, at) => make({ name: rows.length > 1 ? `Picture ${at + 1}` : "As given", tensor }));
      draw();
      return true;
    },
    thumbnails: () => items.map(({ pixels }) => ({ pixels, size: sizes() })),
  };
}

const sizeText = ({ name, size }) => `${name}, ${size[0]} × ${size[1]}`;
