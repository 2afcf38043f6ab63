import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest
from tests.routers import router_of
from tests.shelf import (
    FLOATS,
    HALF_PLUS_TWO,
    FunctionModel,
    Gate,
    Shelf,
    cancelled,
    occupy,
    response_of,
    signature,
)

from salver.errors import Code, ResourceExhausted
from salver.operations.metrics_page import MetricsPage
from salver.protocols.api import Api, RestRoute
from salver.transport.messages import Headers, HttpRequest, HttpResponse, LargeResponse
from salver.vocabulary.requests import Array

CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
ONE = b'{"instances": [1.0]}'


def broken(_: Array) -> list[Array]:
    raise ZeroDivisionError("a fault of ours")


BROKEN = FunctionModel({"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), broken)})


def no_memory(_: Array) -> list[Array]:
    raise MemoryError("Unable to allocate 3 GiB")


STARVED = FunctionModel({"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), no_memory)})


class Server:
    """The API of a server, and what can be changed behind it."""

    def __init__(self, shelf: Shelf, *, is_cors_enabled: bool = False) -> None:
        self.problem: str | None = None
        self.router = router_of(
            shelf,
            in_pool=shelf.in_pool,
            timeout_s=10.0,
            unready=lambda: self.problem,
            is_cors_enabled=is_cors_enabled,
            outcomes=shelf.metrics.outcomes,
            page=MetricsPage(["/metrics", "/v1/odd"], shelf.metrics.draw, shelf.in_pool),
        )

    def ask(
        self, method: str, target: str, body: bytes = b"", fields: bytes = b""
    ) -> HttpResponse | Awaitable[HttpResponse]:
        return self.router(HttpRequest(method, target, Headers(fields), body))

    async def answer(
        self, method: str, target: str, body: bytes = b"", fields: bytes = b""
    ) -> HttpResponse:
        return await response_of(self.ask(method, target, body, fields))


@pytest.fixture
def server(shelf: Shelf) -> Server:
    shelf.put("m", 7, HALF_PLUS_TWO)
    shelf.put("pooled", 7, HALF_PLUS_TWO, is_inline=False)
    return Server(shelf)


@pytest.fixture
def cors_server(shelf: Shelf) -> Server:
    shelf.put("m", 7, HALF_PLUS_TWO)
    shelf.put("pooled", 7, HALF_PLUS_TWO, is_inline=False)
    return Server(shelf, is_cors_enabled=True)


def json_of(response: HttpResponse) -> Any:
    assert response.content_type == "application/json"
    return json.loads(response.body)


@pytest.mark.parametrize("model", ["m", "pooled"])
async def test_each_call_reaches_its_answer(server: Server, model: str) -> None:
    path = f"/v1/models/{model}"
    predicted = await server.answer("POST", f"{path}:predict", ONE)
    assert (predicted.status, json_of(predicted)) == (200, {"predictions": [2.5]})
    for call, message in (("classify", "classification"), ("regress", "regression")):
        refused = await server.answer("POST", f"{path}:{call}", b'{"examples": [{}]}')
        assert refused.status == 400
        assert f"No {message} inputs found" in json_of(refused)["error"]
    status = json_of(await server.answer("GET", path))
    assert status["model_version_status"][0]["version"] == "7"
    metadata = json_of(await server.answer("GET", f"{path}/metadata"))
    assert metadata["model_spec"]["name"] == model
    listed = json_of(await server.answer("GET", "/v1/models"))
    assert [each["name"] for each in listed["models"]] == ["m", "pooled"]


async def test_an_answer_that_needs_no_waiting_is_no_awaitable(server: Server) -> None:
    assert isinstance(server.ask("POST", "/v1/models/m:predict", ONE), HttpResponse)


async def test_a_path_asked_for_again_is_not_read_again(server: Server) -> None:
    for _ in range(3):
        assert (await server.answer("POST", "/v1/models/m:predict", ONE)).status == 200
        assert (await server.answer("GET", "/v1/models/m")).status == 200
    assert (await server.answer("POST", "/v1/models/m")).status == 400


async def test_a_path_of_unusual_length_is_answered_and_not_remembered(server: Server) -> None:
    response = await server.answer("GET", "/v1/models/" + "m" * 600)
    assert response.status == 404
    assert len(server.router._found) == 0


async def test_however_many_paths_are_asked_for_few_are_remembered(server: Server) -> None:
    for number in range(5000):
        server.ask("GET", f"/v1/models/{number}")
    assert len(server.router._found) <= 4096
    assert (await server.answer("GET", "/v1/models/m")).status == 200


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "message"),
    [
        (
            "POST",
            "/v1/models/nope:predict",
            ONE,
            404,
            "Servable not found for request: Latest(nope)",
        ),
        (
            "POST",
            "/v1/models/m/versions/9:predict",
            ONE,
            404,
            "Servable not found for request: Specific(m, 9)",
        ),
        (
            "POST",
            "/v1/models/m/labels/l:predict",
            ONE,
            400,
            "Unrecognized servable version label: l",
        ),
        ("GET", "/v1/models/nope", b"", 404, "Could not find any versions of model nope"),
        (
            "GET",
            "/v1/models/nope/metadata",
            b"",
            404,
            "Servable not found for request: Latest(nope)",
        ),
        ("GET", "/v1/models/versions/3", b"", 400, "Missing model name in request."),
        ("PUT", "/v1/models/m", b"", 400, "Malformed request: PUT /v1/models/m"),
        ("HEAD", "/v1/models/m", b"", 400, "Malformed request: HEAD /v1/models/m"),
        (
            "POST",
            "/v1/models/pooled:predict",
            b"{",
            400,
            "JSON Parse error: Missing a name for object member. at offset: 1",
        ),
    ],
)
async def test_an_error_has_the_status_of_its_code(
    server: Server, method: str, target: str, body: bytes, status: int, message: str
) -> None:
    response = await server.answer(method, target, body)
    assert (response.status, json_of(response)["error"]) == (status, message)


async def test_an_error_of_a_run_that_was_waited_for_has_the_status_of_its_code(
    shelf: Shelf,
) -> None:
    def failing(_: Array) -> list[Array]:
        raise ResourceExhausted("no memory left")

    one_float = signature({"x": FLOATS}, {"y": FLOATS})
    model = FunctionModel({"serving_default": (one_float, failing)})
    shelf.put("m", 1, model, is_inline=False)
    response = await Server(shelf).answer("POST", "/v1/models/m:predict", ONE)
    assert (response.status, json_of(response)) == (429, {"error": "no memory left"})


async def test_a_version_that_is_no_number_is_answered_without_a_body(server: Server) -> None:
    response = await server.answer("GET", "/v1/models/m/versions/99999999999999999999")
    assert (response.status, response.body, response.content_type) == (
        400,
        b"",
        "application/json",
    )


@pytest.mark.parametrize("model", ["m", "pooled"])
async def test_a_fault_of_ours_is_a_500_and_the_server_lives(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    shelf.put("m", 1, BROKEN)
    shelf.put("pooled", 1, BROKEN, is_inline=False)
    server = Server(shelf)
    for _ in range(2):
        with caplog.at_level(logging.ERROR):
            response = await server.answer("POST", f"/v1/models/{model}:predict", ONE)
        assert (response.status, json_of(response)) == (
            500,
            {"error": "Internal error: a fault of ours"},
        )
    assert "ZeroDivisionError" in caplog.text
    assert shelf.in_flight() == 0


@pytest.mark.parametrize("body", [ONE, b'{"instances": [' + b"1.0, " * 50_000 + b"1.0]}"])
async def test_a_client_that_leaves_before_anybody_waits_for_its_answer_runs_nothing(
    shelf: Shelf, body: bytes
) -> None:
    entered, let_go, runs = threading.Event(), threading.Event(), []

    def counted(x: Array) -> list[Array]:
        runs.append(x)
        return [x]

    def occupy() -> None:
        entered.set()
        assert let_go.wait(10.0)

    one_float = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 1, FunctionModel({"serving_default": (one_float, counted)}), is_inline=False)
    shelf.pool.submit(occupy)
    assert entered.wait(10.0)
    for leave in ("close", "cancel"):
        answer = Server(shelf).ask("POST", "/v1/models/m:predict", body)
        assert isinstance(answer, Coroutine)
        if leave == "close":
            answer.close()
        else:
            task = asyncio.ensure_future(answer)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    await asyncio.sleep(0)
    assert shelf.in_flight() == 0
    let_go.set()
    shelf.pool.submit(lambda: None).result(10.0)
    assert runs == []


async def test_cors_headers_stand_on_everything_under_v1(cors_server: Server) -> None:
    for method, target, body in (
        ("POST", "/v1/models/m:predict", ONE),
        ("POST", "/v1/models/pooled:predict", ONE),
        ("POST", "/v1/models/pooled:predict", b'{"instances": ["x"]}'),
        ("GET", "/v1/models", b""),
        ("GET", "/v1/models/nope", b""),
        ("PUT", "/v1/models/m", b""),
        ("GET", "/v1/models/m/versions/99999999999999999999", b""),
        ("OPTIONS", "/v1/models/m", b""),
    ):
        response = await cors_server.answer(method, target, body)
        assert response.headers[-3:] == CORS
        assert len(response.headers) <= 4


async def test_cors_headers_keep_what_an_answer_says_besides(cors_server: Server) -> None:
    response = await cors_server.answer("POST", "/v1/models/m:predict", ONE)
    assert response.headers == (("salver-model-version", "7"), *CORS)
    assert (response.status, json_of(response)) == (200, {"predictions": [2.5]})


async def test_cors_headers_stand_nowhere_else(server: Server, cors_server: Server) -> None:
    for target in ("/v1/models", "/v1/models/nope"):
        assert (await server.answer("GET", target)).headers == ()
    for target in ("/healthz/live", "/nowhere"):
        headers = (await cors_server.answer("GET", target)).headers
        assert not set(headers) & set(CORS)


@pytest.mark.parametrize("fixture", ["server", "cors_server"])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Origin: http://localhost\r\n", 200),
        (b"origin:https://example.org\r\n", 200),
        (b"Origin: from https://example.org\r\n", 200),
        (b"Origin: null\r\n", 400),
        (b"Origin: HTTP://localhost\r\n", 400),
        (b"Host: localhost\r\n", 400),
        (b"", 400),
    ],
)
@pytest.mark.parametrize("target", ["/v1/models/m:predict", "/v1/nonsense"])
async def test_a_preflight_is_answered_by_its_origin_alone(
    request: pytest.FixtureRequest, fixture: str, fields: bytes, status: int, target: str
) -> None:
    server: Server = request.getfixturevalue(fixture)
    response = await server.answer("OPTIONS", target, b"", fields)
    assert (response.status, response.body, response.content_type) == (
        status,
        b"",
        "text/html; charset=ISO-8859-1",
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_liveness_does_not_depend_on_readiness(server: Server, method: str) -> None:
    assert (await server.answer(method, "/healthz/ready")).status == 200
    server.problem = "draining"
    assert (await server.answer(method, "/healthz/live")).status == 200
    unready = await server.answer(method, "/healthz/ready?probe=1")
    assert (unready.status, json_of(unready)["reason"]) == (503, "draining")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/favicon.ico"),
        ("POST", "/healthz/ready"),
        ("GET", "/healthz"),
        ("POST", "/models/m:predict"),
        ("OPTIONS", "/"),
        ("GET", "/v1"),
    ],
)
async def test_outside_the_api_there_is_a_404_that_shows_the_way(
    server: Server, method: str, target: str
) -> None:
    response = await server.answer(method, target)
    assert response.status == 404
    assert json_of(response) == {
        "error": f"Not Found: {method} {target}",
        "hint": "The API is under /v1/models: GET /v1/models lists the models, "
        "POST /v1/models/NAME:predict asks one",
    }


