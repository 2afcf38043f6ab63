"""The stubs of `tensorflow-serving-api`, put to all their uses against one server.

    python official.py '{"target": "127.0.0.1:8500", "several": "/path/of/a/model"}'

prints one JSON object: scenario → `{"result": …}`, or `{"error": traceback}`. One process for all
of them, because the import of TensorFlow takes longer than the calls. The server has the models of
`all_models_config`.
"""

import asyncio
import json
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow.python.profiler import profiler_client
from tensorflow.tsl.profiler.protobuf import xplane_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
    session_service_pb2,
)

Scenario = Callable[["Stubs"], Any]
SCENARIOS: dict[str, Scenario] = {}
TIMEOUT_S = 60.0
LIMITS = [("grpc.max_receive_message_length", 1 << 30), ("grpc.max_send_message_length", 1 << 30)]

NUMBERS: dict[str, Any] = {
    "float": np.array([1.5, -0.0, np.inf], np.float32),
    "double": np.array([0.1, 1e300], np.float64),
    "half": np.array([1.5, -2.0], np.float16),
    "bfloat16": np.array([1.5, -2.0], tf.bfloat16.as_numpy_dtype),
    "int8": np.array([-128, 127], np.int8),
    "int16": np.array([-32768, 32767], np.int16),
    "int32": np.array([-(2**31), 2**31 - 1], np.int32),
    "int64": np.array([-(2**63), 2**63 - 1], np.int64),
    "uint8": np.array([0, 255], np.uint8),
    "uint16": np.array([0, 65535], np.uint16),
    "uint32": np.array([0, 2**32 - 1], np.uint32),
    "uint64": np.array([0, 2**64 - 1], np.uint64),
    "bool": np.array([True, False]),
    "string": np.array([b"text", b"\x00\xff", b""], object),
    "complex64": np.array([1 + 2j, -3.5j], np.complex64),
    "complex128": np.array([1 + 2j, -3.5j], np.complex128),
    "float8_e5m2": np.array([1.5, -2.0], tf.dtypes.experimental.float8_e5m2.as_numpy_dtype),
    "float8_e4m3fn": np.array([1.5, -2.0], tf.dtypes.experimental.float8_e4m3fn.as_numpy_dtype),
}


class Stubs:
    """The channel, what stands on it, and what the command line says."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.channel = grpc.insecure_channel(settings["target"], options=LIMITS)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, model: str, signature: str = "", **inputs: Any) -> Any:
        return self.prediction.Predict(predict_request(model, signature, **inputs), TIMEOUT_S)


def scenario(run: Scenario) -> Scenario:
    SCENARIOS[run.__name__] = run
    return run


def predict_request(model: str, signature: str = "", **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, data in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(data))
    return request


def failure(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return ["OK", ""]


def examples(*xs: float) -> list[Any]:
    made = []
    for x in xs:
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
        made.append(tf.train.Example(features=tf.train.Features(feature={"x": feature})))
    return made


# -- Predict -------------------------------------------------------------------------------------


@scenario
def every_dtype_of_make_tensor_proto(stubs: Stubs) -> Any:
    wrong = []
    for name, array in NUMBERS.items():
        response = stubs.predict("every_dtype", name, x=array)
        back = tf.make_ndarray(response.outputs["y"])
        if back.dtype != array.dtype or back.tolist() != array.tolist():
            wrong.append(f"{name}: {array} came back as {back}")
    return wrong


@scenario
def every_dtype_of_the_model_is_tried(stubs: Stubs) -> Any:
    """Those numpy cannot hold by name: quantized ones, by their value field."""
    wrong = []
    for name in ("qint8", "quint8", "qint16", "quint16", "qint32"):
        request = predict_request("every_dtype", name)
        proto = request.inputs["x"]
        proto.dtype = types_pb2.DataType.Value(f"DT_{name.upper()}")
        proto.tensor_shape.dim.add(size=2)
        proto.int_val.extend([1, 100])
        output = stubs.prediction.Predict(request, TIMEOUT_S).outputs["y"]
        if list(output.int_val) != [1, 100] or output.dtype != proto.dtype:
            wrong.append(f"{name}: {text_format.MessageToString(output)}")
    return wrong


@scenario
def a_tutorial(stubs: Stubs) -> Any:
    """As the tutorials have it."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "serving_default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0, 5.0], shape=[3]))
    result = stubs.prediction.Predict(request, 10.0)
    spec = result.model_spec
    return [list(result.outputs["y"].float_val), spec.name, spec.signature_name, spec.version.value]


