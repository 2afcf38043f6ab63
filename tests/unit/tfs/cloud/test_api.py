import json
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.shelf import HALF_PLUS_TWO, Shelf, response_of

from salver.access.gate import Gate
from salver.access.guard import Guard
from salver.config.auth import AuthConfig
from salver.config.cloud import Contract, read_contract
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import Unauthenticated
from salver.inference.context import Interceptor, RequestContext
from salver.protocols.api import ApiParts
from salver.protocols.rest_errors import no_route, refusal_or_fault
from salver.protocols.router import Router
from salver.protocols.traced import TracedHandler
from salver.tfs.cloud.api import CloudApi, make_api
from salver.tfs.rest.calls import InferenceCalls
from salver.tracing.request import RequestTrace
from salver.tracing.sampling import Sampling
from salver.tracing.stages import stages_of
from salver.tracing.tracer import Tracer
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.access import ANONYMOUS, Role, Verb

ONE = b'{"instances": [1.0]}'


class Server:
    """The routes of a contract, behind an interceptor that notes which models are asked for."""

    def __init__(self, shelf: Shelf, contract: Contract | None, *interceptors: Interceptor) -> None:
        assert contract is not None
        self.problem: str | None = None
        self.seen: list[object] = []
        api = CloudApi(
            contract,
            shelf,
            InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=10.0),
            shelf.metrics.outcomes,
            in_pool=shelf.in_pool,
            unready=lambda: self.problem,
            max_request_bytes=1 << 30,
        ).api()

        def note(context: RequestContext, proceed: Any) -> Any:
            self.seen.append(context.servable)
            return proceed()

        self.router = Router(
            [api], failed=refusal_or_fault, not_found=no_route, interceptors=(note, *interceptors)
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
    shelf.put("pooled", 3, HALF_PLUS_TWO, is_inline=False)
    return Server(shelf, read_contract("sagemaker", {}))


@pytest.fixture
def vertex(shelf: Shelf) -> Server:
    shelf.put("m", 7, HALF_PLUS_TWO)
    environment = {"AIP_HEALTH_ROUTE": "/v1/models/x", "AIP_PREDICT_ROUTE": "/v1/models/x:predict"}
    return Server(shelf, read_contract("vertex", environment))


def _attributes(text: str) -> bytes:
    return f"X-Amzn-SageMaker-Custom-Attributes: {text}\r\n".encode()


async def test_ping_says_whether_the_server_is_ready(server: Server) -> None:
    answer = await server.answer("GET", "/ping")
    assert (answer.status, answer.body) == (200, b"")
    server.problem = "m is loading"
    answer = await server.answer("GET", "/ping")
    assert answer.status == 503
    assert json.loads(answer.body)["error"] == "m is loading"


async def test_an_invocation_is_a_call_of_the_first_model(server: Server) -> None:
    answer = await server.answer("POST", "/invocations", ONE, b"content-type: application/json\r\n")
    assert (answer.status, json.loads(answer.body)) == (200, {"predictions": [2.5]})
    assert ("salver-model-version", "7") in [(n.lower(), v) for n, v in answer.headers]


@pytest.mark.parametrize(
    ("kind", "body"), [("text/csv", b"1\n2\n"), ("application/jsonlines", b"1\n2")]
)
async def test_other_forms_are_taken(server: Server, kind: str, body: bytes) -> None:
    answer = await server.answer("POST", "/invocations", body, f"Content-Type: {kind}\r\n".encode())
    assert json.loads(answer.body) == {"predictions": [2.5, 3.0]}


async def test_a_long_body_is_rewritten_in_the_pool(server: Server) -> None:
    body = b"1.0\n" * 10_000
    answering = server.ask("POST", "/invocations", body, b"Content-Type: text/csv\r\n")
    assert not isinstance(answering, HttpResponse)
    answer: HttpResponse = await response_of(answering)
    assert json.loads(answer.body) == {"predictions": [2.5] * 10_000}


@pytest.mark.parametrize("name", ["m", "pooled"])
async def test_lines_are_answered_where_they_are_asked_for(server: Server, name: str) -> None:
    fields = _attributes(f"tfs-model-name={name}") + b"Accept: application/jsonlines\r\n"
    answer = await server.answer("POST", "/invocations", ONE, fields)
    assert answer.content_type == "application/jsonlines"
    assert json.loads(answer.body) == {"predictions": [2.5]}


async def test_attributes_name_model_version_and_method(server: Server) -> None:
    fields = _attributes("tfs-model-name=pooled,tfs-model-version=3,tfs-method=predict")
    answer = await server.answer("POST", "/invocations", ONE, fields)
    assert json.loads(answer.body) == {"predictions": [2.5]}
    refused = await server.answer("POST", "/invocations", ONE, _attributes("tfs-model-version=4"))
    assert refused.status == 404
    refused = await server.answer(
        "POST", "/invocations", b'{"examples": [{}]}', _attributes("tfs-method=regress")
    )
    assert "No regression inputs found" in json.loads(refused.body)["error"]


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        (_attributes("tfs-method=delete"), 400, "tfs-method=delete is none of predict"),
        (_attributes("tfs-model-version=x"), 400, "tfs-model-version=x is no version"),
        (_attributes(f"tfs-model-version={'9' * 19}"), 400, "is no version"),
        (_attributes("tfs-model-name=../x"), 404, "../x"),
        (b"Content-Type: image/png\r\n", 415, "Unsupported Media Type: image/png"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    server: Server, fields: bytes, status: int, text: str
) -> None:
    answer = await server.answer("POST", "/invocations", ONE, fields)
    assert answer.status == status
    assert text in json.loads(answer.body)["error"]


async def test_interceptors_see_the_model_that_the_request_names(server: Server) -> None:
    """What may ask one model must not get another by an attribute."""
    await server.answer("POST", "/invocations", ONE, _attributes("tfs-model-name=pooled"))
    await server.answer("POST", "/invocations", ONE)
    assert [getattr(each, "name", None) for each in server.seen] == ["pooled", "m"]


@pytest.mark.parametrize("version", ["x", "7"])
async def test_who_may_not_ask_is_not_told_what_is_wrong_with_the_name(
    shelf: Shelf, version: str
) -> None:
    def refuse(_context: RequestContext, _proceed: Any) -> Any:
        raise Unauthenticated("Who asks?")

    shelf.put("m", 7, HALF_PLUS_TWO)
    server = Server(shelf, read_contract("sagemaker", {}), refuse)
    fields = _attributes(f"tfs-model-version={version}")
    answer = await server.answer("POST", "/invocations", ONE, fields)
    assert (answer.status, json.loads(answer.body)) == (401, {"error": "Who asks?"})


async def test_the_default_model_may_be_set(shelf: Shelf) -> None:
    shelf.put("a", 1, HALF_PLUS_TWO)
    contract = read_contract("sagemaker", {"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "b"})
    server = Server(shelf, contract)
    answer = await server.answer("POST", "/invocations", ONE)
    assert answer.status == 404
    assert "b" in json.loads(answer.body)["error"]


async def test_without_models_the_answer_says_so(shelf: Shelf) -> None:
    server = Server(shelf, read_contract("sagemaker", {}))
    answer = await server.answer("POST", "/invocations", ONE)
    assert (answer.status, json.loads(answer.body)["error"]) == (404, "This server has no models")


async def test_batch_transform_is_told_what_it_may_send(server: Server) -> None:
    told = json.loads((await server.answer("GET", "/execution-parameters")).body)
    assert told["BatchStrategy"] == "MULTI_RECORD"
    assert told["MaxPayloadInMB"] == 100
    assert told["MaxConcurrentTransforms"] >= 1


async def test_a_role_of_some_models_may_ask_what_tells_of_none(shelf: Shelf) -> None:
    verbs = frozenset({Verb.HEALTH, Verb.METADATA})
    gate = Gate(Guard(AuthConfig("/auth.yaml", Role(ANONYMOUS, ("m",), verbs))))
    server = Server(shelf, read_contract("sagemaker", {}), gate)
    for path in ("/ping", "/execution-parameters"):
        assert (await server.answer("GET", path)).status == 200
    vertex = Server(shelf, read_contract("vertex", {"AIP_HEALTH_ROUTE": "/health"}), gate)
    assert (await vertex.answer("GET", "/health")).status == 200
    assert (await vertex.answer("POST", "/v1/endpoints//deployedModels/:predict")).status == 401


async def test_notes_are_taken_of_predictions(shelf: Shelf) -> None:
    taken: list[RequestTrace] = []
    tracer = Tracer(sampling=Sampling(1.0), sink=SimpleNamespace(put=taken.append))
    models: Any = shelf
    api = make_api(
        ApiParts(
            models,
            read_configuration(ServerOptions(cloud_contract="sagemaker"), ()),
            in_pool=shelf.in_pool,
            in_control=shelf.in_pool,
            unready=lambda: None,
            is_serving=lambda: True,
            metrics=shelf.metrics,
            tracer=tracer,
        )
    )
    assert api is not None
    shelf.put("m", 7, HALF_PLUS_TWO)
    handler = TracedHandler(Router([api], failed=refusal_or_fault, not_found=no_route), tracer)
    answer = await response_of(handler(HttpRequest("POST", "/invocations", Headers(), ONE)))
    assert answer.status == 200
    (trace,) = taken
    assert (trace.model, trace.version) == ("m", 7)
    assert [stage.name for stage in stages_of(trace)][-3:] == ["read", "run", "write"]


async def test_vertex_asks_by_its_own_paths(vertex: Server) -> None:
    assert (await vertex.answer("GET", "/v1/models/x")).status == 200
    body = b'{"instances": [1.0], "parameters": {"signature_name": "serving_default"}}'
    answer = await vertex.answer("POST", "/v1/models/x:predict", body)
    assert json.loads(answer.body) == {"predictions": [2.5]}
    assert (await vertex.answer("POST", "/invocations", ONE)).status == 404
    assert (await vertex.answer("GET", "/v1/models/xx")).status == 404


async def test_a_failure_is_counted_for_the_model(server: Server, shelf: Shelf) -> None:
    await server.answer("POST", "/invocations", b'{"instances": "x"}')
    text = shelf.metrics.draw()().decode()
    assert 'model_name="m"' in text
    assert "INVALID_ARGUMENT" in text