def test_pages_of_the_transport_get_cors_headers_under_v1_alone(
    server: Server, cors_server: Server
) -> None:
    assert cors_server.router.page_headers("/v1/models/m:predict") == CORS
    assert cors_server.router.page_headers("/elsewhere") == ()
    assert cors_server.router.page_headers(None) == ()
    assert server.router.page_headers("/v1/models/m:predict") == ()


COUNT = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency_count"


async def counted(server: Server, metric: str = COUNT) -> dict[str, int]:
    """Labels → value of one metric, as the page has it."""
    page = await server.answer("GET", "/metrics")
    assert (page.status, page.content_type, page.headers) == (200, "text/plain", ())
    lines = [line for line in page.body.decode().splitlines() if line.startswith(f"{metric}{{")]
    pairs = (line.removeprefix(metric).rsplit(" ", 1) for line in lines)
    return {labels: int(value) for labels, value in pairs}


@pytest.mark.parametrize("model", ["m", "pooled"])
async def test_a_success_is_counted_and_timed(server: Server, model: str) -> None:
    for _ in range(3):
        await server.answer("POST", f"/v1/models/{model}:predict", ONE)
    assert await counted(server) == {f'{{model_name="{model}",status="OK"}}': 3}
    labels = f'{{model_name="{model}",API="predict",entrypoint="REST"}}'
    assert await counted(server, LATENCY) == {labels: 3}


