"""A protocol of one's own: numbers as a JSON list over REST, as raw floats over gRPC."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from salver.errors import InvalidArgument
from salver.inference.call import InferenceRequest
from salver.protocols.api import Api, ApiParts, RestRoute
from salver.protocols.methods import Call
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.requests import Array, ServableRequest


class Numbers(InferenceRequest[Any]):
    """Some numbers for the default signature of a model."""

    def __init__(self, servable: ServableRequest, fed: Array, write: Callable[[Array], Any]):
        super().__init__(servable)
        self.fed, self.write = fed, write

    def decode(self, handle: Any, is_active: object) -> bool:
        call: Any = handle.model.call("serving_default")
        self.runs(handle, call, [self.fed], ("predict", "NUMBERS"))
        return True

    def encode(self, outputs: list[Array]) -> Any:
        return self.write(outputs[0])


def write_json(output: Array) -> HttpResponse:
    return HttpResponse(200, json.dumps(output.tolist()).encode())


def read_json(body: bytes, servable: ServableRequest, _is_active: object) -> Numbers:
    try:
        numbers = np.array(json.loads(body), np.float32)
    except ValueError as error:
        raise InvalidArgument(f"No list of numbers: {error}") from error
    return Numbers(servable, numbers, write_json)


def read_raw(data: bytes, _context: object, _is_active: object) -> Numbers:
    name, _, raw = data.partition(b"\0")  # the model, then the floats
    return Numbers(ServableRequest(name.decode()), np.frombuffer(raw, np.float32), Array.tobytes)


def make_api(parts: ApiParts) -> Api:
    answer = parts.inference(is_deadline=True).answer

    def rest(request: HttpRequest) -> Any:
        return answer((read_json,), request.body, request.servable, request.timeout_s)

    def rpc(data: bytes, call: Call) -> Any:
        return answer((read_raw,), data, None, call.timeout_s)

    return Api([RestRoute("/numbers/(?P<name>[^/]+)", rest, ("POST",))], {"/plug.Numbers/Run": rpc})
