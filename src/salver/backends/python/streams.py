"""The answers of a model that gives several to one request: a generator, async or not.

It is asked for the next one while there is room for it, and closed when nobody waits for more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from salver.backends.python.event_loop import EventLoop
from salver.backends.python.failures import running
from salver.errors import Internal
from salver.vocabulary.model import Answers
from salver.vocabulary.requests import Array

__all__ = ["NOTHING_TEXT", "Begin", "LastAnswer", "Take", "send_all", "send_all_async"]

NOTHING_TEXT = "The model has yielded nothing"

Take = Callable[[Any], list[Array]]
"""Makes arrays of what a model gives: all outputs of the signature, checked."""

Begin = Callable[[dict[str, Array], Take, Answers, "EventLoop | None"], "Future[None]"]
"""Begins a run that answers by other ways than to return or yield: the inputs, see there, who takes
the answers, and the loop of a model that has one. Done when there are no more answers."""


def send_all(
    what: str,
    call: Callable[[dict[str, Array]], Any],
    inputs: dict[str, Array],
    take: Take,
    answers: Answers,
) -> None:
    """Run a method, and send what it yields, or returns.

    Args:
        what: is run, for the log.
        call: the method.
        inputs: its.
        take: see there.
        answers: where they go.

    Raises:
        ServingError: the method has failed; what was sent before was good.
    """
    with running(what):
        given = call(inputs)
        if isinstance(given, Iterator):
            _send_each(given, take, answers)
        else:
            answers.send(take(given), is_last=True)


def _send_each(values: Iterator[Any], take: Take, answers: Answers) -> None:
    try:
        for value in values:
            answers.send(take(value))
            if not answers.wait():
                return
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            close()


async def send_all_async(
    what: str,
    call: Callable[[dict[str, Array]], Any],
    inputs: dict[str, Array],
    take: Take,
    answers: Answers,
) -> None:
    """The same for an `async def`; see `send_all`."""
    with running(what, is_async=True):
        given = call(inputs)
        if not isinstance(given, AsyncIterator):
            given = await given
        if isinstance(given, AsyncIterator):
            await _send_each_async(given, take, answers)
        elif isinstance(given, Iterator):
            await _send_each_async(_as_async(given), take, answers)
        else:
            answers.send(take(given), is_last=True)


async def _send_each_async(values: AsyncIterator[Any], take: Take, answers: Answers) -> None:
    try:
        async for value in values:
            answers.send(take(value))
            if not answers.has_room:
                await _room(answers)  # where nobody waits for more, until it is cancelled
    finally:
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()


async def _as_async(values: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        for value in values:
            yield value
            await asyncio.sleep(0)  # what else the model does has its turn
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            close()


async def _room(answers: Answers) -> None:
    loop = asyncio.get_running_loop()
    room = loop.create_future()

    def call() -> None:  # in any thread
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_set, room)

    answers.when_room(call)
    await room


def _set(room: "asyncio.Future[None]") -> None:
    if not room.done():
        room.set_result(None)


class LastAnswer:
    """See `Answers`. Keeps the last one, for who waits for no other.

    Attributes:
        future: of it; to cancel it stops the run.
    """

    has_room = True

    def __init__(self) -> None:
        self.is_stopped = False
        self.future: Future[list[Array]] = _Cancelling(self)
        self._last: list[Array] | None = None

    def follow(self, run: "Future[None]") -> None:
        """Be done when a run is."""
        self._run = run
        run.add_done_callback(self._done)

    def send(self, outputs: list[Array], *, is_last: bool = False) -> None:
        """See `Answers`."""
        del is_last
        self._last = outputs

    def wait(self, times: int = 1) -> bool:
        """See `Answers`."""
        del times
        return not self.is_stopped

    def when_room(self, call: Callable[[], None]) -> None:
        """See `Answers`."""
        call()

    def stop(self) -> None:
        """Nobody waits for it."""
        self.is_stopped = True
        self._run.cancel()

    def _done(self, run: "Future[None]") -> None:
        last, self._last = self._last, None
        error = CancelledError() if run.cancelled() else run.exception()
        if error is not None:
            self.future.set_exception(error)
        elif last is None:
            self.future.set_exception(Internal(NOTHING_TEXT))
        else:
            self.future.set_result(last)


class _Cancelling(Future[list[Array]]):
    """Done when the run is, also where it is cancelled."""

    def __init__(self, answer: LastAnswer) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._answer = answer

    def cancel(self) -> bool:
        self._answer.stop()
        return True
