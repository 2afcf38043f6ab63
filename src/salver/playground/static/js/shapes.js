// What a signature's tensors are, and which ways of giving one there are. Pure.

const NUMPY = {
  DT_FLOAT: "float32", DT_DOUBLE: "float64", DT_HALF: "float16", DT_BFLOAT16: "bfloat16",
  DT_INT8: "int8", DT_INT16: "int16", DT_INT32: "int32", DT_INT64: "int64",
  DT_UINT8: "uint8", DT_UINT16: "uint16", DT_UINT32: "uint32", DT_UINT64: "uint64",
  DT_BOOL: "bool", DT_STRING: "string",
};
const CLASSIFY = "tensorflow/serving/classify";
const REGRESS = "tensorflow/serving/regress";
const ENCODED = /bytes|b64|base64|image|img|jpe?g|png|picture|photo|encoded/i;
const EXAMPLES = /^(inputs?|examples?|serialized|tf_examples?|input_examples?(_tensor)?)$/i;
const MOST_COLUMNS = 64;
const LARGEST_PAD = 64;
const SMALLEST_SIDE = 6; // nothing smaller is a picture that a person can recognise

/**
 * The signatures that can be called, the default one first.
 * @returns {{version: string, signatures: Array}} with specs {name, dtype, shape}; shape is null
 *     where the rank is not known, and -1 stands for any size.
 */
export function readMetadata(metadata) {
  const definitions = metadata.metadata.signature_def.signature_def;
  const signatures = Object.entries(definitions)
    .filter(([name]) => !name.startsWith("__saved_model"))
    .map(([name, definition]) => readSignature(name, definition))
    .sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1));
  return { version: metadata.model_spec.version, signatures };
}

const rank = (name) => (name === "serving_default" ? 0 : 1);

function readSignature(name, definition) {
  const inputs = specs(definition.inputs);
  const takesExamples = inputs.length === 1 && inputs[0].dtype === "string";
  let call = "predict";
  if (takesExamples && definition.method_name === CLASSIFY) call = "classify";
  if (takesExamples && definition.method_name === REGRESS) call = "regress";
  return { name, call, method: definition.method_name, inputs, outputs: specs(definition.outputs) };
}

function specs(infos = {}) {
  return Object.entries(infos)
    .map(([name, info]) => ({
      name,
      dtype: NUMPY[info.dtype] ?? info.dtype.replace(/^DT_/, "").toLowerCase(),
      shape: info.tensor_shape?.unknown_rank
        ? null
        : (info.tensor_shape?.dim ?? []).map((dim) => Number(dim.size)),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A shape as people write it: `? × 28 × 28`. */
export function shapeText(shape) {
  if (shape === null) return "any shape";
  if (shape.length === 0) return "a single value";
  return shape.map((size) => (size < 0 ? "?" : size)).join(" × ");
}

/** Whether the first axis counts rows. A shape nobody told is taken to have one. */
export const isBatched = (spec) =>
  spec.shape === null || (spec.shape.length > 0 && (spec.shape[0] === -1 || spec.shape[0] === 1));

/** The sizes of one row. */
export const rowDims = (spec) =>
  spec.shape === null ? [] : isBatched(spec) ? spec.shape.slice(1) : spec.shape;

export const isFloat = (dtype) => /^b?float/.test(dtype);
export const isInteger = (dtype) => /^u?int/.test(dtype);
export const isNumeric = (dtype) => isFloat(dtype) || isInteger(dtype);

/** How many values a row has; null where that is open. */
export function count(dims) {
  return dims.some((size) => size < 0) ? null : dims.reduce((a, b) => a * b, 1);
}

/**
 * How a row would be a picture; null where it is none.
 * @returns {{height, width, channels, order: "hwc"|"chw"|"hw"|"flat"}|null} -1 for any size.
 */
export function pictureLayout(dims) {
  const isSide = (size) => size === -1 || size >= SMALLEST_SIDE;
  if (dims.length === 3) {
    const [a, b, c] = dims;
    if (isSide(a) && isSide(b) && [1, 3, 4].includes(c)) {
      return { height: a, width: b, channels: c, order: "hwc" };
    }
    if ([1, 3].includes(a) && isSide(b) && isSide(c)) {
      return { height: b, width: c, channels: a, order: "chw" };
    }
  }
  if (dims.length === 2 && dims.every((size) => size >= SMALLEST_SIDE)) {
    return { height: dims[0], width: dims[1], channels: 1, order: "hw" };
  }
  if (dims.length === 1) {
    const side = Math.sqrt(dims[0]);
    if (side >= 7 && Number.isInteger(side)) {
      return { height: side, width: side, channels: 1, order: "flat" };
    }
    const coloured = Math.sqrt(dims[0] / 3);
    if (coloured >= 16 && Number.isInteger(coloured)) {
      return { height: coloured, width: coloured, channels: 3, order: "flat" };
    }
  }
  return null;
}

/**
 * The ways to give one input, the most natural first.
 * @returns {Array<"pad"|"picture"|"file"|"text"|"examples"|"table"|"numbers"|"json">}
 */
export function inputKinds(spec, call = "predict") {
  const dims = rowDims(spec);
  const size = count(dims);
  if (call !== "predict") return ["examples"];
  if (spec.dtype === "string") {
    if (size !== 1) return ["json"];
    const kinds = ENCODED.test(spec.name) ? ["file", "text"] : ["text", "file"];
    return EXAMPLES.test(spec.name) ? [...kinds, "examples"] : kinds;
  }
  if (!isNumeric(spec.dtype) && spec.dtype !== "bool") return ["json"];
  const kinds = [];
  const layout = spec.dtype === "bool" ? null : pictureLayout(dims);
  if (layout) {
    const isSmall = layout.height === layout.width && layout.height <= LARGEST_PAD;
    if (layout.channels === 1 && layout.height > 0 && isSmall) kinds.push("pad");
    kinds.push("picture");
  }
  if (dims.length <= 1 && size !== null && size <= MOST_COLUMNS) kinds.push("table");
  if (dims.length <= 1 && spec.dtype !== "bool") kinds.push("numbers");
  return [...kinds, "json"];
}

/** Whether all inputs of a signature fit one table, a row per instance. */
export function fitsOneTable(signature) {
  const { inputs, call } = signature;
  const columns = inputs.map((spec) => count(rowDims(spec)) ?? Infinity);
  return (
    call === "predict" &&
    inputs.length > 0 &&
    !(inputs.length === 1 && inputs[0].dtype === "string") &&
    columns.reduce((a, b) => a + b, 0) <= MOST_COLUMNS &&
    inputs.every(
      (spec) =>
        isBatched(spec) &&
        rowDims(spec).length <= 1 &&
        (isNumeric(spec.dtype) || spec.dtype === "bool" || spec.dtype === "string") &&
        !["pad", "picture", "file"].includes(inputKinds(spec)[0]),
    )
  );
}

/** Whether requests can go by rows, `instances`; else by columns, `inputs`. */
export function goesByRows(signature) {
  const hasRows = (spec) => spec.shape === null || spec.shape[0] === -1 || spec.shape[0] === 1;
  return (
    signature.inputs.length > 0 &&
    signature.inputs.every(isBatched) &&
    signature.outputs.every(hasRows)
  );
}
