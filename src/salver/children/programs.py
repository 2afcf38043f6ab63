"""A model that children run, as the rest of the server sees it: its programs, and their runs."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from salver.children.run import Outcome, Run
from salver.errors import DeadlineExceeded, ServingError
from salver.scheduling.merge import check_outputs
from salver.vocabulary.model import TensorNames
from salver.vocabulary.requests import Array

__all__ = ["DEADLINE_TEXT", "ChildGraph", "ChildProgram", "Runs", "hand_over"]

DEADLINE_TEXT: Final = "Timed out waiting for notification"


class Runs(Protocol):
    """What makes the runs of one version. Safe to use from any thread."""

    def submit(self, run: Run, *, is_limited: bool) -> None:
        """Have a run made, as soon as there is a child for it.

        Raises:
            Overloaded: too many wait already, or for longer than it may take.
            Unavailable: it is closed.
        """
        ...

    def give_up(self, run: Run) -> None:
        """Nobody waits for a run any more; called in the loop."""
        ...


class ChildProgram:
    """See `Program`, and `StartableProgram`. Whether there is such a program its first run tells.

    Attributes:
        can_loop: nothing of it is ever run in the event loop.
    """

    __slots__ = ("_key", "_runs", "can_loop")

    def __init__(self, runs: Runs, key: tuple[Any, ...]) -> None:
        self._runs = runs
        self._key = key
        self.can_loop = True

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Have it run, and wait. Not to be called in the loop."""
        run = _AwaitedRun(self._key, list(feeds))
        run.is_merged = True
        self._runs.submit(run, is_limited=False)
        del feeds
        return run.wait()

    run_in_caller = run
    run_inline = run

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "asyncio.Future[list[Array]]":
        """Have it run; called in the loop. No thread waits for it."""
        return self._start(feeds, None, timeout_s, on_end)

    def start_lone(
        self,
        feeds: Sequence[Array],
        rows: int,
        *,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        """The same, of what would be merged with others if there were any; see `StartsLone`."""
        return self._start(feeds, rows, timeout_s, on_end)

    def _start(
        self,
        feeds: Sequence[Array],
        rows: int | None,
        timeout_s: float | None,
        on_end: Callable[[], None],
    ) -> "asyncio.Future[list[Array]]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Array]] = loop.create_future()
        run = _StartedRun(self._key, list(feeds), self._runs, answer, on_end, rows)
        run.timeout_s = timeout_s
        try:
            # What is merged has a queue of its own, which is limited.
            self._runs.submit(run, is_limited=rows is None)
        except BaseException:
            on_end()
            raise
        if timeout_s is not None:
            run.timer = loop.call_later(timeout_s, run.expire)
        answer.add_done_callback(run.answered)
        return answer


class _StartedRun(Run):
    """A run for which a future of the loop waits."""

    __slots__ = ("_rows", "answer", "is_settled", "on_end", "runs", "timer")

    def __init__(
        self,
        key: tuple[Any, ...],
        feeds: list[Array],
        runs: Runs,
        answer: "asyncio.Future[list[Array]]",
        on_end: Callable[[], None],
        rows: int | None,
    ) -> None:
        super().__init__(key, feeds)
        self._rows = rows
        self.runs = runs
        self.answer = answer
        self.on_end = on_end
        self.is_settled = False
        self.timer: asyncio.TimerHandle | None = None

    def settle(self, outcome: Outcome) -> None:
        if self.is_settled:
            return
        self.is_settled = True
        self.on_end()
        answer = self.answer
        if answer.done():
            return
        if self._rows is not None and not isinstance(outcome, ServingError):
            try:
                check_outputs(outcome, self._rows)
            except ServingError as error:
                outcome = error
        loop = answer.get_loop()
        try:
            is_in_loop = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_in_loop = False
        if is_in_loop:
            hand_over(answer, outcome)
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(hand_over, answer, outcome)

    def expire(self) -> None:
        """The deadline is over."""
        if not self.answer.done():
            self.answer.set_exception(DeadlineExceeded(DEADLINE_TEXT))

    def answered(self, _answer: "asyncio.Future[list[Array]]") -> None:
        """Somebody has the answer, or does not want it any more."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.is_settled:
            self.runs.give_up(self)


def hand_over(answer: "asyncio.Future[list[Array]]", outcome: Outcome) -> None:
    """Settle what somebody waits for, unless it is settled."""
    if answer.done():
        return
    if isinstance(outcome, ServingError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


class _AwaitedRun(Run):
    """A run for which a thread waits."""

    __slots__ = ("_outcome", "_over")

    def __init__(self, key: tuple[Any, ...], feeds: list[Array]) -> None:
        super().__init__(key, feeds)
        self._over = threading.Lock()
        self._over.acquire()
        self._outcome: Outcome = []

    def settle(self, outcome: Outcome) -> None:
        self._outcome = outcome
        with suppress(RuntimeError):  # settled twice
            self._over.release()

    def wait(self) -> list[Array]:
        with self._over:
            outcome = self._outcome
        if isinstance(outcome, ServingError):
            raise outcome
        return outcome


class ChildGraph:
    """See `Graph`."""

    def __init__(self, names: Mapping[str, TensorNames], runs: Runs) -> None:
        self.names = names
        self._runs = runs

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> ChildProgram:
        key = ("", None, tuple(feeds), tuple(fetches), tuple(targets))
        return ChildProgram(self._runs, key)
