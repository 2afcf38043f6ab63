"""Runs in children that may answer more than once, as the rest of the server sees them.

Answers wait here until they are taken. The child is told how many were, and makes no more than a
bounded number ahead; see `answers`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from salver.children.answers import MOST_AHEAD, MOST_BYTES_AHEAD, size_of
from salver.children.programs import DEADLINE_TEXT, Runs, hand_over
from salver.children.run import Outcome, Run
from salver.children.wire import Kind, Message, WrongMessage
from salver.errors import DeadlineExceeded, Internal, ServingError
from salver.instruments.threads import Pool
from salver.vocabulary.requests import Array

__all__ = ["ChildStream", "StreamedRun"]

# Of what a run may be ahead: so many are told together.
_TOLD: Final = MOST_AHEAD // 2
_TOLD_BYTES: Final = MOST_BYTES_AHEAD // 2


class ChildStream:
    """Begins the runs of one program."""

    __slots__ = ("_copying", "_key", "_runs")

    def __init__(self, runs: Runs, key: tuple[Any, ...], copying: Pool) -> None:
        self._runs = runs
        self._key = key
        self._copying = copying

    def __call__(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "StreamedRun":
        """Begin; see `salver.inference.servable.Stream`."""
        run = StreamedRun(self._key, list(feeds), self._runs, self._copying, on_end)
        run.timeout_s = timeout_s
        try:
            self._runs.submit(run, is_limited=True)
        except BaseException:
            on_end()
            raise
        if timeout_s is not None:
            run.expires_in(timeout_s)
        return run


class StreamedRun(Run):
    """A run whose answers are taken one by one. All but `settle` belongs to the loop."""

    kind = Kind.STREAM
    __slots__ = (
        "_answers",
        "_copying",
        "_error",
        "_has_ended",
        "_has_last",
        "_is_closed",
        "_is_settled",
        "_loop",
        "_on_end",
        "_runs",
        "_taken",
        "_timer",
        "_told",
        "_untold_bytes",
        "_waiter",
    )

    def __init__(
        self,
        key: tuple[Any, ...],
        feeds: list[Array],
        runs: Runs,
        copying: Pool,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(key, feeds)
        self._loop = asyncio.get_running_loop()
        self._runs = runs
        self._copying = copying
        self._on_end = on_end
        self._answers: deque[Message | list[Array]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: ServingError | None = None
        self._has_ended = False  # no more answers come
        self._is_closed = False  # nobody takes them
        self._is_settled = False
        self._has_last = False
        self._taken = self._told = self._untold_bytes = 0

    # -- who takes the answers -------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether the model has said of the answer that was taken that it is the last one."""
        return self._has_last and not self._answers

    async def next(self) -> list[Array] | None:
        """The next answer; None after the last.

        Raises:
            ServingError: the run has failed. What it has answered before is handed out first, but
                for a deadline.
        """
        while not self._answers:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return None
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        answer = self._answers.popleft()
        if isinstance(answer, Message):
            answer = await self._read_elsewhere(answer)
        self._took(answer)
        return answer

    def close(self) -> None:
        """Nobody takes more; may be called again. The run is stopped where it goes on."""
        if self._is_closed:
            return
        self._is_closed = True
        self._answers.clear()
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_settled:
            self._runs.give_up(self)

    def expires_in(self, seconds: float) -> None:
        """Fail after that time."""
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if not self._has_ended:
            self._answers.clear()
            self._end(DeadlineExceeded(DEADLINE_TEXT))
            self.close()

    def _took(self, answer: list[Array]) -> None:
        self._taken += 1
        self._untold_bytes += size_of(answer)
        child = self.child
        is_much = self._taken - self._told >= _TOLD or self._untold_bytes >= _TOLD_BYTES
        if is_much and child is not None and not self._is_settled:
            self._told, self._untold_bytes = self._taken, 0
            child.credit(self.number, self._taken)

    async def _read_elsewhere(self, message: Message) -> list[Array]:
        loop = self._loop
        answer: asyncio.Future[list[Array]] = loop.create_future()

        def read() -> None:
            try:
                outcome: Outcome = message.take_arrays()
            except WrongMessage as error:
                outcome = Internal(f"The model's process has sent what is no answer: {error}")
            except MemoryError:
                outcome = Internal("There is no memory for what the model gives")
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(hand_over, answer, outcome)

        self._copying.submit(read)
        return await answer

    # -- the child -------------------------------------------------------------------------------

    def part(self, message: Message) -> None:
        """See `Run.part`."""
        if self._is_closed or self._has_ended:
            return
        self._answers.append(message if message.is_long else message.take_arrays())
        self._wake()

    def settle(self, outcome: Outcome) -> None:
        """See `Run.settle`."""
        if self._is_settled:
            return
        self._is_settled = True
        self._on_end()
        try:
            is_in_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_in_loop = False
        if is_in_loop:
            self._settled(outcome)
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settled, outcome)

    def _settled(self, outcome: Outcome) -> None:
        if self._has_ended or self._is_closed:
            return
        if isinstance(outcome, ServingError):
            self._end(outcome)
            return
        if outcome:
            self._has_last = True
            self._answers.append(outcome)
        self._end(None)

    def _end(self, error: ServingError | None) -> None:
        self._has_ended = True
        self._error = error
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
