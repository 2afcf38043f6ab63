"""gRPC methods as they are served: behind the interceptors, and with their failures reported."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from salver.inference.context import (
    Interceptor,
    Remembering,
    Screening,
    intercepted,
    screening_of,
)
from salver.inference.later import Later
from salver.protocols.api import Api
from salver.protocols.forwarding import Forwarder, forwarded_method, is_handed_on
from salver.protocols.methods import (
    Call,
    CallScreen,
    CallScreens,
    Method,
    MethodTable,
    Stream,
    UnaryMethod,
)
from salver.vocabulary.access import Access, Need
from salver.vocabulary.requests import ServableRequest

__all__ = ["call_screens", "served_methods"]


def served_methods(
    api: Api, interceptors: Sequence[Interceptor], forwarder: Forwarder | None = None
) -> MethodTable:
    """The methods of an API, as a transport is to call them.

    Those that no interceptor and nobody who counts has anything to do with stay as they are.

    Args:
        api: see there.
        interceptors: asked before each.
        forwarder: hands on calls for models that are not here; None: they are refused. Of streams
            the API itself asks it.
    """
    return {
        path: _served(path, method, api, interceptors, forwarder)
        for path, method in api.methods.items()
    }


def call_screens(api: Api, interceptors: Sequence[Interceptor]) -> CallScreens:
    """What is asked before the messages of an API's methods are taken.

    Args:
        api: see there.
        interceptors: the first alone is asked, where it can tell so soon.
    """
    screening = screening_of(interceptors)
    if screening is None:
        return {}
    return {path: _screen(path, method, api, screening) for path, method in api.methods.items()}


def _screen(path: str, method: Method, api: Api, screening: Screening) -> CallScreen:
    need = api.need_of(path)
    is_stream = isinstance(method, Stream)
    if isinstance(method, Stream) and method.has_guarded_messages:
        need = Need(Access.BY_MESSAGE)
    is_named = is_stream or api.servable_of is None

    def screen(call: Call) -> "Coroutine[Any, Any, None] | None":
        call.need = need
        return screening.screen(call, is_named=is_named)

    return screen


def _served(
    path: str,
    method: Method,
    api: Api,
    interceptors: Sequence[Interceptor],
    forwarder: Forwarder | None,
) -> Method:
    need = api.need_of(path)
    if isinstance(method, Stream):
        if not interceptors:
            return method
        return Stream(_Intercepted(interceptors, need).stream(method), method.is_request_single)
    if forwarder is not None and api.servable_of is not None and is_handed_on(need):
        method = forwarded_method(forwarder, path, method, api.servable_of)
    if interceptors:
        read = _reader(path, api)
        method = _behind(interceptors, need, read, method)
    failed = api.call_failed.get(path)
    return method if failed is None else _Watched(method, failed)


def _reader(path: str, api: Api) -> "Callable[[bytes], ServableRequest | None] | None":
    """What reads the model out of a message of a method."""
    if api.servable_of is None:
        return None
    find, read_any = api.alike.get(path), partial(api.servable_of, path)
    if find is None:
        return read_any

    def read(data: bytes) -> ServableRequest | None:
        known = find(data)
        return read_any(data) if known is None else known.request

    return read


def _behind(
    interceptors: Sequence[Interceptor],
    need: Need,
    read: "Callable[[bytes], ServableRequest | None] | None",
    method: UnaryMethod,
) -> UnaryMethod:
    """A method with interceptors before it, of which there is one at least."""
    first, *others = interceptors
    if not isinstance(first, Remembering):
        return _Intercepted(interceptors, need, read).unary(method)
    behind = _behind(others, need, read, method) if others else method
    return first.before_method(need, behind, read)


class _Intercepted:
    """Puts interceptors before methods."""

    def __init__(
        self,
        interceptors: Sequence[Interceptor],
        need: Need,
        read_servable: Callable[[bytes], ServableRequest | None] | None = None,
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._need = need
        self._read_servable = read_servable

    def unary(self, method: UnaryMethod) -> UnaryMethod:
        interceptors, need, read_servable = self._interceptors, self._need, self._read_servable

        def call(data: bytes, call: Call) -> "bytes | Coroutine[Any, Any, bytes]":
            call.need = need
            if read_servable is not None:
                call.read_servable = partial(read_servable, data)
            return intercepted(interceptors, call, partial(method, data, call))

        return call

    def stream(
        self, stream: Stream
    ) -> "Callable[[AsyncIterator[bytes], Call], AsyncGenerator[bytes, None]]":
        interceptors, need = self._interceptors, self._need
        is_guarded_later = stream.has_guarded_messages

        async def call(requests: AsyncIterator[bytes], call: Call) -> "AsyncGenerator[bytes, None]":
            if is_guarded_later:
                call.interceptors = interceptors
            call.need = Need(Access.BY_MESSAGE) if is_guarded_later else need
            passed = intercepted(interceptors, call, _begin)
            if isinstance(passed, Coroutine):
                await passed
            call.need = need
            async with aclosing(stream.method(requests, call)) as responses:
                async for response in responses:
                    yield response

        return call


def _begin() -> bytes:
    """What an interceptor sees of a call of streams."""
    return b""


class _Watched:
    """A method whose failures are reported. Belongs to the loop."""

    __slots__ = ("_failed", "_method")

    def __init__(self, method: UnaryMethod, failed: Callable[[bytes, BaseException], None]) -> None:
        self._method = method
        self._failed = failed

    def __call__(self, data: bytes, call: Call) -> "bytes | Coroutine[Any, Any, bytes]":
        try:
            answer = self._method(data, call)
        except Exception as error:
            self._failed(data, error)
            raise
        if isinstance(answer, bytes):
            return answer
        return Later(self._awaited(data, answer), answer.close)

    async def _awaited(self, data: bytes, answer: "Coroutine[Any, Any, bytes]") -> bytes:
        try:
            return await answer
        except (Exception, asyncio.CancelledError) as error:
            self._failed(data, error)
            raise
