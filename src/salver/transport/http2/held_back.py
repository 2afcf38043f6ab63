"""A request whose body is not taken before it is known whether it will be refused."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from salver.transport.http2.stream import Stream

__all__ = ["hold_back"]


def hold_back(
    stream: Stream,
    verdict: Coroutine[Any, Any, Any],
    settle: "Callable[[asyncio.Task[Any]], bool]",
) -> None:
    """Keep what comes of a body from its answerer, until it is known whether that is refused.

    No window is given back meanwhile, so that the client cannot send more than one.

    Args:
        stream: whose answerer is told of the body later, or never.
        verdict: what tells.
        settle: called when it has told; whether the request goes on. Not called for one that has
            ended meanwhile.
    """
    stream.answerer = _HeldBack(stream, verdict, settle)


class _HeldBack:
    """An `Answerer` in the place of that of a stream."""

    def __init__(
        self,
        stream: Stream,
        verdict: Coroutine[Any, Any, Any],
        settle: "Callable[[asyncio.Task[Any]], bool]",
    ) -> None:
        self._stream = stream
        self._answerer = stream.answerer
        self._settle = settle
        self._parts: list[tuple[bytes | memoryview, bool]] = []
        self._gives_window = stream.auto_credit
        stream.auto_credit = False
        self._task = asyncio.get_running_loop().create_task(verdict)
        self._task.add_done_callback(self._settled)

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        """See `Answerer`."""
        self._parts.append((data, is_last))

    def left(self) -> None:
        """See `Answerer`."""
        self._parts.clear()
        self._task.cancel()
        if self._answerer is not None:
            self._answerer.left()

    def _settled(self, task: "asyncio.Task[Any]") -> None:
        stream, answerer = self._stream, self._answerer
        parts, self._parts = self._parts, []
        if stream.is_gone:
            _ = task.cancelled() or task.exception()  # nobody waits for it any more
            return
        stream.answerer = answerer
        stream.auto_credit = self._gives_window
        if not self._settle(task):
            return
        for data, is_last in parts:
            if answerer is not None:
                answerer.received(data, is_last)
        if self._gives_window:
            stream.credit(sum(len(data) for data, _ in parts))
