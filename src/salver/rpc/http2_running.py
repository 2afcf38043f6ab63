"""What all calls of gRPC over HTTP/2 share. Used on the loop only."""

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from typing import Any, Final

from salver.errors import (
    Internal,
    ResourceExhausted,
    ServingError,
    drop_frames,
    out_of_memory,
)
from salver.instruments.heap import joined
from salver.instruments.threads import LARGE_BYTES, VERY_LARGE_BYTES, InPool
from salver.rpc.http2_messages import Message, Pieces, sent_too_large
from salver.rpc.http2_route import MessageLimits
from salver.transport.in_flight import UNLIMITED, Holding, MemoryInFlight
from salver.transport.inflating import Broken, InflateLimits, Inflating, TooLarge

__all__ = [
    "EXPIRED",
    "NO_MESSAGE",
    "OVERTIME_S",
    "Data",
    "Running",
    "broken",
]

_log = logging.getLogger(__name__)

Data = bytes | memoryview

NO_MESSAGE: Final = "The call ended without its message"  # INTERNAL, as a C++ server's
EXPIRED: Final = "Deadline Exceeded"  # gRPC's own words
OVERTIME_S: Final = 0.01
"""So much later than the method, which has the same deadline, the transport ends a call: then the
failure is counted as what it is."""


class Running:
    """What the calls of one server share.

    Attributes:
        limits: on messages.
        memory: counts what the calls hold.
        tasks: of the calls that have brought their message and are not answered yet.
        draining: done as soon as the server drains.
    """

    def __init__(
        self, limits: MessageLimits, in_pool: InPool, memory: MemoryInFlight = UNLIMITED
    ) -> None:
        """Make it for the loop that is running.

        Args:
            limits: see there.
            in_pool: see there.
            memory: counts what the calls hold.
        """
        self.limits = limits
        self.memory = memory
        self.in_pool = in_pool
        self.loop: AbstractEventLoop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Future[Any]] = set()
        self.draining: asyncio.Future[None] = self.loop.create_future()
        self._timed: list[Callable[[], None]] = []

    def time(self, start_timer: Callable[[], None]) -> None:
        """Have a call end at its deadline, if it has not ended by the next turn of the loop."""
        if not self._timed:
            self.loop.call_soon(self._start_timers)
        self._timed.append(start_timer)

    def _start_timers(self) -> None:
        timed, self._timed = self._timed, []
        for start_timer in timed:
            start_timer()

    def begin(self, answer: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Wait for an answer, and have the drain wait for it."""
        task = self.loop.create_task(answer)
        self.tasks.add(task)
        return task

    def message(
        self, message: Message, encoding: bytes | None, holding: Holding
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """A message as it was; where that takes long, a coroutine that makes it.

        Args:
            message: as it came.
            encoding: of those that are compressed; None where the client names none.
            holding: of the call; grows by what comes out.

        Raises:
            ServingError: it cannot be, or would be too much; also out of the coroutine.
        """
        if not message.is_compressed:
            body = message.body
            return body if isinstance(body, bytes) else self._joined(body)
        if not message.body:
            return b""  # some clients flag what they have not touched
        if not isinstance(message.body, bytes):
            return self._joined_and_inflated(message.body, encoding, holding)
        inflating = self._inflating(message.body, encoding, holding)
        is_short = len(message.body) <= LARGE_BYTES
        small = _whole(inflating, LARGE_BYTES) if is_short else None
        return self._inflated(inflating) if small is None else small

    async def _joined(self, pieces: Pieces) -> bytes:
        body: bytes = await self.in_pool(lambda: joined(pieces), sum(map(len, pieces)))
        return body

    async def _joined_and_inflated(
        self, pieces: Pieces, encoding: bytes | None, holding: Holding
    ) -> bytes:
        body = await self._joined(pieces)
        return await self._inflated(self._inflating(body, encoding, holding))

    def _inflating(self, body: bytes, encoding: bytes | None, holding: Holding) -> Inflating:
        if encoding is None:
            raise Internal("Compression bit set but no encoding configured")
        limits = self.limits
        bounds = InflateLimits(limits.most_inflated_bytes, limits.max_inflate_ratio)
        return Inflating(body, encoding, bounds, has_one_member=True, on_growth=holding.grow)

    async def _inflated(self, inflating: Inflating) -> bytes:
        body: bytes | None = await self.in_pool(lambda: _whole(inflating, VERY_LARGE_BYTES))
        if body is None:
            most_bytes = self.limits.most_inflated_bytes
            body = await self.in_pool(lambda: _whole(inflating, most_bytes + 1), most_bytes)
        assert body is not None  # it ends, or is too large
        return body

    def check_sent(self, answer: bytes) -> None:
        """Raise ResourceExhausted for an answer that is too large to be sent."""
        most_bytes = self.limits.max_send_bytes
        if most_bytes is not None and len(answer) > most_bytes:
            raise sent_too_large(len(answer), most_bytes)


def broken(error: BaseException) -> ServingError:
    """What a client is told of an error that should not be; the log is told more."""
    if isinstance(error, MemoryError):
        refused = out_of_memory(error)
        _log.warning("A call was refused: %s", refused.message)
        return refused
    _log.error("A call failed in a way it should not", exc_info=error)
    drop_frames(error)
    return Internal(f"Internal error: {error}")


def _whole(inflating: Inflating, most_bytes: int) -> bytes | None:
    """See `Inflating.whole`.

    Raises:
        Internal: it is broken.
        ResourceExhausted: it would be too large.
    """
    try:
        return inflating.whole(most_bytes)
    except Broken as error:
        raise Internal(f"Decompression failed due to {error}") from None
    except TooLarge as error:
        hint = "The server's --max_inflate_ratio sets this limit." if error.is_by_ratio else None
        raise ResourceExhausted("Decompressed message larger than max", hint=hint) from None
