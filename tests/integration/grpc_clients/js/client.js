// Asks a server in many ways by @grpc/grpc-js and prints what came of each as JSON.
// node client.js TARGET DIRECTORY-OF-PROTOS [CA KEY CERTIFICATE]
"use strict";
const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [target, protos, ca, key, certificate] = process.argv.slice(2);
const api = grpc.loadPackageDefinition(
  loader.loadSync(["prediction.proto", "health.proto", "reflection_v1.proto"], {
    includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true,
  }),
);
const credentials = ca
  ? grpc.credentials.createSsl(...[ca, key, certificate].map((path) => path && fs.readFileSync(path)))
  : grpc.credentials.createInsecure();
const unlimited = {
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  "grpc.ssl_target_name_override": "localhost",
};
const made = [];
const client = (service, options = {}) => {
  made.push(new service(target, credentials, { ...unlimited, ...options }));
  return made[made.length - 1];
};
const prediction = (options) => client(api.tensorflow.serving.PredictionService, options);
const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

const floats = (values) => ({
  dtype: "DT_FLOAT", tensor_shape: { dim: [{ size: values.length }] },
  tensor_content: Buffer.from(new Float32Array(values).buffer),
});
const ask = (of, request, options = within(60), started = () => {}) =>
  new Promise((resolve) => {
    started(of.Predict(request, options, (error, response) =>
      resolve(error ? { code: error.code, details: error.details } : { response })));
  });
const half = (values, ...more) =>
  ask(more[0] || prediction(), { model_spec: { name: "half_plus_two" }, inputs: { x: floats(values) } });
const slow = (millis) => ({
  model_spec: { name: "slow" }, inputs: { millis: floats([millis]) },
});
const values = (result) => result.response ? Array.from(result.response.outputs.y.float_val) : result;

const scenarios = {
  unary: async () => values(await half([1, 2, 5])),
  many_at_once: async () => {
    const of = prediction();
    const all = await Promise.all(Array.from({ length: 500 }, (_, n) => half([n], of)));
    return all.every((result, n) => values(result)[0] === n / 2 + 2);
  },
  large: async () => {
    const size = 5_000_000;
    const got = values(await half(Array.from({ length: size }, (_, n) => n)));
    return [got.length, got[0], got[size - 1]];
  },
  gzip: async () =>
    values(await half(Array(3000).fill(2), prediction({ "grpc.default_compression_algorithm": 2 }))).length,
  not_ascii: () => ask(prediction(), { model_spec: { name: "mödel 100%" } }),
  deadline: async () => (await ask(prediction(), slow(30000), within(0.3))).code,
  cancelled: async () =>
    (await ask(prediction(), slow(30000), within(60), (call) => setTimeout(() => call.cancel(), 50))).code,
  unknown_method: () => new Promise((resolve) => {
    const of = client(grpc.makeGenericClientConstructor({ No: {
      path: "/no.Such/Method", requestStream: false, responseStream: false,
      requestSerialize: Buffer.from, requestDeserialize: Buffer.from,
      responseSerialize: Buffer.from, responseDeserialize: Buffer.from,
    } }, "No"));
    of.No(Buffer.alloc(0), within(30), (error) => resolve(error.code));
  }),
  watch: () => new Promise((resolve) => {
    const call = client(api.grpc.health.v1.Health).Watch({ service: "" }, within(30));
    call.on("data", (answer) => { resolve(answer.status); call.cancel(); });
    call.on("error", (error) => resolve(error.code));
  }),
  reflection: () => new Promise((resolve) => {
    const call = client(api.grpc.reflection.v1.ServerReflection).ServerReflectionInfo(within(30));
    const names = [];
    call.on("data", (answer) => {
      names.push(answer.list_services_response.service.map((service) => service.name));
      if (names.length === 1) call.write({ list_services: "" });
      else call.end();
    });
    call.on("end", () => resolve(names));
    call.on("error", (error) => resolve(error.code));
    call.write({ list_services: "" });
  }),
};

(async () => {
  const results = {};
  for (const [name, run] of Object.entries(scenarios)) results[name] = await run();
  made.forEach((each) => each.close());
  console.log(JSON.stringify(results));
})();
