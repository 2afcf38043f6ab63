// A pad to draw on, for the pictures of handwriting that so many first models take: white on black,
// as in MNIST. With the keyboard: arrows move the pen, the space bar lowers and lifts it.

import { button, el, field } from "../dom.js";
import { isInteger } from "../shapes.js";
import { InputError } from "../request.js";
import { isToInvert } from "../ground.js";
import { canvasOf, centred, pixelsOf, resized, tensorOf, toned } from "../pixels.js";
import { paint, previewBox, rangeOf } from "./preview.js";
import { guessNote, settingsOf, settingsPanel } from "./settings.js";

const SIDE = 280;
const STEP = 10;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param ask {spec, layout, key, changed} @returns an editor; see form.js. */
export function padEditor({ spec, layout, key, changed }) {
  const settings = settingsOf(key, spec);
  const preview = previewBox();
  const ink = el("canvas", { width: SIDE, height: SIDE });
  const canvas = el("canvas", {
    class: "pad", width: SIDE, height: SIDE, tabindex: 0, role: "application",
    "aria-label": "Drawing pad. Arrow keys move the pen, space lowers and lifts it, Backspace undoes.",
  });
  const brush = el("input", { type: "range", min: 8, max: 44, value: layout.width < 16 ? 30 : 20 });
  const pen = { x: SIDE / 2, y: SIDE / 4, isDown: false };
  let strokes = [];
  let given = null; // {tensor, pixels}: an example in the place of a drawing
  let tensor = null;

  function begin(x, y) {
    given = null;
    strokes.push({ width: Number(brush.value), points: [[x, y]] });
  }

  function goOn(x, y) {
    strokes.at(-1).points.push([x, y]);
  }

  function draw() {
    const context = ink.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    context.strokeStyle = context.fillStyle = "#fff";
    context.lineCap = context.lineJoin = "round";
    for (const { width, points } of strokes) {
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...points[0]);
      for (const point of points) context.lineTo(...point);
      context.stroke();
    }
    const shown = canvas.getContext("2d");
    shown.drawImage(ink, 0, 0);
    if (given) drawGiven(shown);
    else if (strokes.length === 0) drawInvitation(shown);
    if (document.activeElement === canvas && canvas.dataset.keys) drawPen(shown);
  }

  function drawInvitation(context) {
    context.fillStyle = "#8b9199";
    context.font = `20px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "center";
    context.fillText("Draw here", SIDE / 2, SIDE / 2 + 6);
  }

  function drawGiven(context) {
    const { width, height } = layout;
    const picture = paint(canvasOf(width, height), given.pixels, width, height);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, SIDE, SIDE);
  }

  function drawPen(context) {
    context.strokeStyle = pen.isDown ? "#4fd1c5" : "#999";
    context.lineWidth = 2;
    context.beginPath();
    context.arc(pen.x, pen.y, Number(brush.value) / 2, 0, 7);
    context.stroke();
  }

  function update() {
    draw();
    const { width, height } = layout;
    if (given) {
      ({ tensor } = given);
      preview.show(given.pixels, width, height, 1, rangeOf(tensor));
    } else if (strokes.length === 0) {
      tensor = null;
      preview.clear();
    } else {
      const source = settings.centre ? centred(ink) : ink;
      const invert = isToInvert(settings.invert, spec.meaning.ground, "dark");
      const pixels = toned(resized(source, width, height, "stretch"), { ...settings, invert }, 1);
      tensor = tensorOf(pixels, width, height, layout, settings, isInteger(spec.dtype));
      preview.show(pixels, width, height, 1, rangeOf(tensor));
    }
    changed();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    const scale = SIDE / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    delete canvas.dataset.keys;
    begin(...place(event));
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    goOn(...place(event));
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, update);
  canvas.addEventListener("blur", draw);
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    canvas.dataset.keys = "yes";
    if (event.key === " ") {
      pen.isDown = !pen.isDown;
      if (pen.isDown) begin(pen.x, pen.y);
    } else if (event.key in MOVES) {
      const [dx, dy] = MOVES[event.key];
      pen.x = Math.min(SIDE, Math.max(0, pen.x + dx * STEP));
      pen.y = Math.min(SIDE, Math.max(0, pen.y + dy * STEP));
      if (pen.isDown) goOn(pen.x, pen.y);
    } else if (event.key === "Backspace") undo();
    else return;
    event.preventDefault();
    update();
  });

  function undo() {
    given = null;
    strokes = strokes.slice(0, -1);
    pen.isDown = false;
    update();
  }

  function clear() {
    given = null;
    strokes = [];
    pen.isDown = false;
    update();
  }

  const element = el(
    "div",
    { class: "pad-editor" },
    el(
      "div",
      { class: "pair" },
      el("div", { class: "pad-box" }, canvas, el(
        "div",
        { class: "row" },
        button("Undo", undo, { class: "quiet" }),
        button("Clear", clear, { class: "quiet" }),
        el("div", { class: "brush" }, field("Brush", brush)),
      )),
      preview.element,
    ),
    settingsPanel({ key, spec, layout, settings, isDrawn: true, changed: update }).element,
    guessNote(spec),
  );
  draw();
  return {
    element,
    rows() {
      if (tensor === null) throw new InputError("Draw something first.");
      return [tensor];
    },
    accept(rows) {
      const pixels = rows.length === 1 ? pixelsOf(rows[0], layout.width, layout.height, layout, settings) : null;
      if (pixels === null) return false;
      strokes = [];
      given = { tensor: rows[0], pixels };
      draw();
      tensor = given.tensor;
      preview.show(pixels, layout.width, layout.height, 1, rangeOf(tensor));
      return true;
    },
  };
}
