// What tensors mean to a person: as the model says in assets/salver.json, else guessed, and then
// the guess is said. Pure.

import { count, fitsOneTable, inputKinds, isFloat, isNumeric, pictureLayout, rowDims } from "./shapes.js";

const LARGEST_DRAWN = 64; // a square picture of one channel that is not larger is taken for a drawing

/**
 * Adds `said`, `meaning` and `isOptional` to the specs of a signature.
 * @param signature see `readMetadata`.
 * @param about what the model says of the signature; null where it says nothing.
 * @param optional names of the inputs that a request may leave out.
 */
export function describe(signature, about, optional = []) {
  const order = Object.keys(about?.inputs ?? {});
  const place = ({ name }) => (order.includes(name) ? order.indexOf(name) : order.length);
  const inputs = [...signature.inputs].sort((a, b) => place(a) - place(b)).map((spec) => {
    const said = about?.inputs?.[spec.name] ?? {};
    return { ...spec, said, meaning: inputMeaning(spec, signature.call, said), isOptional: optional.includes(spec.name) };
  });
  const outputs = signature.outputs.map((spec) => ({ ...spec, said: about?.outputs?.[spec.name] ?? {} }));
  return {
    ...signature, inputs, outputs,
    title: about?.title ?? "", description: about?.description ?? "", examples: about?.examples ?? [],
  };
}

/**
 * How an input is given.
 * @returns {{kinds: Array, layout, ground: "dark"|"light"|null, guesses: Array<string>}} kinds: the
 *     ways to give it, the best first. ground: what stands behind the marks of a picture.
 */
export function inputMeaning(spec, call, said) {
  const dims = rowDims(spec);
  const layout = layoutOf(dims, said, spec.dtype);
  const kinds = kindsOf(spec, call, said, layout);
  if (!layout || !["pad", "picture"].includes(kinds[0])) return { kinds, layout, ground: null, guesses: [] };
  const isDrawn = isDrawing(layout);
  const ground = said.inverted === undefined ? (isDrawn ? "dark" : null) : said.inverted ? "dark" : "light";
  const guesses = [];
  if (said.kind !== "image") guesses.push("that it is a picture");
  if (!said.range) guesses.push(isFloat(spec.dtype) ? "values from 0 to 1" : "values from 0 to 255");
  if (said.inverted === undefined && isDrawn) guesses.push("light marks on a dark ground");
  return { kinds, layout, ground, guesses };
}

const isDrawing = ({ channels, height, width }) =>
  channels === 1 && height > 0 && height === width && height <= LARGEST_DRAWN;

/** See `pictureLayout`; what the model says of the axes comes first. */
export function layoutOf(dims, said, dtype) {
  if (dtype === "bool" || !isNumeric(dtype)) return null;
  if (said.kind && said.kind !== "image") return null;
  const told = said.kind === "image" ? said.layout : undefined;
  if (told === "HW" && dims.length === 2) return { height: dims[0], width: dims[1], channels: 1, order: "hw" };
  if (told === "HWC" && dims.length === 3) return { height: dims[0], width: dims[1], channels: dims[2], order: "hwc" };
  if (told === "CHW" && dims.length === 3) return { height: dims[1], width: dims[2], channels: dims[0], order: "chw" };
  const guessed = pictureLayout(dims);
  if (guessed || said.kind !== "image") return guessed;
  if (dims.length === 1) return flatLayout(dims[0]);
  if (dims.length === 2) return { height: dims[0], width: dims[1], channels: 1, order: "hw" };
  return dims.length === 3 ? { height: dims[0], width: dims[1], channels: dims[2], order: "hwc" } : null;
}

function flatLayout(size) {
  for (const channels of [1, 3]) {
    const side = Math.sqrt(size / channels);
    if (side >= 1 && Number.isInteger(side)) return { height: side, width: side, channels, order: "flat" };
  }
  return null;
}

function kindsOf(spec, call, said, layout) {
  const natural = inputKinds(spec, call);
  if (call !== "predict" || !said.kind) return natural;
  const first = {
    image: layout ? (isDrawing(layout) ? ["pad", "picture"] : ["picture"]) : ["file"],
    audio: spec.dtype === "string" ? ["file"] : spec.shape?.length === 1 || rowDims(spec).length === 1 ? ["sound"] : [],
    text: ["text"], category: ["table"], number: ["table"], vector: ["table", "numbers"],
  }[said.kind];
  const isFit = (kind) => !["file", "text"].includes(kind) || natural.includes(kind);
  const others = natural.filter((kind) => !["pad", "picture"].includes(kind) || said.kind === "image");
  const fitting = first.filter((kind) => isFit(kind) && (kind !== "table" || fitsTable(spec)));
  return [...new Set([...fitting, ...others])];
}

const fitsTable = (spec) => rowDims(spec).length <= 1 && (count(rowDims(spec)) ?? Infinity) <= 64;

/** Whether all inputs share one table: not where one is better given by itself. */
export const sharesOneTable = (signature) =>
  fitsOneTable(signature) &&
  signature.inputs.every(({ meaning }) => !["pad", "picture", "file", "sound"].includes(meaning.kinds[0]));

/**
 * The columns of an input in a table.
 * @returns {Array<{spec, title, unit, hint, range, options, read(text, scalar), show(value)}>}
 *     options: [text, …] where only some values are taken. read gives the value of what was typed;
 *     `scalar` reads plain values, see request.js.
 */
export function columnsOf(spec) {
  const { said = {} } = spec;
  const dims = rowDims(spec);
  const size = dims.length === 0 ? 1 : dims[0];
  return Array.from({ length: size }, (_, i) => ({
    spec,
    title: said.names?.[i] ?? (size === 1 ? said.title || spec.name : `${said.title || spec.name}[${i}]`),
    unit: said.units?.[i] || said.unit || "",
    hint: size === 1 ? said.description ?? "" : "",
    range: said.range ?? null,
    isDescribed: Object.keys(said).length > 0,
    ...choiceReader(spec.dtype, said.choices),
  }));
}

function choiceReader(dtype, choices) {
  if (!choices?.length) return { options: null, read: (text, scalar) => scalar(text), show: String };
  const options = choices.map(String);
  const isNumbered = dtype !== "string" && choices.some((choice) => typeof choice === "string");
  const valueOf = (at) => (isNumbered ? (dtype === "bool" ? at === 1 : at) : choices[at]);
  return {
    options,
    read: (text) => valueOf(Math.max(0, options.indexOf(text))),
    show: (value) => (isNumbered ? options[Number(value)] ?? String(value) : String(value)),
  };
}

/** Rows of an example: one row, or several with the batch axis, as rows. */
export function rowsOf(value, spec) {
  if (spec.shape === null) return Array.isArray(value) ? value : [value];
  let depth = 0;
  for (let at = value; Array.isArray(at); at = at[0]) depth += 1;
  return depth >= spec.shape.length && spec.shape.length > rowDims(spec).length ? value : [value];
}

/** A number with its unit. */
export const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);

/** Hertz of a waveform, from a unit such as "16 kHz"; 16,000 where it says nothing. */
export function samplingRate(unit = "") {
  const found = /([0-9.]+)\s*(k?)Hz/i.exec(unit);
  const rate = found ? Number(found[1]) * (found[2] ? 1000 : 1) : 16000;
  return rate >= 3000 && rate <= 192000 ? rate : 16000; // what browsers can resample to
}

