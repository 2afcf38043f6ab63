import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.shelf import FLOATS, HALF_PLUS_TWO, FunctionModel, Shelf, response_of, signature

from salver import __version__
from salver.errors import (
    Cancelled,
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    Overloaded,
    ServingError,
    Unavailable,
    Unimplemented,
)
from salver.inference.call import Inference
from salver.lifecycle.monitor import VersionState
from salver.oip.rest.api import RestApi
from salver.oip.rest.errors import HTTP_STATUS, error_response
from salver.oip.rest.infer import InferCalls
from salver.oip.serving import OipServing
from salver.protocols.api import Api
from salver.protocols.rest_errors import no_route, refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import HttpRequest, HttpResponse

BODY = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1.0]}]}'
Ask = Callable[..., Any]


@pytest.fixture
def ask(shelf: Shelf) -> Ask:
    """Asks a server with the versions 7 and 9 of m, of which 7 is stable."""
    for version in (7, 9):
        shelf.put("m", version, HALF_PLUS_TWO)
    shelf.serving.assign_labels({"m": {"stable": 7}}, {})
    shelf.names.append("coming")
    return asking(shelf)


def asking(shelf: Shelf, problem: str | None = None) -> Ask:
    serving = OipServing(shelf)
    calls = InferCalls(Inference(serving, shelf.in_pool), shelf.in_pool)
    rest = RestApi(serving, calls, shelf.metrics.outcomes, lambda: problem)
    api = Api(routes=rest.routes(), rest_failed=rest.failed)
    router = Router([api], failed=refusal_or_fault, not_found=no_route)

    async def ask(target: str, method: str = "GET", body: bytes = b"") -> HttpResponse:
        return await response_of(router(HttpRequest(method, target, body=body)))

    return ask


async def json_of(answer: Any, status: int = 200) -> Any:
    response = await answer
    assert response.status == status
    assert response.content_type == "application/json"
    return json.loads(response.body)


async def test_the_server_tells_its_name_and_what_it_can(ask: Ask) -> None:
    for target in ("/v2", "/v2/", "/v2?a=b"):
        said = await json_of(ask(target))
        assert (said["name"], said["version"]) == ("salver", __version__)
        assert {"classification", "binary_tensor_data", "parameters"} <= set(said["extensions"])


async def test_health_is_told_in_json(ask: Ask, shelf: Shelf) -> None:
    assert await json_of(ask("/v2/health/live")) == {"live": True}
    assert await json_of(ask("/v2/health/ready")) == {"ready": True}
    waiting = asking(shelf, "models are loading")
    assert await json_of(waiting("/v2/health/live")) == {"live": True}
    said = await json_of(waiting("/v2/health/ready"), 503)
    assert said == {"ready": False, "error": "models are loading"}


@pytest.mark.parametrize("target", ["", "/versions/9", "/versions/stable", "/versions/07"])
async def test_a_model_tells_what_it_takes_and_gives(ask: Ask, target: str) -> None:
    response = await ask(f"/v2/models/m{target}")
    assert json.loads(response.body) == {
        "name": "m",
        "versions": ["7", "9"],
        "platform": "",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    }
    version = "7" if "stable" in target or "7" in target else "9"
    assert ("salver-model-version", version) in response.headers


@pytest.mark.parametrize("target", ["", "/versions/7", "/versions/stable"])
async def test_a_model_that_answers_is_ready(ask: Ask, target: str) -> None:
    said = await json_of(ask(f"/v2/models/m{target}/ready"))
    assert said == {"name": "m", "ready": True}


@pytest.mark.parametrize(
    ("target", "status", "told"),
    [
        ("nope", 404, "Request for unknown model: 'nope' is not found"),
        ("m/versions/8", 404, "Request for unknown model: 'm' version 8 is not found"),
        ("m/versions/canary", 404, "Request for unknown model: 'm' version canary is not found"),
        ("coming", 503, "Request for unknown model: 'coming' has no available versions"),
    ],
)
async def test_a_model_that_is_not_there_is_told_of_in_words_that_clients_know(
    ask: Ask, target: str, status: int, told: str
) -> None:
    said = await json_of(ask(f"/v2/models/{target}/ready"), status)
    assert (said["ready"], said["error"]) == (False, told)
    assert (await json_of(ask(f"/v2/models/{target}"), status))["error"] == told
    infer = ask(f"/v2/models/{target}/infer", "POST", BODY)
    assert (await json_of(infer, status))["error"] == told


@pytest.mark.parametrize(
    ("state", "error", "hint"),
    [
        (VersionState.LOADING, None, None),
        (VersionState.END, Internal("the file is broken"), "the file is broken"),
    ],
)
async def test_a_version_that_does_not_answer_now_is_unavailable(
    ask: Ask, shelf: Shelf, state: VersionState, error: ServingError | None, hint: str | None
) -> None:
    shelf.publish("coming", 1, state, error)
    said = await json_of(ask("/v2/models/coming/ready"), 503)
    assert said["error"] == "Request for unknown model: 'coming' is not at ready state"
    said = await json_of(ask("/v2/models/coming/infer", "POST", BODY), 503)
    assert said.get("hint", hint) == hint or hint is None


