import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from tests.shelf import response_of

from salver.access.gate import Gate
from salver.access.permits import Permits
from salver.access.tokens import KeysAwaited, UnknownKey
from salver.errors import (
    Code,
    InvalidArgument,
    LimitExceeded,
    PermissionDenied,
    ServingError,
    Unauthenticated,
)
from salver.inference.context import RequestContext
from salver.protocols.methods import Call
from salver.transport.messages import Headers, HttpRequest, HttpResponse, StreamedResponse
from salver.vocabulary.access import ANONYMOUS, Access, Need, Principal, Role, Verb, VerbOrAccess
from salver.vocabulary.requests import ServableRequest

OK = HttpResponse(200, b"ok")


class Roles:
    """A guard whose keys are the names of roles."""

    def __init__(self, *roles: Role, anonymous: Role | None = None) -> None:
        self._roles = {role.name: role for role in roles}
        self.anonymous = Principal(ANONYMOUS, ANONYMOUS, anonymous or Role(ANONYMOUS))
        self.refusals: list[ServingError] = []

    def identify(self, context: RequestContext) -> Principal:
        key = context.header(b"x-api-key")
        if key is None:
            return self.anonymous
        if key.decode() not in self._roles:
            raise Unauthenticated("The credentials are not valid")
        return Principal("ada", "api_key", self._roles[key.decode()])

    async def identify_later(self, context: RequestContext, error: KeysAwaited) -> Principal:
        raise error

    def has_verb(self, principal: Principal, verb: Verb) -> bool:
        return verb in principal.role.verbs | self.anonymous.role.verbs

    def may(self, principal: Principal, verb: Verb, model: str | None) -> bool:
        return any(
            Permits(role).covers(verb, model) for role in (principal.role, self.anonymous.role)
        )

    def refused(self, error: ServingError) -> None:
        self.refusals.append(error)

    def permit(self, principal: Principal, verb: Verb, servable: ServableRequest | None) -> None:
        if not self.may(principal, verb, None if servable is None else servable.name):
            if principal is self.anonymous:
                raise Unauthenticated("Credentials are missing")
            raise PermissionDenied("no")


ALL = Role("all", verbs=frozenset(Verb))
SOME = Role("some", models=("m",), verbs=frozenset(Verb))
READER = Role("reader", verbs=frozenset({Verb.METADATA}))
GUARD = Roles(ALL, SOME, READER)


def asked(
    key: str | None,
    verb: VerbOrAccess = Verb.PREDICT,
    model: str | None = None,
    *,
    is_filtered: bool = False,
) -> HttpRequest:
    headers = Headers() if key is None else Headers(f"X-Api-Key: {key}\r\n".encode())
    request = HttpRequest("GET", "/x", headers)
    request.need = Need(verb, is_filtered)
    request.servable = None if model is None else ServableRequest(model)
    return request


def answer() -> HttpResponse:
    return OK


def test_what_is_open_is_answered_to_everybody_and_nobody_is_looked_for() -> None:
    request = asked("wrong", Access.OPEN)
    assert Gate(GUARD)(request, answer) is OK
    assert request.principal is None


@pytest.mark.parametrize("verb", [*Verb, Access.KNOWN])
def test_nothing_else_is_answered_without_credentials(verb: VerbOrAccess) -> None:
    with pytest.raises(Unauthenticated, match="missing"):
        Gate(GUARD)(asked(None, verb, is_filtered=True), answer)


@pytest.mark.parametrize("verb", [*Verb, Access.KNOWN])
def test_wrong_credentials_are_worse_than_none(verb: VerbOrAccess) -> None:
    guard = Roles(anonymous=Role(ANONYMOUS, verbs=frozenset(Verb)))
    assert Gate(guard)(asked(None, verb), answer) is OK
    with pytest.raises(Unauthenticated, match="not valid"):
        Gate(guard)(asked("wrong", verb), answer)


