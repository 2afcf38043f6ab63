// The request of the page as programs to copy. Pure: text in, text out.

import { pretty, write } from "./json.js";
import { isBatched } from "./shapes.js";
import { valuesOf } from "./request.js";
import { modelPath } from "./api.js";

const MOST_INLINE = 1000; // characters of a body that a person still likes to see in a program
const FILE = "request.json";

/**
 * The programs.
 * @param ask {origin, grpcTarget, model, which, signature, body}; body is what goes as JSON.
 * @returns {{usesFile: boolean, programs: Array<{name, text, note?}>}}
 */
export function snippets(ask) {
  const url = `${ask.origin}${modelPath(ask.model, ask.which)}:${ask.signature.call}`;
  const usesFile = write(ask.body).length > MOST_INLINE;
  const all = { ...ask, url, usesFile };
  const programs = [
    { name: "curl", text: curl(all) },
    { name: "Python: requests", text: pythonRequests(all) },
    { name: "Python: salver", text: pythonClient(all) },
    { name: "Python: gRPC", text: pythonGrpc(all), note: grpcNote(all) },
    { name: "JavaScript", text: javaScript(all), note: CORS_NOTE },
  ];
  return { usesFile, programs: programs.filter(({ text }) => text) };
}

const CORS_NOTE =
  "A page of another origin may call the server when it runs with --rest_api_enable_cors_support.";

const grpcNote = ({ grpcTarget }) =>
  `Needs tensorflow-serving-api and tensorflow. gRPC answers at ${grpcTarget}.`;