async def test_an_inference_is_of_the_version_that_the_path_names(ask: Ask) -> None:
    for which, version in (("", "9"), ("/versions/7", "7"), ("/versions/stable", "7")):
        response = await ask(f"/v2/models/m{which}/infer?x=y", "POST", BODY)
        assert json.loads(response.body)["model_version"] == version
        assert response.headers == (("salver-model-version", version),)


async def test_a_name_is_percent_encoded(shelf: Shelf) -> None:
    shelf.put("a/b ü", 1, HALF_PLUS_TWO)
    said = await json_of(asking(shelf)("/v2/models/a%2Fb%20%C3%BC"))
    assert said["name"] == "a/b ü"


@pytest.mark.parametrize(
    "target",
    ["/v2/nope", "/v2/models/m/nope", "/v2/models//infer", "/v2/models/m/versions//ready", "/v2//"],
)
async def test_a_path_that_is_none_is_not_found(ask: Ask, target: str) -> None:
    for method in ("GET", "POST"):
        said = await json_of(ask(target, method), 404)
        assert said["error"] == f"Not Found: {method} {target}"
        assert "/v2/models/NAME" in said["hint"]


async def test_a_method_that_a_path_has_not_is_refused(ask: Ask) -> None:
    said = await json_of(ask("/v2/models/m/infer"), 405)
    assert said["error"] == "Method Not Allowed: GET /v2/models/m/infer"
    assert (await ask("/v2/health/live", "DELETE")).status == 405
    assert (await ask("/v2/models/m/infer", "OPTIONS")).status == 200


async def test_a_version_beyond_all_numbers_is_not_found(ask: Ask) -> None:
    for digits in ("9" * 19, "1" * 5000):
        said = await json_of(ask(f"/v2/models/m/versions/{digits}/ready"), 404)
        assert said["error"].startswith("Request for unknown model: 'm' version")
        assert len(said["error"]) < 200


async def test_the_metadata_is_of_the_only_signature_where_none_is_called_default(
    shelf: Shelf,
) -> None:
    of = signature({"a": FLOATS}, {"b": FLOATS})
    shelf.put("m", 1, FunctionModel({"embed": (of, lambda x: [x])}))
    shelf.put("n", 1, FunctionModel({"f": (of, lambda x: [x]), "g": (of, lambda x: [x])}))
    assert (await json_of(asking(shelf)("/v2/models/m")))["inputs"][0]["name"] == "a"
    said = await json_of(asking(shelf)("/v2/models/n"), 400)
    assert "serving_default" in said["error"]
    assert "f, g" in said["hint"]


async def test_failures_and_answers_are_counted_as_of_this_protocol(ask: Ask, shelf: Shelf) -> None:
    await ask("/v2/models/m/infer", "POST", b"{")
    await ask("/v2/nope")
    await ask("/v2/models/m")
    readings = shelf.metrics.outcomes.read()
    assert readings.failures == {
        ("m", None, Code.INVALID_ARGUMENT, "REST", "v2"): 1,
        ("", None, Code.NOT_FOUND, "REST", "v2"): 1,
    }
    assert "m" not in readings.answers  # those are of TensorFlow Serving's API


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidArgument("x"), 400),
        (NotFound("x"), 404),
        (Internal("x"), 500),
        (Unimplemented("x"), 501),
        (Unavailable("x"), 503),
        (Overloaded("x"), 503),
        (DeadlineExceeded("x"), 503),
        (Cancelled("x"), 499),
    ],
)
def test_errors_have_the_statuses_that_triton_has(error: ServingError, status: int) -> None:
    error.version = 3
    error.hint = "do y"
    response = error_response(error)
    assert response.status == status
    assert json.loads(response.body) == {"error": "x", "hint": "do y"}
    assert ("salver-model-version", "3") in response.headers
    assert (("Retry-After", "1") in response.headers) == isinstance(error, Overloaded)


def test_every_code_has_a_status() -> None:
    assert HTTP_STATUS.keys() == set(Code)


@contextmanager
def failing(shelf: Shelf, error: BaseException) -> Iterator[RestApi]:
    serving = OipServing(shelf)
    calls = InferCalls(Inference(serving, shelf.in_pool), shelf.in_pool)
    yield RestApi(serving, calls, shelf.metrics.outcomes, lambda: None)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (MemoryError("no room"), 503, "Out of memory: no room"),
        (KeyError("oh"), 500, "Internal error: 'oh'"),
        (asyncio.CancelledError(), 500, "Internal error: "),
    ],
)
def test_a_fault_of_ours_ends_one_request(
    shelf: Shelf, error: BaseException, status: int, told: str
) -> None:
    with failing(shelf, error) as rest:
        response = rest.failed(HttpRequest("POST", "/v2/models/m/infer"), error)
    assert (response.status, json.loads(response.body)["error"]) == (status, told)
    assert error.__traceback__ is None