@pytest.mark.parametrize("verb", [*Verb, Access.KNOWN])
def test_who_may_is_answered_and_named(verb: VerbOrAccess) -> None:
    request = asked("all", verb)
    assert Gate(GUARD)(request, answer) is OK
    assert request.principal == Principal("ada", "api_key", ALL)


def test_who_has_another_verb_is_refused() -> None:
    with pytest.raises(PermissionDenied):
        Gate(GUARD)(asked("reader", Verb.PREDICT, "m"), answer)


def test_what_says_nothing_of_its_verb_needs_that_of_administrators() -> None:
    request = HttpRequest("GET", "/x", Headers(b"X-Api-Key: reader\r\n"))
    with pytest.raises(PermissionDenied):
        Gate(GUARD)(request, answer)


@pytest.mark.parametrize("verb", Verb)
def test_a_role_of_some_models_may_nothing_that_is_about_all(verb: Verb) -> None:
    gate = Gate(GUARD)
    assert gate(asked("some", verb, "m"), answer) is OK
    with pytest.raises(PermissionDenied):
        gate(asked("some", verb, "n"), answer)
    with pytest.raises(PermissionDenied):
        gate(asked("some", verb), answer)


def test_what_looks_after_models_by_itself_is_answered_to_a_role_of_some() -> None:
    assert Gate(GUARD)(asked("some", Verb.METADATA, is_filtered=True), answer) is OK


def test_what_everybody_may_makes_up_for_a_role_of_some() -> None:
    guard = Roles(SOME, anonymous=Role(ANONYMOUS, verbs=frozenset({Verb.METRICS})))
    assert Gate(guard)(asked("some", Verb.METRICS), answer) is OK


def test_a_path_that_is_none_is_told_to_those_who_may_do_something() -> None:
    healthy = Roles(anonymous=Role(ANONYMOUS, verbs=frozenset({Verb.HEALTH})))
    with pytest.raises(Unauthenticated):
        Gate(healthy)(asked(None, Access.KNOWN), answer)
    predicting = Roles(anonymous=Role(ANONYMOUS, verbs=frozenset({Verb.PREDICT})))
    assert Gate(predicting)(asked(None, Access.KNOWN), answer) is OK


class Limited:
    """Lets one request in at a time."""

    def __init__(self) -> None:
        self.is_taken = False

    def enter(self, principal: Principal) -> Callable[[], None]:
        assert principal.name == "ada"
        if self.is_taken:
            raise LimitExceeded("one at a time")
        self.is_taken = True
        return self.leave

    def leave(self) -> None:
        assert self.is_taken
        self.is_taken = False


class Counted:
    def __init__(self) -> None:
        self.all: list[tuple[str, str, Code]] = []

    def __call__(self, principal: str, model: str, code: Code) -> None:
        self.all.append((principal, model, code))


def is_full(limited: Limited) -> bool:
    return limited.is_taken


@pytest.fixture
def limited() -> Limited:
    return Limited()


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def gate(limited: Limited, counted: Counted) -> Gate:
    return Gate(GUARD, enter=limited.enter, count=counted)


async def later(then: HttpResponse | BaseException = OK) -> HttpResponse:
    await asyncio.sleep(0)
    if isinstance(then, BaseException):
        raise then
    return then


def failing() -> HttpResponse:
    raise InvalidArgument("no")


def broken() -> HttpResponse:
    raise KeyError("no")


async def outcome_of(gate: Gate, proceed: Callable[[], Any]) -> None:
    with suppress(Exception):
        await response_of(gate(asked("all", Verb.PREDICT, "m"), proceed))


