// The request of the page over the Open Inference Protocol, with Triton's client and KServe's. Pure.

import { columns, needsBase64, python } from "./snippets.js";

const OTHERS = { bool: "BOOL", string: "BYTES", bfloat16: "BF16" };
const datatype = (dtype) =>
  OTHERS[dtype] ?? (/^(float|u?int)(8|16|32|64)$/.test(dtype) ? dtype.replace("float", "fp").toUpperCase() : null);
// numpy has no bfloat16: the clients make it of float32.
const numpyType = (dtype) => ({ string: "object", bfloat16: '"float32"' })[dtype] ?? `"${dtype}"`;

/** The programs: [{name, text, note}]; none where the request is not made of tensors. */
export function openInference(ask) {
  const { signature: { call, inputs: specs, name }, usesFile } = ask;
  if (call !== "predict" || !specs.length || specs.some(({ dtype }) => !datatype(dtype))) return [];
  const inputs = columns(ask, (text, { dtype }) => `np.array(${text}, dtype=${numpyType(dtype)})`);
  if (inputs === null) return [];
  const imports = [...(needsBase64(inputs) ? ["import base64"] : []), ...(usesFile ? ["import json"] : [])];
  const types = specs.map((spec) => `${python(spec.name)}: ${python(datatype(spec.dtype))}`);
  const tensors = (item) => [
    ...(usesFile ? ['body = json.load(open("request.json"))'] : []), "arrays = {",
    ...inputs.map(([alias, text]) => `    ${python(alias)}: ${text},`), "}", `types = {${types.join(", ")}}`, "inputs = []",
    "for name, array in arrays.items():", `    item = ${item}(name, list(array.shape), types[name])`,
    "    item.set_data_from_numpy(array)", "    inputs.append(item)",
  ];
  const more = name === "serving_default" ? "" : `, parameters={"signature_name": ${python(name)}}`;
  return [
    { name: "Python: tritonclient", text: text(triton(ask, imports, tensors, more)), note: "Needs tritonclient[http]." },
    { name: "Python: KServe", text: text(kserve(ask, imports, tensors, more)), note: "Needs kserve." },
  ];
}

const text = (lines) => `${lines.join("\n")}\n`;
const versionOf = (which) => which.version ?? which.label;

function triton({ origin, model, which }, imports, tensors, more) {
  const [scheme, host] = origin.split("://");
  const version = which.kind === "newest" ? "" : `, model_version=${python(versionOf(which))}`;
  return [
    ...imports, ...(imports.length ? [""] : []), "import numpy as np", "import tritonclient.http as triton", "",
    `client = triton.InferenceServerClient(${python(host)}${scheme === "https" ? ", ssl=True" : ""})`,
    ...tensors("triton.InferInput"), `result = client.infer(${python(model)}, inputs${version}${more})`,
    'for output in result.get_response()["outputs"]:', '    print(output["name"], result.as_numpy(output["name"]))',
  ];
}

function kserve({ origin, model, which }, imports, tensors, more) {
  // The client puts the name into the path as it is.
  const path = encodeURIComponent(model) + (which.kind === "newest" ? "" : `/versions/${versionOf(which)}`);
  return [
    "import asyncio", ...imports, "", "import numpy as np",
    "from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig", "",
    ...tensors("InferInput"), `request = InferRequest(${python(model)}, inputs${more})`, "", "",
    "async def main():", '    client = InferenceRESTClient(RESTConfig(protocol="v2"))',
    `    response = await client.infer(${python(origin)}, request, model_name=${python(path)})`,
    "    for output in response.outputs:", "        print(output.name, output.as_numpy())", "", "", "asyncio.run(main())",
  ];
}
