"""Calls that fail, counted by the model they name.

Source: TensorFlow Serving `model_servers/prediction_service_impl.cc`: Predict, Classify and Regress
are counted, and no other call. A message that cannot be read never comes that far there.
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, cast

from salver.codecs.model_spec import decode_model_spec
from salver.codecs.wire import read_length
from salver.errors import Code, ServingError
from salver.inference.later import Later
from salver.metrics.outcomes import Outcomes
from salver.rpc.table import Call, MethodTable, UnaryMethod

__all__ = ["count_failures", "named_model"]

_SERVICE: Final = "/tensorflow.serving.PredictionService"
_COUNTED: Final = frozenset(f"{_SERVICE}/{name}" for name in ("Predict", "Classify", "Regress"))
_ENTRYPOINT: Final = "GRPC"
_FIXED_BYTES: Final = {1: 8, 5: 4}  # wire type → size


def count_failures(table: MethodTable, outcomes: Outcomes) -> MethodTable:
    """The same methods; what those raise that the reference counts is counted on its way."""
    return {
        path: _Counted(cast("UnaryMethod", method), outcomes) if path in _COUNTED else method
        for path, method in table.items()
    }


def named_model(data: bytes) -> str | None:
    """The model that a request names; empty for none, None for what is no request.

    Args:
        data: a message whose first field is a ModelSpec.
    """
    at, specs = 0, []
    try:
        while at < len(data):
            tag, at = read_length(data, at)
            kind = tag & 7
            if kind == 2:
                size, at = read_length(data, at)
                if tag >> 3 == 1:
                    specs.append(data[at : at + size])
                at += size
            elif kind == 0:
                _, at = read_length(data, at)
            else:
                at += _FIXED_BYTES[kind]
        # Parts of one message, one behind the other, are the message.
        return decode_model_spec(b"".join(specs)).name if at == len(data) else None
    except (IndexError, KeyError, ServingError):
        return None


class _Counted:
    """A method whose failures are counted. Belongs to the loop."""

    __slots__ = ("_method", "_outcomes")

    def __init__(self, method: UnaryMethod, outcomes: Outcomes) -> None:
        self._method = method
        self._outcomes = outcomes

    def __call__(self, data: bytes, call: Call) -> bytes | Coroutine[Any, Any, bytes]:
        try:
            answer = self._method(data, call)
        except Exception as error:
            self._failed(data, error)
            raise
        if isinstance(answer, bytes):
            return answer
        close = getattr(answer, "close", _nothing)
        return Later(self._caught(data, answer), close)

    async def _caught(self, data: bytes, answer: Awaitable[bytes]) -> bytes:
        try:
            return await answer
        except (Exception, asyncio.CancelledError) as error:
            self._failed(data, error)
            raise

    def _failed(self, data: bytes, error: BaseException) -> None:
        model = named_model(data)
        if model is None:
            return
        version: int | None = None
        if isinstance(error, ServingError):
            code, version = error.code, error.version
        elif isinstance(error, MemoryError):
            code = Code.RESOURCE_EXHAUSTED
        else:
            is_left = isinstance(error, asyncio.CancelledError)
            code = Code.CANCELLED if is_left else Code.INTERNAL
        self._outcomes.failed(model, code, entrypoint=_ENTRYPOINT, version=version)


def _nothing() -> None:
    """An awaitable that is no coroutine has nothing to close."""
