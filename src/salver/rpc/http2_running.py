"""What all calls of gRPC over HTTP/2 share. Used on the loop only."""

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from salver.errors import Internal, ServingError, out_of_memory
from salver.rpc.http2_messages import Inflater, sent_too_large
from salver.rpc.http2_route import MessageLimits

__all__ = [
    "EXPIRED",
    "LARGE_BYTES",
    "NO_MESSAGE",
    "OVERTIME_S",
    "Data",
    "Running",
    "broken",
]

_log = logging.getLogger(__name__)

Data = bytes | memoryview
InPool = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in some other thread."""

NO_MESSAGE: Final = "The call ended without its message"  # INTERNAL, as a C++ server's
EXPIRED: Final = "Deadline Exceeded"  # gRPC's own words
LARGE_BYTES: Final = 1 << 16  # what is larger is inflated and deflated in another thread
OVERTIME_S: Final = 0.01
"""So much later than the method, which has the same deadline, the transport ends a call: then the
failure is counted as what it is."""


class Timed(Protocol):
    """A call with a deadline."""

    def start_timer(self) -> None:
        """See `Running.time`."""


class Running:
    """What the calls of one server share.

    Attributes:
        limits: on messages.
        tasks: of the calls that have brought their message and are not answered yet.
        draining: done as soon as the server drains.
    """

    def __init__(self, limits: MessageLimits, in_pool: InPool) -> None:
        """Make it for the loop that is running.

        Args:
            limits: see there.
            in_pool: see there.
        """
        self.limits = limits
        self.in_pool = in_pool
        self.loop: AbstractEventLoop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Future[Any]] = set()
        self.draining: asyncio.Future[None] = self.loop.create_future()
        self._timed: list[Timed] = []

    def time(self, call: "Timed") -> None:
        """Have a call end at its deadline, if it has not ended by the next turn of the loop."""
        if not self._timed:
            self.loop.call_soon(self._start_timers)
        self._timed.append(call)

    def _start_timers(self) -> None:
        timed, self._timed = self._timed, []
        for call in timed:
            call.start_timer()

    def begin(self, answer: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Wait for an answer, and have the drain wait for it."""
        if isinstance(answer, Coroutine):
            task: asyncio.Future[Any] = self.loop.create_task(answer)
        else:
            task = asyncio.ensure_future(answer)
        self.tasks.add(task)
        return task

    async def inflated(self, data: bytes, encoding: bytes | None) -> bytes:
        """See `inflate_small`; of any size."""
        small = self.inflate_small(data, encoding)
        if isinstance(small, bytes):
            return small
        message: bytes = await self.in_pool(small.message)
        return message

    def inflate_small(self, data: bytes, encoding: bytes | None) -> "bytes | Inflater":
        """A compressed message as it was; what is to make it where that takes long.

        Raises:
            ServingError: it cannot be.
        """
        if encoding is None:
            raise Internal("Compression bit set but no encoding configured")
        if not data:
            return data  # some clients flag what they have not touched
        limits = self.limits
        most_bytes = min(limits.max_receive_bytes, limits.max_inflated_bytes)
        inflater = Inflater(data, encoding, most_bytes)
        if len(data) > LARGE_BYTES:
            return inflater
        message = inflater.up_to(LARGE_BYTES)
        return inflater if message is None else message

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
    return Internal(f"Internal error: {error}")