@pytest.mark.parametrize(
    ("method", "target", "body", "labels"),
    [
        ("POST", "/v1/models/nope:predict", ONE, 'model_name="nope",status="NOT_FOUND"'),
        ("POST", "/v1/models/m:predict", b"{", 'model_name="m",status="INVALID_ARGUMENT"'),
        (
            "POST",
            "/v1/models/pooled:predict",
            b"{",
            'model_name="pooled",status="INVALID_ARGUMENT"',
        ),
        ("POST", "/v1/models/m:PREDICT", ONE, 'model_name="m",status="INVALID_ARGUMENT"'),
        ("GET", "/v1/models/m%20n", b"", 'model_name="m n",status="NOT_FOUND"'),
        ("GET", "/v1/models/m/versions/99", b"", 'model_name="m",status="NOT_FOUND"'),
        (
            "GET",
            "/v1/models/m/versions/99999999999999999999",
            b"",
            'model_name="m",status="INVALID_ARGUMENT"',
        ),
        ("GET", "/v1/models/", b"", 'model_name="",status="INVALID_ARGUMENT"'),
        ("PUT", "/v1/models/m", b"", 'model_name="",status="INVALID_ARGUMENT"'),
        ("GET", "/v1/x%0Ay", b"", 'model_name="",status="INVALID_ARGUMENT"'),
        ("GET", "/v1/models/x%0Ay", b"", 'model_name="",status="NOT_FOUND"'),
        ("OPTIONS", "/v1/models/m", b"", 'model_name="",status="FAILED_PRECONDITION"'),
    ],
)
async def test_a_failure_is_counted_by_the_name_in_the_path(
    server: Server, method: str, target: str, body: bytes, labels: str
) -> None:
    assert (await server.answer(method, target, body)).status >= 400
    assert await counted(server) == {f"{{{labels}}}": 1}
    assert await counted(server, LATENCY) == {}


