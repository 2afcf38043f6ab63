"""The event loop of a model that has `async def`: a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final, TypeVar

__all__ = ["EventLoop"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_END_S: Final = 5.0


class EventLoop:
    """Runs coroutines until it is closed. Thread-safe."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        # Daemon: a coroutine that blocks would keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin.

        Returns:
            What is done only when the coroutine is. To cancel it cancels the coroutine, which may
            take its time, or block for ever.
        """
        run = _Run[T](self._loop)
        self._loop.call_soon_threadsafe(run.begin, coroutine)
        return run

    def close(self) -> None:
        """Cancel what runs and end the thread, unless something in it blocks."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._run_until_closed()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=_END_S))
        finally:
            self._loop.close()

    def _run_until_closed(self) -> None:
        has_ended = False
        while not has_ended:
            try:
                self._loop.run_forever()
                has_ended = True
            except (SystemExit, KeyboardInterrupt) as error:  # noqa: PERF203 - a task that exits
                _log.error("A task of the model wanted to end its thread", exc_info=error)


class _Run(Future[T]):
    """A coroutine under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._loop = loop
        self._task: asyncio.Task[T] | None = None

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> None:
        """Begin; in the loop."""
        self._task = self._loop.create_task(coroutine)
        self._task.add_done_callback(self._ended)

    def cancel(self) -> bool:
        """Have it cancelled; whether it could be told that."""
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self.set_exception(CancelledError())
        elif (error := task.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(task.result())
