// From the values of a form to the body of a request, and back. Pure.

import { goesByRows, isBatched, isInteger } from "./shapes.js";

/** Something is amiss with what was typed; the text says what. */
export class InputError extends Error {}

/**
 * The body of a request.
 * @param signature see `readMetadata`.
 * @param values a Map: input → its rows. With :classify and :regress the rows are tf.Examples. What
 *     it lacks is left out of the body.
 */
export function requestBody(signature, values) {
  const body = {};
  if (signature.name !== "serving_default") body.signature_name = signature.name;
  if (signature.call !== "predict") {
    body.examples = [...values.values()][0];
    return body;
  }
  const lengths = new Set([...values].map(([, rows]) => rows.length));
  const given = signature.inputs.filter(({ name }) => values.has(name));
  const names = given.map(({ name }) => name);
  const isOnly = signature.inputs.length === 1 && names.length === 1;
  if (goesByRows(signature) && names.length > 0) {
    if (lengths.size > 1) throw new InputError(unequal(values));
    body.instances = isOnly ? values.get(names[0]) : byRow(names, values);
    return body;
  }
  const columns = given.map((spec) => [
    spec.name,
    isBatched(spec) ? values.get(spec.name) : values.get(spec.name)[0],
  ]);
  body.inputs = isOnly ? columns[0][1] : Object.fromEntries(columns);
  return body;
}

function byRow(names, values) {
  const count = values.get(names[0]).length;
  return Array.from({ length: count }, (_, row) =>
    Object.fromEntries(names.map((name) => [name, values.get(name)[row]])),
  );
}

function unequal(values) {
  const parts = [...values].map(([name, rows]) => `${name} has ${rows.length}`);
  return `Every input needs the same number of rows: ${parts.join(", ")}`;
}

/** The values in a body, a Map as above; null where it is not of this form. */
export function valuesOf(signature, body) {
  if (body === null || typeof body !== "object") return null;
  if (signature.call !== "predict") {
    return Array.isArray(body.examples) ? new Map([["examples", body.examples]]) : null;
  }
  const { inputs } = signature;
  if (Array.isArray(body.instances)) {
    if (inputs.length === 1) return new Map([[inputs[0].name, unnamed(body.instances, inputs[0].name)]]);
    const has = (row, { name }) => isObject(row) && name in row;
    const named = inputs.filter((spec) => !spec.isOptional || body.instances.some((row) => has(row, spec)));
    if (!body.instances.every((row) => isObject(row) && named.every((spec) => has(row, spec)))) return null;
    return new Map(named.map(({ name }) => [name, body.instances.map((row) => row[name])]));
  }
  if (body.inputs === undefined || inputs.length === 0) return null;
  const named = inputs.length === 1 && !(isObject(body.inputs) && inputs[0].name in body.inputs)
    ? { [inputs[0].name]: body.inputs }
    : body.inputs;
  if (!isObject(named)) return null;
  const columns = inputs.filter((spec) => !spec.isOptional || spec.name in named).map((spec) => {
    const value = named[spec.name];
    return [spec.name, isBatched(spec) ? value : [value]];
  });
  return columns.every(([, rows]) => Array.isArray(rows)) ? new Map(columns) : null;
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const unnamed = (rows, name) =>
  rows.map((row) => (isObject(row) && Object.keys(row).length === 1 && name in row ? row[name] : row));

/**
 * A value as typed.
 * @param where what to say when it is none, such as "Row 2, age".
 */
export function scalarOf(text, dtype, where) {
  const word = text.trim();
  if (dtype === "string") return text;
  if (dtype === "bool") return word === "true" || word === "1";
  if (word === "") throw new InputError(`${where}: a number is missing`);
  if (isInteger(dtype)) {
    if (!/^[+-]?[0-9]+$/.test(word)) throw new InputError(`${where}: “${word}” is no whole number`);
    const number = Number(word);
    return Number.isSafeInteger(number) ? number : BigInt(word);
  }
  const special = { nan: NaN, inf: Infinity, infinity: Infinity, "-inf": -Infinity, "-infinity": -Infinity };
  const number = special[word.toLowerCase()] ?? Number(word);
  if (Number.isNaN(number) && word.toLowerCase() !== "nan") {
    throw new InputError(`${where}: “${word}” is no number`);
  }
  return number;
}