@pytest.mark.parametrize(
    ("method", "target", "fields", "name"),
    [
        ("GET", "/v1/models/m", b"", "m"),
        ("GET", "/v1/models/m/metadata", b"", "m"),
        ("GET", "/v1/models", b"", ""),
        ("OPTIONS", "/v1/models/m", b"Origin: http://a\r\n", ""),
    ],
)
async def test_what_runs_no_model_is_counted_and_timed_too(
    server: Server, method: str, target: str, fields: bytes, name: str
) -> None:
    assert (await server.answer(method, target, fields=fields)).status == 200
    assert await counted(server) == {f'{{model_name="{name}",status="OK"}}': 1}
    labels = f'{{model_name="{name}",API="",entrypoint="REST"}}'
    assert await counted(server, LATENCY) == {labels: 1}


async def test_what_is_not_under_the_api_is_not_counted(server: Server) -> None:
    for target in ("/", "/healthz/live", "/metrics", "/metrics?a"):
        await server.answer("GET", target)
    assert await counted(server) == {}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
async def test_the_metrics_page_answers_any_method_and_before_the_api(
    cors_server: Server, method: str
) -> None:
    for path in ("/metrics", "/v1/odd"):
        page = await cors_server.answer(method, path)
        assert (page.status, page.content_type, page.headers) == (200, "text/plain", ())
        assert page.body.startswith(b"# TYPE :tensorflow:")


