// Numbers, text, tables, pictures and JSON.

import { button, download, el } from "../dom.js";
import { pretty } from "../json.js";
import { withUnit } from "../meaning.js";
import { canvasOf } from "../pixels.js";
import { dimsOf, isNumber, leafOf, numberText } from "../results.js";
import { pictureLayout } from "../shapes.js";

const MOST_ROWS = 200;
const MOST_CHARACTERS = 20000;
const PICTURES = [["iVBORw0KGgo", "image/png"], ["/9j/", "image/jpeg"], ["R0lGOD", "image/gif"], ["UklGR", "image/webp"]];

/** One number, large, with its unit and its place beside the threshold. */
export function numberView({ row, said = {} }) {
  const value = leafOf(row);
  const { unit = "", threshold } = said;
  return el("div", {},
    el("p", { class: "big-number" }, numberText(value, 7), unit ? el("small", { dir: "auto" }, ` ${unit}`) : null),
    threshold === undefined ? null
      : el("p", { class: "verdict" }, `${value >= threshold ? "At or above" : "Below"} the threshold of ${withUnit(numberText(threshold), unit)}`));
}

/** Strings and bytes, as text alone; bytes that are a picture as one. */
export function textView({ row }) {
  return el("div", { class: "texts" }, [row].flat(Infinity).map((value) =>
    typeof value === "string" ? el("p", { class: "text", dir: "auto" }, value || "(an empty string)") : bytesView(value.b64)));
}

function bytesView(base64) {
  const found = PICTURES.find(([start]) => base64.startsWith(start));
  const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
  const save = button("Save", () => download("output.bin", bytes, "application/octet-stream"), { class: "quiet" });
  const note = el("p", { class: "hint" }, `${bytes.length.toLocaleString("en")} bytes `, save);
  if (found) return el("div", {}, el("img", { class: "answer", src: `data:${found[1]};base64,${base64}`, alt: "The answer as a picture" }), note);
  const hex = [...bytes.subarray(0, 64)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return el("div", {}, el("code", { class: "text" }, bytes.length > 64 ? `${hex} …` : hex), note);
}

/** A vector as index and value, a matrix as a grid. */
export function tableView({ row, labels, said = {} }) {
  const isVector = dimsOf(row).length === 1;
  const head = isVector ? ["", withUnit("Value", said.unit && `(${said.unit})`)] : ["", ...row[0].map((_, i) => i)];
  const name = (at) => (isVector && labels?.[at] !== undefined ? labels[at] : at);
  const body = row.slice(0, MOST_ROWS).map((value, at) => el(
    "tr", {}, el("th", { scope: "row", dir: "auto" }, name(at)),
    [value].flat().map((each) => el("td", { class: "digits" }, numberText(each))),
  ));
  const more = row.length > MOST_ROWS ? el("p", { class: "hint" }, `… and ${row.length - MOST_ROWS} more`) : null;
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Values" }, el("table", { class: "values" },
    el("thead", {}, el("tr", {}, head.map((words) => el("th", { scope: "col" }, words)))),
    el("tbody", {}, body)), more);
}

/** A picture, its darkest value black and its brightest white unless it is from 0 to 1 or 255. */
export function pictureView({ row }) {
  const layout = pictureLayout(dimsOf(row));
  const flat = row.flat(Infinity).map(Number);
  const least = flat.reduce((a, b) => Math.min(a, b), Infinity);
  const most = flat.reduce((a, b) => Math.max(a, b), -Infinity);
  const [black, white] = rangeFor(least, most);
  const { height, width, channels, order } = layout;
  const canvas = canvasOf(width, height);
  const image = canvas.getContext("2d").createImageData(width, height);
  for (let at = 0; at < width * height; at += 1) {
    for (let c = 0; c < 4; c += 1) {
      const from = channels === 1 ? at : order === "chw" ? c * width * height + at : at * channels + c;
      const isAlpha = c === 3;
      image.data[at * 4 + c] = isAlpha && channels < 4 ? 255 : ((flat[from] - black) / (white - black)) * 255;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.className = "answer pixels";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The answer as a picture");
  const words = `${height} × ${width}, values from ${numberText(least, 3)} to ${numberText(most, 3)}`;
  return el("div", {}, canvas, el("p", { class: "hint" }, words));
}

function rangeFor(least, most) {
  if (least >= 0 && most <= 1) return [0, 1];
  if (least >= -1 && most <= 1) return [-1, 1];
  if (least >= 0 && most <= 255 && most > 10) return [0, 255];
  return [least, most > least ? most : least + 1];
}

/** JSON, cut where it is very long. */
export function jsonView({ row }) {
  const text = pretty(row);
  const shown = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}\n…` : text;
  return el("pre", { class: "code scroll", tabindex: 0 }, shown);
}

/** One value on a line, for tables of many rows. */
export function shortText(value) {
  if (isNumber(value) || typeof value === "boolean") return numberText(value);
  if (typeof value === "string") return value;
  const text = pretty(value, "", Infinity).replace(/-?[0-9]+\.[0-9]{5,}(?:e-?[0-9]+)?/g, (digits) => numberText(Number(digits), 4));
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
