import asyncio
import gc
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from tests.shelf import response_of

from salver.access.guard import Guard
from salver.access.keys import KeyLine
from salver.access.limits import Limits
from salver.access.remembering import RememberingGate
from salver.config.auth import AuthConfig
from salver.errors import (
    Code,
    InvalidArgument,
    LimitExceeded,
    PermissionDenied,
    ServingError,
    Unauthenticated,
)
from salver.inference.context import PRINCIPAL, Remembering, RequestContext
from salver.metrics.principals import PrincipalRequests
from salver.protocols.methods import Call
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.access import (
    ANONYMOUS,
    Access,
    Need,
    Priority,
    Role,
    Verb,
    current_priority,
)
from salver.vocabulary.requests import ServableRequest

PREDICT = Need(Verb.PREDICT)
OK = HttpResponse(200, b"ok")
KEY = "salver_ada_" + "k" * 32
OTHER = "salver_bob_" + "k" * 32
WHO = Role("who", ("m", "n"), frozenset({Verb.PREDICT, Verb.METADATA}))
SOME = Role("some", ("m",), frozenset({Verb.PREDICT}))


def line(key: str, role: str = "who", expires_s: float | None = None) -> KeyLine:
    return KeyLine(key.split("_")[1], hashlib.sha256(key.encode()).digest(), role, expires_s)


class World:
    """A gate with a guard, limits and a count of its own, and an endpoint behind it."""

    def __init__(self, role: Role = WHO, anonymous: Role | None = None) -> None:
        self.now_s = 1000.0
        self.identified = 0
        self.anonymous = anonymous or Role(ANONYMOUS, verbs=frozenset({Verb.HEALTH}))
        self.guard = Guard(self.config(role), now=lambda: self.now_s, make_files=self.make_files)
        self.publish(role, line(KEY))
        self.count = PrincipalRequests({"m", "n"}.__contains__)
        self.limits = Limits(clock=lambda: self.now_s)
        world = self

        class Counted(RememberingGate):
            def __call__(self, context: RequestContext, proceed: Any, /) -> Any:
                world.identified += 1
                return super().__call__(context, proceed)

        self.gate = Counted(
            self.guard,
            enter=self.limits.enter,
            count=self.count,
            tally=self.count.tally,
            now=lambda: self.now_s,
        )
        self.answer: Callable[[], Any] = lambda: OK
        self.endpoint = self.gate.before_endpoint(PREDICT, self._answer)
        self.method = self.gate.before_method(PREDICT, self._called, self.read)
        self.seen: list[RequestContext] = []

    def config(self, *roles: Role) -> AuthConfig:
        return AuthConfig("/auth.yaml", self.anonymous, roles={role.name: role for role in roles})

    def make_files(self, _config: AuthConfig, publish: Callable[..., None]) -> Any:
        self.published = publish

    def publish(self, role: Role, *lines: KeyLine) -> None:
        self.published(self.config(role), lines, {})

    @staticmethod
    def read(data: bytes) -> ServableRequest | None:
        return ServableRequest(data.decode()) if data else None

    def _answer(self, request: HttpRequest) -> Any:
        self.seen.append(request)
        return self.answer()

    def _called(self, _data: bytes, call: Call) -> Any:
        self.seen.append(call)
        answer = self.answer()
        return b"ok" if answer is OK else answer

    @property
    def counts(self) -> dict[tuple[str, ...], object]:
        return dict(self.count.family().cells)


class Client:
    principal = None
    peer = None
    identity = None


class Rest:
    """A client of REST, all of whose requests bring the same fields."""

    def __init__(self, world: World, fields: bytes = b"") -> None:
        self.world = world
        self.headers = Headers(fields or f"X-Api-Key: {KEY}\r\n".encode())

    def asks(self, model: str | None = "m") -> Any:
        request = HttpRequest("POST", "/x", self.headers)
        request.servable = None if model is None else ServableRequest(model)
        return self.world.endpoint(request)


class Rpc(Rest):
    """The same over gRPC."""

    def asks(self, model: str | None = "m") -> Any:
        call = Caller()
        call.headers = self.headers
        return self.world.method((model or "").encode(), call)


class Caller(Call):
    def header(self, name: bytes) -> bytes | None:
        return None if self.headers is None else self.headers.get(name)


EITHER = pytest.mark.parametrize("kind", [Rest, Rpc])


def refusal(ask: Callable[[], Any]) -> ServingError:
    with pytest.raises(ServingError) as raised:
        ask()
    return raised.value


@EITHER
def test_who_was_let_in_is_known_again_by_the_fields_they_bring(kind: type[Rest]) -> None:
    world = World()
    client = kind(world)
    for _ in range(5):
        client.asks()
    assert world.identified == 1
    assert {context.principal.name for context in world.seen if context.principal} == {"ada"}
    assert len(world.seen) == 5
    assert world.counts == {("ada", "m", "OK"): 5}
    [allowed] = world.guard.families()[0].cells
    assert allowed == (("allowed",), 5)