@scenario
def futures_with_callbacks(stubs: Stubs) -> Any:
    """As mnist_client.py: many futures at once, with callbacks."""
    seen: list[float] = []
    futures = []
    for n in range(100):
        future = stubs.prediction.Predict.future(
            predict_request("half_plus_two", x=np.array([n], np.float32)), TIMEOUT_S
        )
        future.add_done_callback(lambda done: seen.append(done.result().outputs["y"].float_val[0]))
        futures.append(future)
    for future in futures:
        future.result()
    return [len(seen), sum(future.result().outputs["y"].float_val[0] for future in futures)]


@scenario
def an_asyncio_client(stubs: Stubs) -> Any:
    async def ask() -> Any:
        async with grpc.aio.insecure_channel(stubs.settings["target"]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            requests = [
                stub.Predict(predict_request("half_plus_two", x=[float(n)]), timeout=TIMEOUT_S)
                for n in range(20)
            ]
            answers = await asyncio.gather(*requests)
            return [answer.outputs["y"].float_val[0] for answer in answers]

    return asyncio.run(ask())


@scenario
def output_filter(stubs: Stubs) -> Any:
    request = predict_request("several", a=[[1.0, 2.0]], b=[3], text=["word"])
    request.output_filter.append("upper")
    response = stubs.prediction.Predict(request, TIMEOUT_S)
    return {name: tf.make_ndarray(proto).tolist()[0].decode()
            for name, proto in response.outputs.items()}  # fmt: skip


@scenario
def defaults_of_inputs(stubs: Stubs) -> Any:
    return [
        list(stubs.predict("half_plus_two_tf2").outputs["y"].float_val),
        list(stubs.predict("several", "optional", x=[1.0]).outputs["y"].float_val),
        list(stubs.predict("several", "constant").outputs["y"].float_val),
    ]


@scenario
def versions_and_labels(stubs: Stubs) -> Any:
    answered = []
    for choose in (
        lambda spec: spec.version.CopyFrom(type(spec.version)(value=123)),
        lambda spec: setattr(spec, "version_label", "stable"),
        lambda spec: setattr(spec, "version_label", "canary"),
        lambda spec: None,
    ):
        request = predict_request("versions", x=[2.0])
        choose(request.model_spec)
        response = stubs.prediction.Predict(request, TIMEOUT_S)
        answered.append(response.model_spec.version.value)
    return answered


@scenario
def an_image(stubs: Stubs) -> Any:
    image = np.random.default_rng(0).random((8, 224, 224, 3), np.float32)
    response = stubs.predict("slicer", image=image)
    return bool(np.array_equal(tf.make_ndarray(response.outputs["pixel"]), image[:, 0, 0, :]))


@scenario
def tensors_of_tensorflow(stubs: Stubs) -> Any:
    """A proto made by `tf.io` and by a session hold the same things in other fields."""
    proto = tf.constant([1.0, 1.0, 1.0, 1.0])
    request = predict_request("half_plus_two")
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(proto))
    first = list(stubs.prediction.Predict(request, TIMEOUT_S).outputs["y"].float_val)
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(7.0, shape=[3]))
    second = list(stubs.prediction.Predict(request, TIMEOUT_S).outputs["y"].float_val)
    return [first, second]


# -- Classify, Regress, MultiInference -----------------------------------------------------------


@scenario
def classify(stubs: Stubs) -> Any:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "classify_x_to_y"
    request.input.example_list.examples.extend(examples(20.0, 0.0))
    response = stubs.prediction.Classify(request, TIMEOUT_S)
    return [each.classes[0].score for each in response.result.classifications]


@scenario
def regress(stubs: Stubs) -> Any:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half_plus_two_tf2"
    request.model_spec.signature_name = "regress_x_to_y"
    request.input.example_list_with_context.examples.extend([tf.train.Example()] * 2)
    request.input.example_list_with_context.context.CopyFrom(examples(80.0)[0])
    response = stubs.prediction.Regress(request, TIMEOUT_S)
    return [each.value for each in response.result.regressions]