async def test_a_failure_is_counted_with_its_version_and_a_fault_of_ours_is_internal(
    server: Server, shelf: Shelf
) -> None:
    shelf.put("broken", 3, BROKEN)
    await server.answer("POST", "/v1/models/m:predict", b'{"instances": ["a"]}')
    await server.answer("POST", "/v1/models/broken:predict", ONE)
    labels = 'code="INVALID_ARGUMENT",entrypoint="REST",protocol="tfs"'
    assert await counted(server, "salver_failed_requests_total") == {
        f'{{model_name="m",version="7",{labels}}}': 1,
        '{model_name="broken",version="",code="INTERNAL",entrypoint="REST",protocol="tfs"}': 1,
    }


async def test_a_client_that_leaves_is_counted_as_cancelled(server: Server, shelf: Shelf) -> None:
    gate = Gate()
    occupy(shelf.pool, gate)
    try:
        answer = server.ask("POST", "/v1/models/pooled:predict", ONE)
        assert isinstance(answer, Coroutine)
        await cancelled(asyncio.ensure_future(answer))
    finally:
        gate.let_go.set()
    assert await counted(server) == {'{model_name="pooled",status="CANCELLED"}': 1}


async def test_other_apis_are_asked_about_what_is_neither_this_one_nor_health(
    shelf: Shelf,
) -> None:
    requested: list[str] = []

    async def later() -> HttpResponse:
        return HttpResponse(200, b"later")

    def other(request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse] | None:
        requested.append(request.target)
        if request.target == "/later":
            return later()
        return HttpResponse(200, b"at once") if request.target == "/" else None

    more = [Api(routes=[RestRoute("/.*", other)])]
    router = router_of(shelf, in_pool=shelf.in_pool, more=more)
    for target, body in (("/", b"at once"), ("/later", b"later")):
        assert (await response_of(router(HttpRequest("GET", target)))).body == body
    assert (await response_of(router(HttpRequest("GET", "/nowhere")))).status == 404
    for target in ("/v1/models", "/healthz/live"):
        assert (await response_of(router(HttpRequest("GET", target)))).status == 200
    assert requested == ["/", "/later", "/nowhere"]


@pytest.mark.parametrize("is_inline", [True, False])
@pytest.mark.parametrize("body", [ONE, b'{"instances": [' + b"1.0, " * 20_000 + b"1.0]}"])
async def test_a_request_that_there_is_no_memory_for_is_refused_in_words(
    shelf: Shelf, body: bytes, is_inline: bool
) -> None:
    shelf.put("m", 7, STARVED, is_inline=is_inline)
    response = await Server(shelf).answer("POST", "/v1/models/m:predict", body)
    assert response.status == 429
    assert json_of(response)["error"] == "Out of memory: Unable to allocate 3 GiB"
    failures = shelf.metrics.outcomes.read().failures
    assert failures == {("m", None, Code.RESOURCE_EXHAUSTED, "REST", "tfs"): 1}
    assert shelf.in_flight() == 0


async def test_a_large_answer_gets_the_fields_of_cors(cors_server: Server) -> None:
    parts = [b"a" * LargeResponse.SMALLEST_BYTES, b"b"]
    large = LargeResponse(200, parts, headers=(("X", "y"),)).with_headers(CORS)
    assert (large.headers, large.whole()) == ((("X", "y"), *CORS), b"".join(parts))
