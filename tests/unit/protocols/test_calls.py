from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from tests.shelf import response_of

from salver.errors import Code, Unauthenticated
from salver.inference.context import Interceptor, RequestContext
from salver.metrics.outcomes import Outcomes
from salver.protocols.api import Api
from salver.protocols.calls import served_methods
from salver.protocols.methods import Call, Stream
from salver.vocabulary.access import UNSAID, Access, Need, Verb
from salver.vocabulary.requests import ServableRequest

A = TypeVar("A")


def echo(data: bytes, _call: Call) -> bytes:
    return data


async def echo_later(data: bytes, _call: Call) -> bytes:
    return data


async def echo_each(requests: AsyncIterator[bytes], _call: Call) -> "AsyncGenerator[bytes, None]":
    async for data in requests:
        yield data


async def some() -> "AsyncGenerator[bytes, None]":
    for data in (b"a", b"b"):
        yield data


API = Api(
    methods={"/a/Now": echo, "/a/Later": echo_later, "/a/Each": Stream(echo_each)},
    servable_of=lambda method, data: ServableRequest(f"{method} {data.decode()}"),
)


def refusing(_context: RequestContext, _proceed: "Callable[[], A]", /) -> A:
    raise Unauthenticated("no key")


class Noting:
    """Lets everything pass, and writes down what it was asked for."""

    def __init__(self) -> None:
        self.seen: list[ServableRequest | None] = []

    def __call__(
        self, context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "A | Coroutine[Any, Any, A]":
        self.seen.append(context.servable)
        return proceed()


class Waiting:
    """Waits a turn of the loop first."""

    def __call__(
        self, _context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "Coroutine[Any, Any, A]":
        async def wait() -> A:
            answer = proceed()
            return await answer if isinstance(answer, Coroutine) else answer

        return wait()


async def answers(method: Any, data: bytes = b"x") -> list[bytes]:
    if isinstance(method, Stream):
        return [each async for each in method.method(some(), Call())]
    return [await response_of(method(data, Call()))]


def test_without_interceptors_methods_stay_as_they_are() -> None:
    assert served_methods(API, ()) == API.methods


async def test_an_interceptor_is_told_the_model_that_a_message_names() -> None:
    noting = Noting()
    table = served_methods(API, [noting])
    assert await answers(table["/a/Now"]) == await answers(table["/a/Later"]) == [b"x"]
    assert await answers(table["/a/Each"]) == [b"a", b"b"]
    assert noting.seen == [ServableRequest("/a/Now x"), ServableRequest("/a/Later x"), None]


class Known:
    """What is known of a message by one like it."""

    request = ServableRequest("known")


async def test_a_message_that_is_like_an_earlier_one_is_not_read_for_its_model() -> None:
    def read(_method: str, data: bytes) -> ServableRequest:
        assert data == b"y"
        return ServableRequest("read")

    def find(data: bytes) -> Any:
        return Known if data == b"x" else None

    noting = Noting()
    api = replace(API, servable_of=read, alike={"/a/Now": find})
    method = served_methods(api, [noting])["/a/Now"]
    assert await answers(method, b"x") == [b"x"]
    assert await answers(method, b"y") == [b"y"]
    assert noting.seen == [ServableRequest("known"), ServableRequest("read")]


class Replacing:
    """Knows requests again."""

    def __init__(self) -> None:
        self.needs: list[Need] = []

    def __call__(
        self, _context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "A | Coroutine[Any, Any, A]":
        return proceed()

    def before_endpoint(self, _need: Need, endpoint: Any, /) -> Any:
        return endpoint

    def before_method(self, need: Need, method: Any, _read: Any, /) -> Any:
        self.needs.append(need)
        return lambda data, call: method(data + b"!", call)


async def test_an_interceptor_that_remembers_stands_before_the_others_in_its_own_way() -> None:
    first, second = Replacing(), Noting()
    table = served_methods(API, [first, second])
    assert await answers(table["/a/Now"]) == [b"x!"]
    assert second.seen == [ServableRequest("/a/Now x!")]
    assert first.needs == [UNSAID, UNSAID]


@pytest.mark.parametrize("path", API.methods)
async def test_an_interceptor_refuses_any_method(path: str) -> None:
    with pytest.raises(Unauthenticated, match="no key"):
        await answers(served_methods(API, [refusing])[path])


@pytest.mark.parametrize("path", API.methods)
async def test_an_interceptor_may_wait_before_any_method(path: str) -> None:
    table = served_methods(API, [Waiting(), Waiting()])
    assert await answers(table[path]) == await answers(API.methods[path])


async def test_what_an_interceptor_refuses_is_counted_as_failed() -> None:
    outcomes = Outcomes(lambda name: name == "m")

    def failed(data: bytes, error: BaseException) -> None:
        assert isinstance(error, Unauthenticated)
        outcomes.failed(data.decode(), error.code, entrypoint="GRPC", version=None)

    api = Api(methods=API.methods, call_failed={"/a/Now": failed})
    with pytest.raises(Unauthenticated):
        await answers(served_methods(api, [refusing])["/a/Now"], b"m")
    assert outcomes.read().failures == {("m", None, Code.UNAUTHENTICATED, "GRPC", "tfs"): 1}


class Needing:
    """Lets everything pass, and writes down what has to be permitted."""

    def __init__(self) -> None:
        self.seen: list[Need] = []

    def __call__(
        self, context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "A | Coroutine[Any, Any, A]":
        self.seen.append(context.need)
        return proceed()


async def test_a_method_needs_what_the_table_of_its_api_says() -> None:
    api = replace(API, verbs={"/a/Now": Verb.HEALTH}, filtered=frozenset({"/a/Now"}))
    needing = Needing()
    for path in API.methods:
        await answers(served_methods(api, [needing])[path])
    assert needing.seen == [Need(Verb.HEALTH, is_filtered=True), UNSAID, UNSAID]


async def test_an_administrative_method_needs_the_verb_of_administrators() -> None:
    api = replace(API, verbs={"/a/Now": Verb.HEALTH}, administrative=("/a/N",))
    needing = Needing()
    await answers(served_methods(api, [needing])["/a/Now"])
    assert needing.seen == [UNSAID]


async def test_a_stream_that_has_its_messages_guarded_begins_with_credentials() -> None:
    seen: list[tuple[Sequence[Interceptor], Need]] = []

    async def stream(_: AsyncIterator[bytes], call: Call) -> "AsyncGenerator[bytes, None]":
        seen.append((call.interceptors, call.need))
        yield b""

    method = Stream(stream, has_guarded_messages=True)
    api = Api(methods={"/a/S": method}, verbs={"/a/S": Verb.PREDICT})
    needing = Needing()
    await answers(served_methods(api, [needing])["/a/S"])
    assert needing.seen == [Need(Access.BY_MESSAGE)]
    assert seen == [((needing,), Need(Verb.PREDICT))]
