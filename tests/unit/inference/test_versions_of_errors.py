"""Whatever a request fails at once its version is known, the error says which version it was."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.messages import example, method_types, spec, tensor
from tests.shelf import FLOATS, FunctionModel, Shelf, half_plus_two, response_of, signature

from salver.errors import InvalidArgument, ServingError
from salver.inference.call import LARGE_BYTES
from salver.protocols.methods import Call
from salver.tfs.rest.calls import InferenceCalls
from salver.tfs.rpc.prediction import PredictionService
from salver.tfs.rpc.session import SessionService
from salver.vocabulary.requests import Array, ServableRequest


def _fail(_x: Array) -> list[Array]:
    raise InvalidArgument("no")


MODEL = FunctionModel(
    {
        "serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), half_plus_two),
        "failing": (signature({"x": FLOATS}, {"nothing": FLOATS}), _fail),
        "two": (signature({"x": FLOATS}, {"y": FLOATS, "z": FLOATS}), lambda x: [x]),
    }
)
Ask = Callable[[Shelf, bool], Any]


def rest(method: str, **document: Any) -> Ask:
    """Post a document; a large one is read in the pool."""

    def ask(shelf: Shelf, is_large: bool) -> Any:
        calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
        body = json.dumps(document).encode()
        body = body.ljust(LARGE_BYTES + 1) if is_large else body
        return getattr(calls, method)(body, ServableRequest("m"))

    return ask


def grpc(method: str, path: str = "PredictionService", **fields: Any) -> Ask:
    """Send a message; a large one has a long field that nobody knows."""
    request, _ = method_types(f"/tensorflow.serving.{path}/{method}")
    name = {"Predict": "predict", "SessionRun": "session_run"}.get(method, method.lower())

    def ask(shelf: Shelf, is_large: bool) -> Any:
        make = SessionService if path == "SessionService" else PredictionService
        data = request(**fields).SerializeToString()
        if is_large:
            data += b"\xfa\x7f" + b"\x80\x80\x08" + bytes(1 << 17)
        return getattr(make(shelf, in_pool=shelf.in_pool), name)(data, Call(None))

    return ask


def misshapen() -> Any:
    made = tensor(np.ones(2, np.float32))
    made.tensor_shape.dim[0].size = 1
    return made


X = {"x": tensor(np.ones(1, np.float32))}
ONE_EXAMPLE = {"example_list": {"examples": [example(x=[1.0])]}}
FAILING: dict[str, Ask] = {
    "REST: no such signature": rest("predict", signature_name="none", instances=[1.0]),
    "REST: a wrong dtype": rest("predict", instances=["a"]),
    "REST: ragged": rest("predict", instances=[[1.0], [1.0, 2.0]]),
    "REST: an unknown input": rest("predict", inputs={"q": [1.0], "r": [1.0]}),
    "REST: a run that fails": rest("predict", signature_name="failing", instances=[1.0]),
    "REST: classify": rest("classify", examples=[{"x": 1.0}]),
    "REST: classify, no such signature": rest(
        "classify", signature_name="none", examples=[{"x": 1.0}]
    ),
    "REST: regress": rest("regress", examples=[{"x": 1.0}]),
    "gRPC: no such signature": grpc("Predict", model_spec=spec("m", "none"), inputs=X),
    "gRPC: a shape of other values": grpc(
        "Predict", model_spec=spec("m"), inputs={"x": misshapen()}
    ),
    "gRPC: an unknown input": grpc("Predict", model_spec=spec("m"), inputs={"q": X["x"]}),
    "gRPC: an unknown output": grpc(
        "Predict", model_spec=spec("m"), inputs=X, output_filter=["none"]
    ),
    "gRPC: a run that fails": grpc("Predict", model_spec=spec("m", "failing"), inputs=X),
    "gRPC: too few outputs": grpc("Predict", model_spec=spec("m", "two"), inputs=X),
    "gRPC: classify": grpc("Classify", model_spec=spec("m"), input=ONE_EXAMPLE),
    "gRPC: classify, no such signature": grpc(
        "Classify", model_spec=spec("m", "none"), input=ONE_EXAMPLE
    ),
    "gRPC: regress": grpc("Regress", model_spec=spec("m"), input=ONE_EXAMPLE),
    "gRPC: no such tensor": grpc(
        "SessionRun", "SessionService", model_spec=spec("m"), fetch=["none:0"]
    ),
}


@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("name", FAILING)
async def test_an_error_says_which_version_it_is_of(
    name: str, is_large: bool, shelf: Shelf
) -> None:
    shelf.put("m", 7, MODEL)
    with pytest.raises(ServingError) as caught:
        await response_of(FAILING[name](shelf, is_large))
    assert caught.value.version == 7
    assert shelf.in_flight() == 0
