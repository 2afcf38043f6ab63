import json
from collections.abc import Callable

import pytest
from tests.shelf import response_of

from salver.config.changes import (
    Condition,
    DeleteLabel,
    DeleteModel,
    PutBatching,
    PutConfig,
    PutLabel,
    PutModel,
    Stale,
)
from salver.errors import NotFound, ServingError, Unavailable
from salver.lifecycle.callers import Caller
from salver.operations.admin.calls import AdminCalls
from salver.operations.administration import admin_api
from salver.protocols.administration import (
    Act,
    Administered,
    AdminRequest,
    MakeChange,
    ReadAudit,
    ReadConfig,
    ReadModel,
    ReadRevisions,
)
from salver.protocols.rest_errors import refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.access import Actor, Principal, Role, Verb

ROOT = "/admin/v1"
MODEL = f"{ROOT}/models/m"


class Server:
    """Does nothing, and remembers who has requested what."""

    def __init__(self) -> None:
        self.asked: list[AdminRequest] = []
        self.actors: list[Actor] = []
        self.error: ServingError | None = None
        self.tag = "abc"

    def administer(self, request: AdminRequest, caller: Caller) -> Administered:
        self.asked.append(request)
        self.actors.append(caller.actor)
        if self.error is not None:
            raise self.error
        return Administered.of({"done": True}, self.tag)

    async def in_control(self, call: Callable[[], Administered]) -> Administered:
        return call()

    async def ask(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> HttpResponse:
        raw = "".join(f"{name.replace('_', '-')}: {v}\r\n" for name, v in headers.items())
        request = HttpRequest(method, target, Headers(raw.encode()), body)
        return await response_of(self.router()(request))

    def router(self, *, is_administered: bool = True) -> Router:
        return Router(
            [admin_api(AdminCalls(self.administer, self.in_control))],
            failed=refusal_or_fault,
            not_found=lambda _request: HttpResponse(410),
            is_administered=is_administered,
        )


@pytest.fixture
async def server() -> Server:
    return Server()


def change(request: AdminRequest) -> object:
    assert isinstance(request, MakeChange)
    return request.change


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (f"{ROOT}/config", ReadConfig()),
        (MODEL, ReadModel("m")),
        (f"{ROOT}/models/a%20b", ReadModel("a b")),
        (f"{ROOT}/models/a%3Ab", ReadModel("a:b")),
        (f"{ROOT}/config/revisions", ReadRevisions()),
        (f"{ROOT}/config/revisions?revision=3", ReadRevisions(3)),
        (f"{ROOT}/audit", ReadAudit(100)),
        (f"{ROOT}/audit?limit=7", ReadAudit(7)),
    ],
)
async def test_what_there_is_is_read(server: Server, target: str, asked: AdminRequest) -> None:
    answer = await server.ask("GET", target)
    assert (answer.status, json.loads(answer.body)) == (200, {"done": True})
    assert dict(answer.headers) == {"ETag": '"abc"', "Cache-Control": "no-store"}
    assert server.asked == [asked]


async def test_who_has_the_content_already_is_told_so(server: Server) -> None:
    answer = await server.ask("GET", MODEL, if_none_match='"x", "abc"')
    assert (answer.status, answer.body) == (304, b"")
    assert (await server.ask("GET", MODEL, if_none_match='"x"')).status == 200


@pytest.mark.parametrize(
    ("method", "target", "body", "what"),
    [
        ("PUT", f"{ROOT}/config", b'{"models": []}', PutConfig(())),
        ("DELETE", MODEL, b"", DeleteModel("m")),
        ("PUT", f"{MODEL}/labels/stable", b'{"version": 3}', PutLabel("m", "stable", 3)),
        ("DELETE", f"{MODEL}/labels/a%2Fb", b"", DeleteLabel("m", "a/b")),
        ("DELETE", f"{MODEL}/batching", b"", PutBatching("m", None)),
    ],
)
async def test_what_there_is_is_changed(
    server: Server, method: str, target: str, body: bytes, what: object
) -> None:
    assert (await server.ask(method, target, body)).status == 200
    assert change(server.asked[0]) == what
    assert server.asked[0] == MakeChange(change(server.asked[0]), Condition())  # type: ignore[arg-type]
    await server.ask(method, f"{target}?validate=true", body)
    await server.ask(method, f"{target}?validate=false", body)
    dry = [each.is_dry_run for each in server.asked if isinstance(each, MakeChange)]
    assert dry == [False, True, False]


async def test_a_model_is_taken_in_json_or_yaml(server: Server) -> None:
    await server.ask("PUT", MODEL, b'{"base_path": "/m"}')
    await server.ask("PUT", MODEL, b"base_path: /m", content_type="application/yaml")
    first, second = map(change, server.asked)
    assert first == second
    assert isinstance(first, PutModel)
    assert (first.model.name, first.model.base_path) == ("m", "/m")
    assert (await server.ask("PUT", f"{MODEL}/batching", b'{"max_batch_size": 4}')).status == 200


async def test_conditions_are_those_of_http(server: Server) -> None:
    await server.ask("PUT", f"{ROOT}/config", b'{"models": []}', if_match='"a", "b"')
    await server.ask("DELETE", MODEL, if_match="*")
    await server.ask("PUT", MODEL, b'{"base_path": "/m"}', if_none_match="*")
    conditions = [each.condition for each in server.asked if isinstance(each, MakeChange)]
    assert conditions == [Condition(("a", "b")), Condition(("*",)), Condition(is_new=True)]
    await server.ask("DELETE", MODEL, if_match='"*"')
    assert isinstance(server.asked[-1], MakeChange)
    assert "*" not in server.asked[-1].condition.tags  # in quotes it is a tag as any other
    server.error = Stale("changed", hint="Read it again.")
    answer = await server.ask("DELETE", MODEL, if_match='"a"')
    assert answer.status == 412
    assert json.loads(answer.body)["error"] == "changed"


