"""What the inference calls of gRPC have in common: which servable, how long, where."""

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final

from salver.codecs.model_spec import ModelSpec
from salver.codecs.room import Room, TakesLong
from salver.errors import DeadlineExceeded, InvalidArgument
from salver.inference.running import LARGE_BYTES, Prepared, Running
from salver.requests import ServableRequest
from salver.rpc.table import Call
from salver.threads import InPool

__all__ = ["Answering", "Prepare", "given_spec", "servable_request"]

_EXPIRED: Final = "Deadline Exceeded"  # gRPC's own words for a call that came too late

Prepare = Callable[[bytes, Room], Prepared[bytes]]
"""Decodes a message, making no more of it than there is room for."""


def given_spec(spec: ModelSpec | None) -> ModelSpec:
    """The spec of a request that must have one.

    Raises:
        InvalidArgument: it has none.
    """
    if spec is None:
        raise InvalidArgument("Missing ModelSpec")
    return spec


def servable_request(spec: ModelSpec) -> ServableRequest:
    """Which servable a spec wants.

    Raises:
        InvalidArgument: it names no model.
    """
    if not spec.name:
        raise InvalidArgument("ModelSpec has no name specified.")
    return ServableRequest(spec.name, spec.version, spec.label)


class Answering:
    """From a message to the answer of a model. Belongs to the loop."""

    def __init__(self, in_pool: InPool) -> None:
        self._running = Running(in_pool)

    def __call__(
        self, prepare: Prepare, data: bytes, call: Call
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """Decode, run and encode within the call's deadline; in the loop, where all are short.

        Raises:
            DeadlineExceeded: at once, or out of the coroutine at the deadline.
            ServingError: what else `prepare` and the run raise, also out of the coroutine.
        """
        begun_s = perf_counter()
        timeout_s = call.timeout_s
        if timeout_s is not None and timeout_s <= 0:
            raise DeadlineExceeded(_EXPIRED)
        size = len(data)
        if size <= LARGE_BYTES:
            try:
                prepared = prepare(data, Room(size, made_bytes=LARGE_BYTES))
            except TakesLong:
                pass
            else:
                prepared.begun_s = begun_s
                return self._running.small(prepared, timeout_s)

        def prepare_large() -> Prepared[bytes]:
            prepared = prepare(data, Room(size))
            prepared.begun_s = begun_s
            return prepared

        return self._large(prepare_large, timeout_s, size)

    async def _large(
        self, prepare: Callable[[], Prepared[bytes]], timeout_s: float | None, size: int
    ) -> bytes:
        # The run has a timer of its own; this one is for the time in the pool's queue before it.
        answer = self._running.large(prepare, timeout_s, size)
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(_EXPIRED) from None
