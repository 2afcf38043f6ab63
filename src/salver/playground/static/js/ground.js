// What stands behind the marks of a picture, light paper or a dark board, and where the marks are.

import { canvasOf } from "./pixels.js";

const SIDE = 96; // pictures are looked at in this size: enough to tell paper from ink
const FAINT = 30; // a picture whose values differ less has no marks
const NOISE = 0.002; // part of the darkest and of the lightest pixels that may be dust
const CLEAR = 0.75; // part of the border that must agree
const SMALL_PART = 0.7; // marks that take less of a picture are cut out of it
const ROOM = 1.3; // around what is cut out, as around MNIST's digits

/** Luma of RGBA pixels, 0 to 255. */
function lumas(pixels) {
  const found = new Float32Array(pixels.length / 4);
  for (let i = 0; i < found.length; i += 1) {
    found[i] = 0.299 * pixels[4 * i] + 0.587 * pixels[4 * i + 1] + 0.114 * pixels[4 * i + 2];
  }
  return found;
}

/**
 * Which ground marks stand on.
 * @param pixels RGBA of width × height.
 * @returns {"light"|"dark"|null} null where that is not clear.
 */
export function groundOf(pixels, width, height) {
  const all = lumas(pixels);
  const sorted = Float32Array.from(all).sort();
  const low = sorted[Math.floor(sorted.length * NOISE)];
  const high = sorted[Math.ceil(sorted.length * (1 - NOISE)) - 1];
  if (high - low < FAINT) return null;
  const middle = (low + high) / 2;
  const border = [];
  for (let x = 0; x < width; x += 1) border.push(all[x], all[(height - 1) * width + x]);
  for (let y = 0; y < height; y += 1) border.push(all[y * width], all[y * width + width - 1]);
  const part = (values) => values.filter((value) => value > middle).length / values.length;
  const light = part(border);
  if (light >= CLEAR) return "light";
  if (light <= 1 - CLEAR) return "dark";
  const inAll = part(all); // marks that touch the border: there is still less ink than ground
  return inAll >= 0.65 ? "light" : inAll <= 0.35 ? "dark" : null;
}

/** A canvas as small as is needed to look at it: {pixels, width, height, scale}. */
function looked(canvas) {
  const scale = Math.min(1, SIDE / Math.max(canvas.width, canvas.height));
  const width = Math.max(1, Math.round(canvas.width * scale));
  const height = Math.max(1, Math.round(canvas.height * scale));
  const small = canvasOf(width, height).getContext("2d", { willReadFrequently: true });
  small.imageSmoothingQuality = "high";
  small.drawImage(canvas, 0, 0, width, height);
  return { pixels: small.getImageData(0, 0, width, height).data, width, height, scale };
}

/** The ground of a canvas; see `groundOf`. */
export function groundOfCanvas(canvas) {
  const { pixels, width, height } = looked(canvas);
  return groundOf(pixels, width, height);
}

/**
 * The square around the marks of a picture, where they take little of it; else the picture.
 * @param ground what they stand on; null for a picture without marks.
 */
export function marksOf(canvas, ground) {
  if (ground === null) return canvas;
  const { pixels, width, height, scale } = looked(canvas);
  const all = lumas(pixels);
  const ends = [...all].sort((a, b) => a - b);
  const paper = ground === "light" ? ends.at(-1 - Math.floor(all.length * 0.1)) : ends[Math.floor(all.length * 0.1)];
  const ink = ground === "light" ? ends[0] : ends.at(-1);
  let [left, right, top, bottom] = [width, -1, height, -1];
  all.forEach((value, i) => {
    if (Math.abs(value - paper) < 0.4 * Math.abs(ink - paper)) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  });
  const large = Math.max(right - left + 1, bottom - top + 1);
  if (right < 0 || large > SMALL_PART * Math.min(width, height)) return canvas;
  const side = Math.max(1, Math.round((large * ROOM) / scale));
  const square = canvasOf(side, side);
  const target = square.getContext("2d", { willReadFrequently: true });
  const shade = Math.round(paper);
  target.fillStyle = `rgb(${shade}, ${shade}, ${shade})`;
  target.fillRect(0, 0, side, side);
  const x = (left + right + 1) / 2 / scale - side / 2;
  const y = (top + bottom + 1) / 2 / scale - side / 2;
  target.drawImage(canvas, -x, -y);
  return square;
}

/**
 * Whether a picture is to be inverted for a model.
 * @param choice "auto", "yes" or "no".
 * @param wanted the ground that the model wants; null where it does not matter or is not known.
 * @param found the ground of the picture.
 */
export function isToInvert(choice, wanted, found) {
  if (choice !== "auto") return choice === "yes";
  return wanted !== null && found !== null && wanted !== found;
}
