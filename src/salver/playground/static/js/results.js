// What an answer is: which output holds which rows, how each is best shown, and how two differ. Pure.

import { pictureLayout } from "./shapes.js";

const LEAST_PICTURE_SIDE = 16; // a smaller matrix is rather a table
const MOST_TABLE_COLUMNS = 64;

/**
 * The outputs in an answer.
 * @returns {Array<{name, spec, rows}>} rows[i] is the value of row i; a value without rows is one.
 */
export function outputsOf(signature, value) {
  if (Array.isArray(value?.results)) {
    return [{ name: signature.call === "classify" ? "classes" : "value", spec: null, rows: value.results }];
  }
  const specs = signature.outputs;
  const only = specs.length === 1 ? specs[0] : null;
  if (Array.isArray(value?.predictions)) {
    const rows = value.predictions;
    if (only) return [{ name: only.name, spec: only, rows }];
    return specs.map((spec) => ({ name: spec.name, spec, rows: rows.map((row) => row[spec.name]) }));
  }
  if (value?.outputs === undefined) return [];
  const named = only ? { [only.name]: value.outputs } : value.outputs;
  return specs
    .filter((spec) => spec.name in named)
    .map((spec) => ({ name: spec.name, spec, rows: rowsOf(named[spec.name]) }));
}

const rowsOf = (value) => (Array.isArray(value) ? value : [value]);

/** The sizes of a nested array, by its first elements. */
export function dimsOf(value) {
  const dims = [];
  let at = value;
  while (Array.isArray(at)) {
    dims.push(at.length);
    at = at[0];
  }
  return dims;
}

/** The innermost first element of a nested array. */
export function leafOf(value) {
  let at = value;
  while (Array.isArray(at)) at = at[0];
  return at;
}

export const isNumber = (value) => typeof value === "number" || typeof value === "bigint";

const isPair = (row) => Array.isArray(row) && row.length === 2 && typeof row[0] === "string" && isNumber(row[1]);

/** Whether a row is what :classify answers, [label, score] pairs. */
export const isClassification = (row) => Array.isArray(row) && row.length > 0 && row.every(isPair);

/** Whether numbers are shares of a whole. */
export function areProbabilities(row) {
  const sum = row.reduce((a, b) => a + Number(b), 0);
  return row.length > 1 && row.every((p) => p >= -1e-6 && p <= 1 + 1e-6) && Math.abs(sum - 1) < 0.01;
}

/**
 * The ways to show a row, the best first: "classes", "picture", "number", "text", "table", "json".
 * @param labels names of classes, or null.
 */
export function viewsOf(row, labels) {
  if (isClassification(row)) return ["classes", "json"];
  const dims = dimsOf(row);
  const leaf = leafOf(row);
  if (typeof leaf === "string" || (leaf !== null && typeof leaf === "object" && "b64" in leaf)) {
    return ["text", "json"];
  }
  if (!isNumber(leaf) && typeof leaf !== "boolean") return ["json"];
  if (dims.length === 0 || (dims.length === 1 && dims[0] === 1)) return ["number", "json"];
  const views = [];
  if (dims.length === 1) {
    const areClasses = labels?.length === dims[0] || areProbabilities(row);
    views.push(...(areClasses ? ["classes", "table"] : ["table", "classes"]));
    if (pictureLayout(dims)) views.push("picture");
    return [...views, "json"];
  }
  if (pictureLayout(dims)) {
    const isLarge = dims.length === 3 || Math.min(...dims) >= LEAST_PICTURE_SIDE;
    if (dims.length === 3) return ["picture", "json"];
    return isLarge ? ["picture", "table", "json"] : ["table", "picture", "json"];
  }
  return dims.length === 2 && dims[1] <= MOST_TABLE_COLUMNS ? ["table", "json"] : ["json"];
}

/** Scores as shares of a whole. */
export function softmax(scores) {
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity); // there may be very many
  const powers = scores.map((score) => Math.exp(score - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/**
 * The classes of a row, best first.
 * @returns {Array<{index, label, score}>}
 */
export function classesOf(row, labels) {
  const classes = isClassification(row)
    ? row.map(([label, score], index) => ({ index, label: label || `class ${index}`, score: Number(score) }))
    : row.map((score, index) => ({ index, label: labels?.[index] ?? `class ${index}`, score: Number(score) }));
  const rank = ({ score }) => (Number.isNaN(score) ? -Infinity : score); // NaN is no best class
  return classes.sort((a, b) => rank(b) - rank(a) || a.index - b.index);
}

/** A number for people: as many digits as say something. */
export function numberText(value, digits = 5) {
  if (typeof value === "bigint" || Number.isInteger(value)) return String(value);
  if (typeof value === "boolean" || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(digits - 2);
  return String(Number(value.toPrecision(digits)));
}

/**
 * How two values differ.
 * @returns {{same: boolean, numeric: boolean, most, mean, differing, count}} `most` and `mean` are
 *     absolute; `differing` counts the values that are not equal.
 */
export function difference(a, b) {
  const found = { same: true, numeric: true, most: 0, sum: 0, differing: 0, count: 0 };
  walk(a, b, found);
  return { ...found, mean: found.count ? found.sum / found.count : 0 };
}

function walk(a, b, found) {
  if (Array.isArray(a) && Array.isArray(b) && a.length === b.length) {
    a.forEach((value, i) => walk(value, b[i], found));
    return;
  }
  found.count += 1;
  if (isNumber(a) && isNumber(b)) {
    const gap = Object.is(Number(a), Number(b)) ? 0 : Math.abs(Number(a) - Number(b));
    if (gap === 0 && a === b) return;
    if (Number.isNaN(a) && Number.isNaN(b)) return;
    found.same = false;
    found.differing += 1;
    found.most = Math.max(found.most, Number.isNaN(gap) ? Infinity : gap);
    found.sum += gap;
    return;
  }
  if (JSON.stringify(a) === JSON.stringify(b)) return;
  found.same = false;
  found.numeric = false;
  found.differing += 1;
}