@pytest.mark.parametrize(
    ("proceed", "code"),
    [
        (answer, Code.OK),
        (later, Code.OK),
        (lambda: HttpResponse(404), Code.NOT_FOUND),
        (lambda: later(HttpResponse(418)), Code.UNKNOWN),
        (failing, Code.INVALID_ARGUMENT),
        (lambda: later(InvalidArgument("no")), Code.INVALID_ARGUMENT),
        (broken, Code.INTERNAL),
        (lambda: later(MemoryError()), Code.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_request_is_counted_and_its_place_is_free_however_it_ends(
    gate: Gate, limited: Limited, counted: Counted, proceed: Callable[[], Any], code: Code
) -> None:
    await outcome_of(gate, proceed)
    assert counted.all == [("ada", "m", code)]
    assert not limited.is_taken


async def test_a_request_that_is_being_answered_keeps_its_place(
    gate: Gate, limited: Limited, counted: Counted
) -> None:
    proceed: Callable[[], Any] = later
    first = gate(asked("all", Verb.PREDICT, "m"), proceed)
    with pytest.raises(LimitExceeded):
        gate(asked("all", Verb.PREDICT, "m"), proceed)
    assert counted.all == [("ada", "m", Code.RESOURCE_EXHAUSTED)]
    await response_of(first)
    assert not limited.is_taken


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_client_that_leaves_gives_its_place_back(
    gate: Gate, limited: Limited, counted: Counted, has_begun: bool
) -> None:
    proceed: Callable[[], Any] = later
    answering: Any = gate(asked("all", Verb.PREDICT, "m"), proceed)
    if has_begun:
        answering.send(None)
    answering.close()
    assert counted.all == [("ada", "m", Code.CANCELLED)]
    assert not limited.is_taken


async def parts(*failures: Exception) -> "AsyncGenerator[bytes, None]":
    yield b"a"
    for failure in failures:
        raise failure


async def streamed(gate: Gate, *failures: Exception) -> StreamedResponse:
    async def respond() -> HttpResponse:
        return StreamedResponse(200, parts(*failures))

    proceed: Callable[[], Any] = respond
    response = await response_of(gate(asked("all", Verb.PREDICT, "m"), proceed))
    assert isinstance(response, StreamedResponse)
    return response


async def test_an_answer_that_is_streamed_keeps_its_place_to_the_end(
    gate: Gate, limited: Limited, counted: Counted
) -> None:
    response = await streamed(gate)
    assert is_full(limited)
    assert [part async for part in response.parts] == [b"a"]
    assert not is_full(limited)
    await response.parts.aclose()
    assert counted.all == [("ada", "m", Code.OK)]


async def test_a_stream_that_breaks_off_gives_its_place_back(
    gate: Gate, limited: Limited, counted: Counted
) -> None:
    response = await streamed(gate, InvalidArgument("no"))
    with pytest.raises(InvalidArgument):
        [part async for part in response.parts]
    assert not limited.is_taken
    assert counted.all == [("ada", "m", Code.INVALID_ARGUMENT)]


@pytest.mark.parametrize("read", [0, 1])
async def test_a_stream_that_nobody_reads_on_gives_its_place_back(
    gate: Gate, limited: Limited, counted: Counted, read: int
) -> None:
    response = await streamed(gate)
    for _ in range(read):
        await anext(response.parts)
    await response.parts.aclose()
    assert not limited.is_taken
    assert counted.all == [("ada", "m", Code.CANCELLED)]


def test_who_is_refused_takes_no_place(gate: Gate, limited: Limited, counted: Counted) -> None:
    with pytest.raises(PermissionDenied):
        gate(asked("reader", Verb.PREDICT, "m"), answer)
    assert not limited.is_taken
    assert counted.all == [("ada", "m", Code.PERMISSION_DENIED)]


@pytest.mark.parametrize(
    ("key", "verb"), [("all", Access.KNOWN), ("reader", Verb.PREDICT), ("some", Verb.METADATA)]
)
def test_what_is_refused_counts_against_limits_as_any_other(
    gate: Gate, limited: Limited, counted: Counted, key: str, verb: VerbOrAccess
) -> None:
    def refuse() -> HttpResponse:
        assert is_full(limited)
        return HttpResponse(404)

    with suppress(PermissionDenied):
        gate(asked(key, verb), refuse)
    assert not is_full(limited)
    limited.is_taken = True
    with pytest.raises(LimitExceeded):
        gate(asked(key, verb), refuse)
    codes = [code for _, _, code in counted.all]
    assert codes in ([Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED], [Code.NOT_FOUND, codes[1]])


async def test_who_asks_too_often_for_what_they_may_not_is_told_later(counted: Counted) -> None:
    error = LimitExceeded("slower")
    error.delay_s = 1e-9

    def enter(_principal: Principal) -> None:
        raise error

    answer_of = Gate(GUARD, enter=enter, count=counted)(asked("reader", Verb.PREDICT, "m"), answer)
    assert isinstance(answer_of, Coroutine)
    with pytest.raises(LimitExceeded):
        await answer_of
    assert counted.all == [("ada", "m", Code.RESOURCE_EXHAUSTED)]


def test_a_stream_whose_messages_are_counted_is_not_counted_itself(
    gate: Gate, limited: Limited
) -> None:
    limited.is_taken = True
    assert gate(asked("all", Access.BY_MESSAGE), answer) is OK
    with pytest.raises(Unauthenticated):
        gate(asked(None, Access.BY_MESSAGE), answer)


@pytest.mark.parametrize("verb", [Verb.PREDICT, Access.KNOWN])
def test_the_message_of_who_may_do_no_such_thing_is_not_read(verb: VerbOrAccess) -> None:
    class Message(Call):
        def __init__(self, key: bytes | None) -> None:
            super().__init__()
            self.read_servable = self.read
            self.need = Need(verb)
            self.key = key
            self.is_read = False

        def read(self) -> ServableRequest:
            self.is_read = True
            return ServableRequest("m")

        def header(self, name: bytes) -> bytes | None:
            return self.key if name == b"x-api-key" else None

    stranger = Message(None)
    with pytest.raises(Unauthenticated):
        Gate(GUARD)(stranger, answer)
    assert not stranger.is_read
    if verb is Verb.PREDICT:
        for key in (b"reader", b"some"):
            message = Message(key)
            with suppress(PermissionDenied):
                Gate(GUARD)(message, answer)
            assert message.is_read == (key == b"some")
        everybody = Message(None)
        Gate(Roles(anonymous=SOME))(everybody, answer)
        assert everybody.is_read


@pytest.mark.parametrize(
    ("key", "verb", "error"),
    [
        ("some", Verb.METADATA, PermissionDenied),
        ("some", Verb.METRICS, PermissionDenied),
        (None, Access.KNOWN, Unauthenticated),
    ],
)
def test_a_refusal_of_its_own_is_told_to_who_counts_them_and_not_permitted_before(
    key: str | None, verb: VerbOrAccess, error: type[ServingError]
) -> None:
    class Strict(Roles):
        def permit(
            self, principal: Principal, verb: Verb, servable: ServableRequest | None
        ) -> None:
            raise AssertionError("it is counted as allowed")

    guard = Strict(SOME)
    with pytest.raises(error) as raised:
        Gate(guard)(asked(key, verb), answer)
    assert guard.refusals == [raised.value]


class Fetching(Roles):
    """A guard that knows nobody before keys were fetched."""

    def __init__(self, *roles: Role) -> None:
        super().__init__(*roles)
        self.fetched: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def identify(self, context: RequestContext) -> Principal:
        if not self.fetched.done():
            raise UnknownKey("The key of the token is not known")
        return super().identify(context)

    async def identify_later(self, context: RequestContext, error: KeysAwaited) -> Principal:
        await self.fetched
        return self.identify(context)


async def test_a_request_waits_for_the_keys_of_its_token_within_its_time(
    limited: Limited, counted: Counted
) -> None:
    guard = Fetching(ALL)
    request = asked("all", Verb.PREDICT, "m")
    request.timeout_s = 30.0
    proceed: Callable[[], Any] = later
    waiting = asyncio.ensure_future(
        Gate(guard, enter=limited.enter, count=counted)(request, proceed)
    )
    await asyncio.sleep(0)
    assert not limited.is_taken
    assert not counted.all
    guard.fetched.set_result(None)
    assert await waiting is OK
    assert counted.all == [("ada", "m", Code.OK)]
    assert request.timeout_s is not None
    assert request.timeout_s < 30.0


async def test_who_is_not_known_then_either_is_refused() -> None:
    guard = Fetching(READER)
    waiting = asyncio.ensure_future(response_of(Gate(guard)(asked("all"), answer)))
    guard.fetched.set_result(None)
    with pytest.raises(Unauthenticated):
        await waiting


def outcome(decide: Callable[[], Any]) -> type[ServingError] | None:
    try:
        decide()
    except ServingError as error:
        return type(error)
    return None


@pytest.mark.parametrize("key", [None, "wrong", "all", "some", "reader"])
@pytest.mark.parametrize("model", [None, "m", "n"])
@pytest.mark.parametrize("is_filtered", [False, True])
@pytest.mark.parametrize("verb", [*Verb, *Access])
def test_header_fields_that_name_the_model_decide_as_the_whole_request_does(
    key: str | None, model: str | None, is_filtered: bool, verb: VerbOrAccess
) -> None:
    for anonymous in (None, READER, Role(ANONYMOUS, verbs=frozenset({Verb.HEALTH}))):
        guard = Roles(ALL, SOME, READER, anonymous=anonymous)
        request = asked(key, verb, model, is_filtered=is_filtered)
        gate = Gate(guard)
        whole = outcome(partial(gate, request, answer))
        assert outcome(partial(gate.screen, request, is_named=True)) is whole
        if outcome(partial(gate.screen, request, is_named=False)) is not None:
            assert whole is not None


def test_without_the_model_only_who_may_with_none_is_refused_early() -> None:
    screen = Gate(GUARD).screen
    assert screen(asked("some", Verb.PREDICT), is_named=False) is None
    with pytest.raises(PermissionDenied):
        screen(asked("reader", Verb.PREDICT), is_named=False)


def test_who_is_refused_early_is_counted_once_and_who_is_not_never() -> None:
    counted: list[tuple[str, str, Code]] = []
    entered: list[str] = []

    def enter(principal: Principal) -> None:
        entered.append(principal.name)

    gate = Gate(GUARD, enter=enter, count=lambda *each: counted.append(each))
    assert gate.screen(asked("some", model="m"), is_named=True) is None
    assert not entered
    with pytest.raises(PermissionDenied):
        gate.screen(asked("some", model="n"), is_named=True)
    assert entered == ["ada"]
    assert counted == [("ada", "n", Code.PERMISSION_DENIED)]


async def test_whose_limits_are_spent_is_refused_early() -> None:
    def enter(_principal: Principal) -> None:
        error = LimitExceeded("too many")
        error.delay_s = 1e-3
        raise error

    gate = Gate(GUARD, enter=enter, is_spent=lambda principal: principal.name == "ada")
    refusal = gate.screen(asked("all", model="m"), is_named=True)
    assert refusal is not None
    with pytest.raises(LimitExceeded):
        await refusal
    assert gate.screen(asked("all", Access.BY_MESSAGE), is_named=True) is None


async def test_keys_that_are_awaited_are_awaited_before_the_body() -> None:
    class Awaited(Roles):
        def identify(self, context: RequestContext) -> Principal:
            raise UnknownKey("not yet")

        async def identify_later(self, context: RequestContext, error: KeysAwaited) -> Principal:
            return Roles.identify(self, context)

    gate = Gate(Awaited(ALL, READER))
    found = gate.screen(asked("all", model="m"), is_named=True)
    assert found is not None
    await found
    refusal = gate.screen(asked("reader", model="m"), is_named=True)
    assert refusal is not None
    with pytest.raises(PermissionDenied):
        await refusal
