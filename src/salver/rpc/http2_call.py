"""What calls over HTTP/2 have in common: who calls, until when, and how they end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from salver.errors import Cancelled, DeadlineExceeded, ServingError, drop_frames
from salver.inference.context import Identity
from salver.protocols.methods import Call
from salver.rpc.http2_route import Route
from salver.rpc.http2_running import EXPIRED, OVERTIME_S, Running, broken
from salver.transport.http2.held_back import hold_back
from salver.transport.http2.stream import Stream
from salver.vocabulary.access import UNSAID

__all__ = ["Http2Call"]


class Http2Call(Call):
    """A call, from its first byte to its end; its method gets it as its `Call`."""

    __slots__ = ("_expires", "_is_over", "_route", "_running", "_stream", "_task", "_timer")

    def __init__(self, running: Running, stream: Stream, route: Route) -> None:
        self.read_servable = None
        self.timeout_s = None
        self.need = UNSAID
        self.principal = None
        self.headers = stream.headers
        self._running = running
        self._stream = stream
        self._route = route
        self._is_over = False
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expires: float | None = None
        if route.timeout_s is not None:
            self._expires = running.loop.time() + route.timeout_s
            running.time(self._start_timer)

    # What a method may ask.

    @property
    def target(self) -> str:
        """See `Call`."""
        return self._stream.headers.path.decode("latin-1")

    @property
    def peer(self) -> str | None:
        """See `RequestContext`."""
        return self._stream.peer

    @property
    def identity(self) -> Identity | None:
        """See `RequestContext`."""
        return self._stream.identity

    def header(self, name: bytes) -> bytes | None:
        """See `RequestContext`."""
        return self._stream.headers.get(name)

    def add_trailer(self, name: bytes, value: bytes) -> None:
        """See `Call`."""
        self._route = self._route.with_trailer(name, value)

    def _note_time_left(self) -> None:
        """Say how much time the method has; to be called as it is."""
        if self._expires is not None:
            self.timeout_s = self._expires - self._running.loop.time()

    # Before its message.

    @property
    def is_silent(self) -> bool:
        """Whether its message has not come."""
        raise NotImplementedError

    def screen(self) -> None:
        """Refuse the call, or wait with its message, where its header fields say that already."""
        screen = self._route.screen
        if screen is None or not self.is_silent:
            return
        try:
            verdict = screen(self)
        except ServingError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a call ends here; the server goes on
            self._fail(broken(error))
        else:
            if verdict is not None:
                hold_back(self._stream, verdict, self._is_let_in)

    def _is_let_in(self, verdict: "asyncio.Task[None]") -> bool:
        if verdict.cancelled():
            error: BaseException | None = Cancelled("Cancelled on the server side")
        else:
            error = verdict.exception()
        if error is None:
            return True
        self._fail(error if isinstance(error, ServingError) else broken(error))
        return False

    # Ends.

    def left(self) -> None:
        """The client waits no more."""
        self._end()
        if self._task is not None:
            self._task.cancel()

    def _start_timer(self) -> None:
        """See `Running.time`."""
        if not self._is_over and self._expires is not None:
            loop = self._running.loop
            self._timer = loop.call_at(self._expires + OVERTIME_S, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if not self._is_over:
            self._fail(DeadlineExceeded(EXPIRED))
            if self._task is not None:
                self._task.cancel()

    def _begin(self, answer: Coroutine[Any, Any, Any]) -> None:
        """Wait for an answer; work that goes on though the client leaves counts as a request."""
        self._stream.hold()
        self._task = self._running.begin(answer)
        self._task.add_done_callback(self._settle)

    def _settle(self, task: "asyncio.Task[Any]") -> None:
        self._running.tasks.discard(task)
        self._stream.let_go()
        self._task = None  # its failure knows the call, and what that has read; no cycle of them
        self._release()
        if task.cancelled():
            error: BaseException | None = Cancelled("Cancelled on the server side")
        else:
            error = task.exception()
        if self._is_over:
            if error is not None:
                drop_frames(error)
        elif error is None:
            self._succeed(task.result())
        else:
            self._fail(error if isinstance(error, ServingError) else broken(error))

    def _fail(self, error: ServingError) -> None:
        drop_frames(error)
        self._end()
        self._refuse(error)

    def _end(self) -> None:
        """The call is over, one way or the other."""
        self._is_over = True
        self.read_servable = None  # it holds the message
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What each kind of call adds.

    def _succeed(self, result: Any) -> None:
        """The method has answered."""
        raise NotImplementedError

    def _refuse(self, error: ServingError) -> None:
        """Write why it has failed."""
        raise NotImplementedError

    def _release(self) -> None:
        """Let go of what was held for the method."""