/** A word that a shell takes as it is. */
export const shellWord = (text) =>
  /^[A-Za-z0-9_\/:.,@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

function curl({ url, body, usesFile }) {
  const data = usesFile ? `@${FILE}` : shellWord(write(body));
  return `curl -d ${data} \\\n  ${shellWord(url)}\n`;
}

function pythonRequests({ url, body, usesFile, signature }) {
  const hasNan = /NaN|Infinity/.test(write(body));
  const key = answerKey(signature, body);
  const lines = usesFile || hasNan ? ["import json", ""] : [];
  lines.push("import requests", "", `url = ${python(url)}`);
  lines.push(usesFile ? `body = json.load(open("${FILE}"))` : `body = ${pythonLong(body)}`, "");
  const how = hasNan ? "data=json.dumps(body)" : "json=body";
  lines.push(`answer = requests.post(url, ${how}, timeout=30)`);
  lines.push("if not answer.ok:", '    raise SystemExit(answer.json()["error"])');
  lines.push('print("version", answer.headers["salver-model-version"])');
  lines.push(`print(answer.json()["${key}"])`);
  return `${lines.join("\n")}\n`;
}

function answerKey({ call }, body) {
  if (call !== "predict") return "results";
  return "inputs" in body ? "outputs" : "predictions";
}

function pythonClient(ask) {
  const { origin, model, which, signature, usesFile } = ask;
  const head = [`client = Client(${python(origin)})`];
  const more = which.kind === "version" ? `, version=${which.version}` : labelArgument(which);
  const name = signature.name === "serving_default" ? "" : `, signature=${python(signature.name)}`;
  const imports = ["from salver import Client", ""];
  if (usesFile) imports.unshift("import json", "");
  if (usesFile) head.push(`body = json.load(open("${FILE}"))`);
  if (signature.call !== "predict") {
    const examples = usesFile ? 'body["examples"]' : pythonLong(ask.body.examples);
    const call = `client.${signature.call}(${python(model)}, ${examples}${more}${name})`;
    return `${[...imports, ...head, `print(${call})`].join("\n")}\n`;
  }
  const inputs = columns(ask, (text, spec) => `np.array(${text}, dtype=${numpyType(spec)})`);
  if (inputs === null) return "";
  if (needsBase64(inputs)) imports.unshift("import base64", "");
  imports.splice(imports.indexOf("from salver import Client"), 0, "import numpy as np");
  const given = inputs.map(([alias, text]) => `    ${python(alias)}: ${text},`);
  const lines = [...imports, ...head, "inputs = {", ...given, "}"];
  lines.push(`outputs = client.predict(${python(model)}, inputs${more}${name})`);
  lines.push("for name, value in outputs.items():", "    print(name, value)");
  return `${lines.join("\n")}\n`;
}

const labelArgument = (which) => (which.kind === "label" ? `, label=${python(which.label)}` : "");
const numpyType = (spec) => (spec.dtype === "string" ? "object" : `"${spec.dtype}"`);
/** Whether such expressions hold bytes. */
export const needsBase64 = (inputs) => inputs.some(([, text]) => text.includes("base64.b64decode"));

function pythonGrpc(ask) {
  const { grpcTarget, model, which, signature, usesFile } = ask;
  if (!grpcTarget) return "";
  const isPredict = signature.call === "predict";
  const inputs = isPredict
    ? columns(ask, (text, spec) => `tf.make_tensor_proto(${text}, dtype="${spec.dtype}")`)
    : [];
  if (inputs === null) return "";
  const file = { predict: "predict", classify: "classification", regress: "regression" }[signature.call];
  const method = { predict: "Predict", classify: "Classify", regress: "Regress" }[signature.call];
  const message = { predict: "PredictRequest", classify: "ClassificationRequest", regress: "RegressionRequest" }[signature.call];
  const lines = needsBase64(inputs) ? ["import base64"] : [];
  if (usesFile) lines.push("import json");
  if (lines.length) lines.push("");
  lines.push("import grpc", "import tensorflow as tf");
  lines.push(`from tensorflow_serving.apis import ${file}_pb2, prediction_service_pb2_grpc`, "");
  lines.push(`channel = grpc.insecure_channel(${python(grpcTarget)})`);
  lines.push("stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)", "");
  lines.push(`request = ${file}_pb2.${message}()`, `request.model_spec.name = ${python(model)}`);
  if (signature.name !== "serving_default") {
    lines.push(`request.model_spec.signature_name = ${python(signature.name)}`);
  }
  if (which.kind === "version") lines.push(`request.model_spec.version.value = ${which.version}`);
  if (which.kind === "label") lines.push(`request.model_spec.version_label = ${python(which.label)}`);
  if (usesFile) lines.push(`body = json.load(open("${FILE}"))`);
  for (const [alias, text] of inputs) lines.push(`request.inputs[${python(alias)}].CopyFrom(${text})`);
  if (!isPredict) lines.push(...exampleLines(ask));
  lines.push("", `response = stub.${method}(request, timeout=30)`);
  lines.push(...(isPredict ? printOutputs : ["print(response.result)"]));
  return `${lines.join("\n")}\n`;
}

const printOutputs = [
  "for name, value in response.outputs.items():",
  "    print(name, tf.make_ndarray(value))",
];

function exampleLines({ body }) {
  const lines = [];
  for (const example of body.examples) {
    lines.push("", "example = request.input.example_list.examples.add()");
    for (const [name, value] of Object.entries(example)) {
      const values = Array.isArray(value) ? value : [value];
      const kind = exampleKind(values[0]);
      lines.push(
        `example.features.feature[${python(name)}].${kind}.value.extend(${pythonBytes(values, kind)})`,
      );
    }
  }
  return lines;
}

function exampleKind(value) {
  if (typeof value === "string" || (value && "b64" in Object(value))) return "bytes_list";
  return Number.isInteger(value) || typeof value === "bigint" ? "int64_list" : "float_list";
}

const pythonBytes = (values, kind) =>
  kind === "bytes_list"
    ? `[${values.map((v) => (typeof v === "string" ? `${python(v)}.encode()` : python(v))).join(", ")}]`
    : python(values);

/** For each input its Python expression; null where the body is not made of them. */
export function columns({ signature, body, usesFile }, wrap) {
  const values = valuesOf(signature, body);
  if (values === null) return signature.inputs.length ? null : [];
  return signature.inputs.filter(({ name }) => values.has(name)).map((spec) => {
    const rows = values.get(spec.name);
    const text = usesFile ? fromFile(signature, body, spec) : python(isBatched(spec) ? rows : rows[0]);
    const isBytes = usesFile && spec.dtype === "string" && rows[0] && typeof rows[0] === "object";
    return [spec.name, wrap(isBytes ? `[base64.b64decode(v["b64"]) for v in ${text}]` : text, spec)];
  });
}

function fromFile(signature, body, spec) {
  const isSingle = signature.inputs.length === 1;
  if ("instances" in body) {
    return isSingle ? 'body["instances"]' : `[row[${python(spec.name)}] for row in body["instances"]]`;
  }
  return isSingle ? 'body["inputs"]' : `body["inputs"][${python(spec.name)}]`;
}

/** A JSON value as Python writes it. */
export function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number" && !Number.isFinite(value)) {
    return `float("${Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf"}")`;
  }
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object" && typeof value.b64 === "string") {
    return `base64.b64decode(${JSON.stringify(value.b64)})`;
  }
  if (typeof value === "object" && !("value" in value && value.constructor.name === "Float")) {
    const members = Object.entries(value).map(([key, of]) => `${JSON.stringify(key)}: ${python(of)}`);
    return `{${members.join(", ")}}`;
  }
  return write(value);
}

/** JSON as a Python literal over several lines: bytes stay {"b64": …}, as REST wants them. */
function pythonLong(value) {
  return pretty(value)
    .replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null|NaN|-?Infinity)\b/g, (word) => PYTHON_WORDS[word] ?? word);
}

const PYTHON_WORDS = {
  true: "True", false: "False", null: "None",
  NaN: 'float("nan")', Infinity: 'float("inf")', "-Infinity": 'float("-inf")',
};

function javaScript({ url, body, usesFile, signature }) {
  const source = usesFile
    ? `await (await fetch("${FILE}")).text()`
    : `JSON.stringify(${pretty(body, "  ")})`;
  return `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  body: ${source},
});
const answer = await response.json();
if (!response.ok) throw new Error(answer.error);
console.log(answer.${answerKey(signature, body)});
`;
}
