"""A gRPC client of grpcio and our own messages: no TensorFlow, and quick."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from salver._pb import message_class
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.tensorflow_types import base_dtype, number_of, value_field
from tests.integration.serving import PATIENCE_S

__all__ = [
    "METHODS",
    "UNLIMITED",
    "Client",
    "connected",
    "example",
    "message",
    "model_spec",
    "outcome",
    "predict_request",
    "tensor",
    "values",
]

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

# Name of a method → its path and the message it answers with.
METHODS = {
    name: (f"/tensorflow.serving.{service}/{name}", f"tensorflow.serving.{response}")
    for service, name, response in (
        ("PredictionService", "Predict", "PredictResponse"),
        ("PredictionService", "Classify", "ClassificationResponse"),
        ("PredictionService", "Regress", "RegressionResponse"),
        ("PredictionService", "MultiInference", "MultiInferenceResponse"),
        ("PredictionService", "GetModelMetadata", "GetModelMetadataResponse"),
        ("ModelService", "GetModelStatus", "GetModelStatusResponse"),
        ("ModelService", "HandleReloadConfigRequest", "ReloadConfigResponse"),
        ("SessionService", "SessionRun", "SessionRunResponse"),
    )
}


def message(name: str, /, **fields: Any) -> Any:
    """A message of the package `tensorflow.serving`, or of another by its full name."""
    full_name = name if "." in name else f"tensorflow.serving.{name}"
    return message_class(full_name)(**fields)


def model_spec(
    name: str, version: int | None = None, label: str | None = None, signature: str = ""
) -> Any:
    spec = message("ModelSpec", name=name, signature_name=signature)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def tensor(data: Any, dtype: DataType | None = None, *, in_fields: bool = False) -> Any:
    """A TensorProto, as `tensor_content` or in value fields; text becomes `string_val`."""
    is_number = dtype not in (None, DataType.STRING)
    array = np.asarray(data, numpy_dtype(dtype) if dtype and is_number else None)
    if array.dtype.kind in "SUO":
        texts = [x if isinstance(x, bytes) else str(x).encode() for x in array.ravel().tolist()]
        proto = message(
            "tensorflow.TensorProto", dtype=number_of(DataType.STRING), string_val=texts
        )
    else:
        array = array.astype(np.float32) if array.dtype == np.float64 and dtype is None else array
        dtype = dtype_of_array(array.dtype) if dtype is None else dtype
        proto = message("tensorflow.TensorProto", dtype=number_of(dtype))
        if in_fields:
            getattr(proto, value_field(dtype) or "").extend(array.ravel().tolist())
        else:
            proto.tensor_content = array.tobytes()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def values(proto: Any) -> Any:
    """What a TensorProto holds, as nested lists; bit patterns of half and float8 as they are."""
    dtype = base_dtype(proto.dtype)
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, numpy_dtype(dtype)).reshape(shape).tolist()
    field = list(getattr(proto, value_field(dtype) or ""))
    if dtype in (DataType.COMPLEX64, DataType.COMPLEX128):
        field = [complex(*pair) for pair in zip(field[::2], field[1::2], strict=True)]
    array = np.empty(len(field), object)
    array[:] = field
    return array.reshape(shape).tolist()


def example(**features: Any) -> Any:
    """A tf.Example of floats, integers and text."""
    made = message("tensorflow.Example")
    for name, value in features.items():
        several = value if isinstance(value, list) else [value]
        feature = made.features.feature[name]
        if isinstance(several[0], float):
            feature.float_list.value.extend(several)
        elif isinstance(several[0], int):
            feature.int64_list.value.extend(several)
        else:
            feature.bytes_list.value.extend(text.encode() for text in several)
    return made


def outcome(call: Callable[[], Any]) -> tuple[str, str]:
    """The code's name and the message a call ends with; `("OK", "")` when it succeeds."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


class Client:
    """Calls over one channel. Each waits at most `PATIENCE_S` unless it says otherwise."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def raw(self, path: str, sent: bytes, **more: Any) -> bytes:
        """Send bytes to any method, get bytes."""
        method = self.channel.unary_unary(path)
        answer: bytes = method(sent, **{"timeout": PATIENCE_S, "wait_for_ready": True} | more)
        return answer

    def start(self, method: str, request: Any, **more: Any) -> Any:
        """Begin a call; what comes back is grpcio's future of the response."""
        path, response = METHODS[method]
        stub = self.channel.unary_unary(
            path,
            request_serializer=lambda sent: sent.SerializeToString(),
            response_deserializer=message_class(response).FromString,
        )
        return stub.future(request, **{"timeout": PATIENCE_S, "wait_for_ready": True} | more)

    def call(self, method: str, request: Any, **more: Any) -> Any:
        """The response to a request."""
        return self.start(method, request, **more).result()

    def refusal(self, method: str, request: Any, **more: Any) -> tuple[str, str]:
        """The code's name and the message of a call that fails."""
        return outcome(lambda: self.call(method, request, **more))

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Sequence[str] = (),
        **more: Any,
    ) -> dict[str, Any]:
        """The outputs by name; inputs may be TensorProtos or what `tensor` takes."""
        request = predict_request(
            model_spec(model, version, label, signature), inputs, outputs=outputs
        )
        response = self.call("Predict", request, **more)
        return {name: values(proto) for name, proto in response.outputs.items()}

    def states(self, model: str) -> dict[int, str]:
        """Version → state."""
        response = self.call(
            "GetModelStatus", message("GetModelStatusRequest", model_spec=model_spec(model))
        )
        return {
            status.version: status.DESCRIPTOR.enum_types_by_name["State"]
            .values_by_number[status.state]
            .name
            for status in response.model_version_status
        }


def predict_request(spec: Any, inputs: Mapping[str, Any], *, outputs: Sequence[str] = ()) -> Any:
    """A PredictRequest; `spec` may be None."""
    request = message("PredictRequest", output_filter=outputs)
    if spec is not None:
        request.model_spec.CopyFrom(spec)
    for name, data in inputs.items():
        is_tensor = hasattr(data, "tensor_content")
        request.inputs[name].CopyFrom(data if is_tensor else tensor(data))
    return request


@contextmanager
def connected(
    target: str, *, credentials: Any = None, options: Sequence[tuple[str, Any]] = UNLIMITED
) -> Iterator[Client]:
    """A client of a channel of its own, closed at the end."""
    # Without this, channels to one address share a connection, and a test another's fate.
    options = (*options, ("grpc.use_local_subchannel_pool", 1))
    channel = (
        grpc.insecure_channel(target, options=options)
        if credentials is None
        else grpc.secure_channel(target, credentials, options=options)
    )
    with channel:
        yield Client(channel)
