"""A request that has been let in, until it is over and counted."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, TypeVar, cast

from salver.errors import Code, ServingError
from salver.inference.later import Later
from salver.transport.messages import HttpResponse, StreamedResponse

__all__ = ["Count", "Passing", "Release"]

A = TypeVar("A")

Release = Callable[[], None]
"""To be called once, when the request is over."""

Count = Callable[[str, str, Code], None]
"""Told of each request that is over: principal, model, code."""

_OK: Final = Code.OK


class Passing:
    """A request that has been let in, until it is over."""

    __slots__ = ("_count", "_is_over", "_model", "_principal", "_release")

    def __init__(self, principal: str, model: str, count: Count, release: Release | None) -> None:
        self._principal = principal
        self._model = model
        self._count = count
        self._release = release
        self._is_over = False

    def pass_on(self, answer: "A | Coroutine[Any, Any, A]") -> "A | Coroutine[Any, Any, A]":
        """What an endpoint has answered, now or later."""
        if type(answer) is not HttpResponse and isinstance(answer, Coroutine):
            return Later(_awaited(answer, self), lambda: _given_up(answer, self))
        return self.answered(answer)

    def answered(self, answer: A) -> A:
        """The request has its answer, which may go on being made while it is sent."""
        if isinstance(answer, HttpResponse) and type(answer) is HttpResponse:
            status = answer.status
            self.over(_OK if status < 400 else _CODES.get(status, Code.UNKNOWN))
            return answer
        if isinstance(answer, StreamedResponse):
            answer.parts = cast("AsyncGenerator[bytes, None]", _Parts(answer.parts, self))
            return answer
        code = Code.OK
        if isinstance(answer, HttpResponse) and answer.status >= 400:
            code = _CODES.get(answer.status, Code.UNKNOWN)
        self.over(code)
        return answer

    def ended(self, error: BaseException) -> None:
        """The request has failed, or was given up."""
        if isinstance(error, ServingError):
            self.over(error.code)
        elif isinstance(error, MemoryError):
            self.over(Code.RESOURCE_EXHAUSTED)
        else:
            self.over(Code.INTERNAL if isinstance(error, Exception) else Code.CANCELLED)

    def over(self, code: Code) -> None:
        """Give back what it has taken, and count it; once."""
        if self._is_over:
            return
        self._is_over = True
        if self._release is not None:
            self._release()
        self._count(self._principal, self._model, code)


async def _awaited(answer: Coroutine[Any, Any, A], passing: Passing) -> A:
    try:
        return passing.answered(await answer)
    except BaseException as error:
        passing.ended(error)
        raise


def _given_up(answer: Coroutine[Any, Any, Any], passing: Passing) -> None:
    answer.close()
    passing.over(Code.CANCELLED)


class _Parts:
    """The parts of an answer, and at their end that of its request; closed in any case."""

    def __init__(self, parts: "AsyncGenerator[bytes, None]", passing: Passing) -> None:
        self._parts = parts
        self._passing = passing

    def __aiter__(self) -> "_Parts":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._parts.__anext__()
        except StopAsyncIteration:
            self._passing.over(Code.OK)
            raise
        except BaseException as error:
            self._passing.ended(error)
            raise

    async def aclose(self) -> None:
        try:
            await self._parts.aclose()
        finally:
            self._passing.over(Code.CANCELLED)


_CODES: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    409: Code.ABORTED,
    412: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""Of answers that are refusals though nothing was raised."""