@EITHER
def test_each_model_is_permitted_for_itself(kind: type[Rest]) -> None:
    world = World()
    world.publish(SOME, line(KEY, "some"))
    client = kind(world)
    for _ in range(3):
        client.asks("m")
        assert isinstance(refusal(lambda: client.asks("n")), PermissionDenied)
        assert isinstance(refusal(lambda: client.asks(None)), PermissionDenied)
    world = World()
    client = kind(world)
    for model in ("m", "n", "m", "n", "m"):
        client.asks(model)
    assert world.identified == 2


@EITHER
def test_a_key_that_is_revoked_is_refused_at_the_next_request(kind: type[Rest]) -> None:
    world = World()
    client = kind(world)
    client.asks()
    client.asks()
    world.publish(WHO, line(OTHER))
    assert isinstance(refusal(client.asks), Unauthenticated)
    world.publish(WHO, line(KEY))
    client.asks()


@EITHER
def test_a_role_that_may_less_is_obeyed_at_the_next_request(kind: type[Rest]) -> None:
    world = World()
    client = kind(world)
    client.asks()
    client.asks()
    world.publish(Role("who", ("n",), WHO.verbs), line(KEY))
    assert isinstance(refusal(client.asks), PermissionDenied)


@EITHER
def test_rules_that_change_while_a_request_is_answered_leave_nothing_remembered(
    kind: type[Rest],
) -> None:
    world = World()
    client = kind(world)

    def revoke() -> HttpResponse:
        world.publish(WHO, line(OTHER))
        return OK

    world.answer = revoke
    client.asks()
    assert isinstance(refusal(client.asks), Unauthenticated)


@EITHER
def test_a_key_ends_at_its_time_though_it_is_remembered(kind: type[Rest]) -> None:
    world = World()
    world.publish(WHO, line(KEY, expires_s=1010.0))
    client = kind(world)
    client.asks()
    world.now_s = 1009.9
    client.asks()
    assert world.identified == 1
    world.now_s = 1010.0
    assert isinstance(refusal(client.asks), Unauthenticated)


@EITHER
def test_other_needs_of_the_same_fields_are_asked_for_themselves(kind: type[Rest]) -> None:
    world = World()
    client = kind(world)
    client.asks()
    client.asks()
    world.endpoint = world.gate.before_endpoint(Need(Verb.ADMIN), world._answer)
    world.method = world.gate.before_method(Need(Verb.ADMIN), world._called, world.read)
    for _ in range(2):
        assert isinstance(refusal(client.asks), PermissionDenied)


@EITHER
def test_what_is_refused_is_never_remembered_as_let_in(kind: type[Rest]) -> None:
    world = World(Role("who", ("m",), frozenset({Verb.METADATA})))
    client = kind(world, f"X-Api-Key: {KEY}\r\n".encode())
    wrong = kind(world, f"X-Api-Key: {OTHER}\r\n".encode())
    for _ in range(3):
        assert isinstance(refusal(client.asks), PermissionDenied)
        assert isinstance(refusal(wrong.asks), Unauthenticated)
    assert client.headers.admission is wrong.headers.admission is None
    assert not world.seen


@EITHER
async def test_who_is_told_to_wait_before_anybody_knew_what_they_may_is_not_remembered(
    kind: type[Rest],
) -> None:
    world = World(Role("who", ("n",), WHO.verbs, requests_per_second=1e-6))
    client = kind(world)
    first = refusal(client.asks)
    assert isinstance(first, PermissionDenied)
    for _ in range(200):
        try:
            answer = client.asks()
        except LimitExceeded:
            continue
        assert isinstance(answer, Coroutine)
        answer.close()
    assert client.headers.admission is None


@EITHER
def test_a_rate_holds_for_who_is_remembered(kind: type[Rest]) -> None:
    world = World(Role("who", ("m",), WHO.verbs, requests_per_second=1.0, burst=3))
    client = kind(world)
    for _ in range(3):
        client.asks()
    error = refusal(client.asks)
    assert isinstance(error, LimitExceeded)
    world.now_s += 1.001
    client.asks()
    assert world.counts == {("ada", "m", "OK"): 4, ("ada", "m", "RESOURCE_EXHAUSTED"): 1}


@EITHER
async def test_limits_that_are_raised_hold_at_the_next_request(kind: type[Rest]) -> None:
    world = World(Role("who", ("m",), WHO.verbs, requests_per_second=1e6))
    client = kind(world)
    client.asks()
    world.now_s += 1
    client.asks()
    world.publish(Role("who", ("m",), WHO.verbs, requests_per_second=1.0), line(KEY))
    world.now_s += 1
    client.asks()
    assert isinstance(refusal(client.asks), LimitExceeded)


@EITHER
async def test_who_is_remembered_and_does_not_wait_is_told_later(kind: type[Rest]) -> None:
    world = World(Role("who", ("m",), WHO.verbs, requests_per_second=1.0))
    client = kind(world)
    client.asks()
    world.now_s += 1.001
    client.asks()
    for _ in range(20):
        assert isinstance(refusal(client.asks), LimitExceeded)
    answer = client.asks()
    assert isinstance(answer, Coroutine)
    with pytest.raises(LimitExceeded):
        await answer