@pytest.mark.parametrize(
    ("method", "target", "body", "headers"),
    [
        ("PUT", f"{ROOT}/config", b"{", {}),
        ("PUT", f"{ROOT}/config", b'{"model": []}', {}),
        ("PUT", f"{MODEL}/labels/x", b"3", {}),
        ("PUT", f"{MODEL}/labels/x", b'{"version": -1}', {}),
        ("PUT", f"{MODEL}/labels/x", b'{"version": true}', {}),
        ("PUT", f"{MODEL}/labels/x", b"[" * 100_000, {}),
        ("PUT", f"{MODEL}/batching", b'{"max_batch_size": "x"}', {}),
        ("PUT", MODEL, b'{"base_path": "/m"}', {"if_match": "abc"}),
        ("PUT", MODEL, b'{"base_path": "/m"}', {"if_match": 'W/"abc"'}),
        ("PUT", MODEL, b'{"base_path": "/m"}', {"if_none_match": '"abc"'}),
        ("PUT", MODEL, b'{"base_path": "/m"}', {"if_match": ""}),
        ("PUT", MODEL, b'{"base_path": "/m"}', {"if_match": " , "}),
        ("PUT", MODEL, b'{"base_path": "/m"}', {"if_none_match": ""}),
        ("PUT", f"{ROOT}/models/%ff", b'{"base_path": "/m"}', {}),
        ("DELETE", f"{MODEL}?dry=true", b"", {}),
        ("DELETE", f"{MODEL}?validate=yes", b"", {}),
        ("GET", f"{ROOT}/audit?limit=-1", b"", {}),
        ("GET", f"{ROOT}/config/revisions?revision=x", b"", {}),
        ("POST", f"{MODEL}:reload?force=1", b"", {}),
        ("POST", f"{MODEL}:reload", b"", {"if_match": '"a"'}),
        ("POST", f"{MODEL}:unload", b"", {"if_none_match": "*"}),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    server: Server, method: str, target: str, body: bytes, headers: dict[str, str]
) -> None:
    answer = await server.ask(method, target, body, **headers)
    assert answer.status == 400, answer.body
    assert server.asked == []


@pytest.mark.parametrize("action", ["reload", "load", "unload", "clear_quarantine"])
async def test_models_are_acted_on_by_a_post(server: Server, action: str) -> None:
    answer = await server.ask("POST", f"{MODEL}:{action}")
    assert answer.status == 200
    assert server.asked == [Act(action, "m")]  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_post_does_it(server: Server, method: str) -> None:
    answer = await server.ask(method, f"{MODEL}:clear_quarantine")
    assert (answer.status, answer.headers) == (405, (("Allow", "POST"),))
    assert server.asked == []


async def test_what_is_not_allowed_says_what_is(server: Server) -> None:
    answer = await server.ask("POST", MODEL)
    assert (answer.status, answer.headers) == (405, (("Allow", "GET, PUT, DELETE, HEAD"),))


async def test_errors_keep_their_codes(server: Server) -> None:
    server.error = NotFound("Model m is not configured")
    assert (await server.ask("GET", MODEL)).status == 404
    server.error = Unavailable("The server is stopping")
    assert (await server.ask("POST", f"{MODEL}:reload")).status == 503


async def test_a_port_that_is_not_for_it_says_which_is(server: Server) -> None:
    router = server.router(is_administered=False)
    for method, target in (("POST", f"{MODEL}:reload"), ("GET", f"{ROOT}/config")):
        answer = await response_of(router(HttpRequest(method, target)))
        assert answer.status == 403
        assert "The gRPC port" in json.loads(answer.body)["hint"]
    assert server.asked == []


async def test_a_page_of_another_origin_may_read_and_change_nothing(server: Server) -> None:
    origin, host = "http://evil.example", "localhost:8500"
    for method, target in (("POST", f"{MODEL}:unload"), ("DELETE", MODEL)):
        assert (await server.ask(method, target, origin=origin, host=host)).status == 403
    assert server.asked == []


async def test_who_requests_something_is_known_by_principal_and_path(server: Server) -> None:
    request = HttpRequest("POST", f"{MODEL}:load?")
    request.principal = Principal("ann", "api_key", Role("operator"))
    await response_of(server.router()(request))
    assert server.actors == [Actor("ann", "api_key", None, f"POST {MODEL}:load")]


@pytest.mark.parametrize(
    ("role", "is_of_one"),
    [
        (None, False),
        (Role("all", ("*",), frozenset({Verb.ADMIN})), False),
        (Role("some", ("m", "n*"), frozenset({Verb.ADMIN})), True),
        (Role("m", ("m",), frozenset({Verb.ADMIN})), True),
        (Role("reader", ("*",), frozenset({Verb.PREDICT})), True),  # anybody may administer m
    ],
)
async def test_a_model_that_is_put_is_known_to_come_of_a_role_of_some_models(
    server: Server, role: Role | None, is_of_one: bool
) -> None:
    request = HttpRequest("PUT", MODEL, Headers(b""), b'{"base_path": "/m"}')
    if role is not None:
        request.principal = Principal("ann", "api_key", role)
    await response_of(server.router()(request))
    put = change(server.asked[0])
    assert isinstance(put, PutModel)
    assert put.is_of_one is is_of_one


@pytest.mark.parametrize(
    "target", ["/", "/v1/models/m", f"{MODEL}:clear_quarantine/", "/admin/v1/", f"{MODEL}:explode"]
)
async def test_other_paths_are_not_its_own(server: Server, target: str) -> None:
    assert (await server.ask("POST", target)).status == 410
