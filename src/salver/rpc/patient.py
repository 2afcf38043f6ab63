"""Methods that wait for models which are not in memory."""

from collections.abc import Awaitable, Coroutine
from typing import Any

from salver.inference.later import Later
from salver.inference.patience import patiently
from salver.lifecycle.seats import NotLoaded
from salver.rpc.table import Call, MethodTable, Stream, UnaryMethod

__all__ = ["patient_methods"]


def patient_methods(table: MethodTable) -> MethodTable:
    """The same methods; one that finds its model out of memory waits for it, and is asked again."""
    return {
        path: method if isinstance(method, Stream) else _Patient(method)
        for path, method in table.items()
    }


class _Patient:
    """A method, as long as the call lasts. Belongs to the loop."""

    __slots__ = ("_method",)

    def __init__(self, method: UnaryMethod) -> None:
        self._method = method

    def __call__(self, data: bytes, call: Call) -> bytes | Coroutine[Any, Any, bytes]:
        try:
            answer = self._method(data, call)
        except NotLoaded as not_loaded:
            return self._again(not_loaded, data, call)
        if isinstance(answer, bytes):
            return answer
        close = getattr(answer, "close", _nothing)
        return Later(self._finished(data, call, answer), close)

    async def _finished(self, data: bytes, call: Call, answer: Awaitable[bytes]) -> bytes:
        try:
            return await answer
        except NotLoaded as not_loaded:
            return await self._again(not_loaded, data, call)

    async def _again(self, not_loaded: NotLoaded, data: bytes, call: Call) -> bytes:
        return await patiently(
            not_loaded, lambda left_s: self._method(data, Call(left_s)), call.timeout_s
        )


def _nothing() -> None:
    """An awaitable that is no coroutine has nothing to close."""