@scenario
def multi_inference(stubs: Stubs) -> Any:
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in (("regress_x_to_y", "regress"), ("classify_x_to_y", "classify")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "half_plus_two"
        task.model_spec.signature_name = signature
    request.input.example_list.examples.extend(examples(2.0))
    first, second = stubs.prediction.MultiInference(request, TIMEOUT_S).results
    return [
        first.regression_result.regressions[0].value,
        second.classification_result.classifications[0].classes[0].score,
        second.model_spec.version.value,
    ]


# -- models --------------------------------------------------------------------------------------


@scenario
def metadata(stubs: Stubs) -> Any:
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "several"
    request.metadata_field.append("signature_def")
    response = stubs.prediction.GetModelMetadata(request, TIMEOUT_S)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    scale = signatures.signature_def["optional"].defaults["scale"]
    return [sorted(default.inputs), sorted(default.outputs), float(tf.make_ndarray(scale))]


@scenario
def status(stubs: Stubs) -> Any:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "versions"
    response = stubs.models.GetModelStatus(request, TIMEOUT_S)
    states = get_model_status_pb2.ModelVersionStatus.State
    return [
        [each.version, states.Name(each.state), each.status.error_code]
        for each in response.model_version_status
    ]


@scenario
def reload(stubs: Stubs) -> Any:
    """Last but one: afterwards the server has two models."""
    request = model_management_pb2.ReloadConfigRequest(metric_names=["/a/b"])
    for name, model in (("half_plus_two", "half_plus_two"), ("renamed", "several")):
        request.config.model_config_list.config.add(
            name=name, base_path=stubs.settings[model], model_platform="tensorflow"
        )
    response = stubs.models.HandleReloadConfigRequest(request, TIMEOUT_S)
    answer = list(stubs.predict("renamed", "constant").outputs["y"].float_val)
    growth = {metric.name: metric.int64_value_increase for metric in response.metric}
    return [response.status.error_code, answer, growth]


@scenario
def session_run(stubs: Stubs) -> Any:
    request = session_service_pb2.SessionRunRequest(fetch=["y:0"])
    request.model_spec.name = "half_plus_two"
    request.feed.add(name="x:0", tensor=tf.make_tensor_proto([[2.0]]))
    method = stubs.channel.unary_unary(
        "/tensorflow.serving.SessionService/SessionRun",
        request_serializer=session_service_pb2.SessionRunRequest.SerializeToString,
        response_deserializer=session_service_pb2.SessionRunResponse.FromString,
    )
    response = method(request, timeout=TIMEOUT_S)
    return {each.name: tf.make_ndarray(each.tensor).tolist() for each in response.tensor}


# -- what goes wrong -----------------------------------------------------------------------------


@scenario
def refusals(stubs: Stubs) -> Any:
    filtered = predict_request("half_plus_two", x=[1.0])
    filtered.output_filter.append("z")
    return [
        failure(lambda: stubs.prediction.Predict(predict_pb2.PredictRequest(), TIMEOUT_S)),
        failure(lambda: stubs.predict("unknown", x=[1.0])),
        failure(lambda: stubs.predict("half_plus_two", "unknown", x=[1.0])),
        failure(lambda: stubs.predict("half_plus_two", y=[1.0], x=[1.0])),
        failure(lambda: stubs.prediction.Predict(filtered, TIMEOUT_S)),
    ]


@scenario
def a_wrong_dtype(stubs: Stubs) -> Any:
    return failure(lambda: stubs.predict("half_plus_two", x=[1]))


@scenario
def a_deadline(stubs: Stubs) -> Any:
    stubs.predict("slow", millis=[1.0])
    request = predict_request("slow", millis=[3000.0])
    return failure(lambda: stubs.prediction.Predict(request, 0.3))[0]


# -- the profiler --------------------------------------------------------------------------------


@scenario
def profiler_monitor(stubs: Stubs) -> Any:
    try:
        return ["answered", profiler_client.monitor(stubs.settings["target"], 100)]
    except Exception as error:  # noqa: BLE001 - told to the test
        return [type(error).__name__, str(error)]


@scenario
def profiler_trace(stubs: Stubs) -> Any:
    """What TensorFlow's own client writes for TensorBoard, of a model that runs meanwhile."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            stubs.predict("half_plus_two", x=[1.0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        profiler_client.trace(stubs.settings["target"], stubs.settings["logs"], 500)
    except Exception as error:  # noqa: BLE001 - told to the test
        return [type(error).__name__, str(error)]
    finally:
        ended.set()
        asking.join()
    (written,) = Path(stubs.settings["logs"]).glob("plugins/profile/*/*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(written.read_bytes())
    names = {
        plane.event_metadata[event.metadata_id].name
        for plane in space.planes
        for line in plane.lines
        for event in line.events
    }
    return ["answered", sorted(names)]


def outcome(run: Scenario, stubs: Stubs) -> dict[str, Any]:
    try:
        return {"result": run(stubs)}
    except Exception:  # noqa: BLE001 - told to the test
        return {"error": traceback.format_exc()}


def main() -> None:
    stubs = Stubs(json.loads(sys.argv[1]))
    last = SCENARIOS.pop("reload")
    outcomes = {name: outcome(run, stubs) for name, run in SCENARIOS.items()}
    outcomes["reload"] = outcome(last, stubs)
    stubs.channel.close()
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
