"""How fast Predict's messages become arrays and back, beside protobuf's own parser with numpy.

Run: `PYTHONPATH=src python benchmarks/tensor_codec.py`. Ratios below 1 mean that we are quicker.
"""

import time
from collections.abc import Callable

import numpy as np

from salver._pb import message_class
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request, encode_predict_response
from salver.codecs.protobuf.tensor_proto import decode_tensor, encode_tensor
from salver.vocabulary.dtypes import dtype_of_array
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import number_of, value_field

_ROUNDS = 12
_SECONDS_A_ROUND = 0.05
_REQUEST = message_class("tensorflow.serving.PredictRequest")
_RESPONSE = message_class("tensorflow.serving.PredictResponse")
_SPEC = ModelSpec("half_plus_two", 123, None, "serving_default")


def best_of(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the processor that one call of each takes, the best of rounds in turns."""
    best = [float("inf"), float("inf")]
    calls = [0, 0]
    for _ in range(_ROUNDS):
        for at, function in enumerate((ours, theirs)):
            start = time.process_time()
            if not calls[at]:
                function()
                calls[at] = max(1, int(_SECONDS_A_ROUND / (time.process_time() - start + 1e-6)))
                continue
            for _ in range(calls[at]):
                function()
            best[at] = min(best[at], (time.process_time() - start) / calls[at])
    return best[0], best[1]


def decode(data: bytes) -> list[Array]:
    return [decode_tensor(tensor) for tensor in decode_predict_request(data).inputs.values()]


def decode_by_protobuf(data: bytes, dtype: "np.dtype[np.generic]", field: str) -> list[Array]:
    message = _REQUEST.FromString(data)
    arrays = []
    spec = message.model_spec
    _ = (spec.name, spec.signature_name, spec.WhichOneof("version_choice"))
    for tensor in message.inputs.values():
        if tensor.tensor_content:
            values = np.frombuffer(tensor.tensor_content, dtype)
        else:
            values = np.array(getattr(tensor, field), dtype)
        arrays.append(values.reshape([dim.size for dim in tensor.tensor_shape.dim]))
    return arrays


def encode_by_protobuf(array: Array, number: int, field: str, *, as_content: bool) -> bytes:
    message = _RESPONSE()
    message.model_spec.name = _SPEC.name
    message.model_spec.version.value = _SPEC.version
    message.model_spec.signature_name = _SPEC.signature_name
    tensor = message.outputs["y"]
    tensor.dtype = number
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if as_content:
        tensor.tensor_content = array.tobytes()
    else:
        getattr(tensor, field).extend(array.ravel().tolist())
    data: bytes = message.SerializeToString()
    return data


def compare(name: str, array: Array, *, as_content: bool) -> None:
    dtype = dtype_of_array(array.dtype)
    number, field = number_of(dtype), value_field(dtype) or ""
    request = _REQUEST()
    request.model_spec.name = _SPEC.name
    request.inputs["x"].ParseFromString(encode_tensor(array, as_content=as_content))
    data = request.SerializeToString()
    outputs = [("y", array)]
    theirs = decode_by_protobuf(data, array.dtype, field)
    assert np.array_equal(decode(data)[0], theirs[0])
    mine, peer = best_of(lambda: decode(data), lambda: decode_by_protobuf(data, array.dtype, field))
    print(f"{name:34} {len(data):>9,} B  in  {mine * 1e6:9.1f} µs  / protobuf {mine / peer:7.4f}")
    mine, peer = best_of(
        lambda: encode_predict_response(_SPEC, outputs, as_content=as_content),
        lambda: encode_by_protobuf(array, number, field, as_content=as_content),
    )
    print(f"{'':34} {'':9}    out {mine * 1e6:9.1f} µs  / protobuf {mine / peer:7.4f}")


def main() -> None:
    generator = np.random.default_rng(0)
    image = generator.random((1, 224, 224, 3), np.float32)
    pixels = (image * 256).astype(np.uint8)
    compare("half_plus_two, float_val", np.array([1, 2, 5], np.float32), as_content=False)
    compare("half_plus_two, tensor_content", np.array([1, 2, 5], np.float32), as_content=True)
    compare("three int64", np.array([1, 300, -1]), as_content=False)
    compare("128 tokens, int64_val", generator.integers(0, 30_000, (1, 128)), as_content=False)
    compare("224×224×3 image, float_val", image, as_content=False)
    compare("224×224×3 image, tensor_content", image, as_content=True)
    compare("224×224×3 pixels, int_val", pixels, as_content=False)


if __name__ == "__main__":
    main()