async def later(then: HttpResponse | BaseException = OK) -> HttpResponse:
    await asyncio.sleep(0)
    if isinstance(then, BaseException):
        raise then
    return then


def failing() -> HttpResponse:
    raise InvalidArgument("no")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (later, Code.OK),
        (lambda: HttpResponse(404), Code.NOT_FOUND),
        (lambda: later(HttpResponse(418)), Code.UNKNOWN),
        (failing, Code.INVALID_ARGUMENT),
        (lambda: later(InvalidArgument("no")), Code.INVALID_ARGUMENT),
        (lambda: later(MemoryError()), Code.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_place_is_free_again_and_the_end_is_counted_however_a_request_ends(
    answer: Callable[[], Any], code: Code
) -> None:
    world = World(Role("who", ("m",), WHO.verbs, max_concurrent_requests=1))
    client = Rest(world)
    client.asks()
    world.answer = answer
    for _ in range(3):
        with suppress(ServingError, MemoryError):
            await response_of(client.asks())
    world.answer = lambda: OK
    client.asks()
    assert world.identified == 1
    counts = {("ada", "m", "OK"): 2}
    counts["ada", "m", code.name] = counts.get(("ada", "m", code.name), 0) + 3
    assert world.counts == counts


@EITHER
@pytest.mark.parametrize("times", [1, 2])
def test_a_request_that_fails_leaves_nothing_for_the_garbage_collector(
    kind: type[Rest], times: int
) -> None:
    class Failure(InvalidArgument):
        pass

    world = World()
    client = kind(world)
    if times > 1:
        client.asks()

    def fail() -> HttpResponse:
        raise Failure("no")

    world.answer = fail
    gc.collect()
    gc.disable()
    try:
        with suppress(Failure):
            client.asks()
        assert not [each for each in gc.get_objects() if isinstance(each, Failure)]
    finally:
        gc.enable()


async def test_a_request_that_is_being_answered_keeps_its_place() -> None:
    world = World(Role("who", ("m",), WHO.verbs, max_concurrent_requests=1))
    client = Rest(world)
    client.asks()
    world.answer = later
    first = client.asks()
    assert isinstance(refusal(client.asks), LimitExceeded)
    first.close()
    await response_of(client.asks())


def test_batch_work_is_known_as_such() -> None:
    world = World(Role("who", ("m",), WHO.verbs, priority=Priority.BATCH))
    client = Rest(world)
    seen: list[Priority] = []

    def answer() -> HttpResponse:
        seen.append(current_priority.get())
        return OK

    world.answer = answer
    for _ in range(3):
        client.asks()
    assert seen == [Priority.BATCH] * 3
    assert current_priority.get() is Priority.INTERACTIVE


def test_request_logs_learn_whose_a_request_is_though_several_share_a_connection() -> None:
    world = World()
    world.publish(WHO, line(KEY), line(OTHER))
    names: list[str] = []

    def answer() -> HttpResponse:
        principal = PRINCIPAL.get()
        names.append("" if principal is None else principal.name)
        return OK

    world.answer = answer
    ada, bob = Rest(world), Rest(world, f"Authorization: Bearer {OTHER}\r\n".encode())
    for client in (ada, bob, ada, bob, bob, ada):
        client.asks()
    assert names == ["ada", "bob", "ada", "bob", "bob", "ada"]
    assert world.identified == 2


def test_the_access_log_learns_it_too() -> None:
    world = World()
    headers = Rest(world).headers
    for _ in range(2):
        client = Client()
        request = HttpRequest("POST", "/x", headers, client=client)  # type: ignore[arg-type]
        request.servable = ServableRequest("m")
        world.endpoint(request)
        assert client.principal == request.principal
        assert request.principal is not None


def test_nobody_is_remembered_where_certificates_may_say_who_they_are() -> None:
    world = World(anonymous=Role(ANONYMOUS, verbs=frozenset({Verb.PREDICT})))
    client = Rest(world, b"Accept: */*\r\n")
    for _ in range(3):
        client.asks()
    assert world.identified == 1
    config = AuthConfig("/auth.yaml", world.anonymous, roles={"who": WHO}, certificates={"a": WHO})
    world.published(config, (), {})
    for _ in range(3):
        client.asks()
    assert world.identified == 4


def test_a_model_that_is_not_configured_has_no_count_and_is_not_remembered() -> None:
    world = World(Role("who", verbs=WHO.verbs))
    client = Rest(world)
    for number in range(10):
        client.asks(f"model {number}")
    assert client.headers.admission is None
    assert world.counts == {("ada", "", "OK"): 10}


def test_what_is_open_has_nothing_before_it() -> None:
    world = World()
    request = HttpRequest("GET", "/x")
    assert world.gate.before_endpoint(Need(Access.OPEN), lambda _request: OK)(request) is OK
    assert request.principal is None


def test_routers_and_tables_know_such_a_gate() -> None:
    assert isinstance(World().gate, Remembering)
    assert not isinstance(lambda: None, Remembering)
