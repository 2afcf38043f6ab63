"""Polls of several stores at a time: one that hangs holds up no other, and is heard at its end."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, Protocol

from salver.sources.protocol import Found

__all__ = ["NEVER_S", "Polled", "Polls", "next_poll_s"]

NEVER_S: Final = float("inf")

_AT_ONCE: Final = 8  # polls, beside those that are late
_MOST: Final = 64  # polls, with those
_AGAIN_S: Final = 0.25  # until what was late is listened to again
_SOONEST_S: Final = 0.02


class Polled(Protocol):
    """Something that is polled by itself, in one thread at a time."""

    due_s: float
    """When it is to be polled next."""

    def poll(self, now_s: float) -> list[Found]:
        """Poll once, and say when to poll next."""
        ...


class Polls:
    """The polls that are under way. Its methods are called from one thread."""

    def __init__(self, clock: Callable[[], float], quiet_s: float) -> None:
        """Poll nothing yet.

        Args:
            clock: seconds, monotonic.
            quiet_s: when none has ended for so long, those under way are late: they are not waited
                for any more, and heard once they end.
        """
        self._clock = clock
        self._quiet_s = quiet_s
        self._done = queue.SimpleQueue[tuple[Polled, list[Found] | BaseException]]()
        self._unheard: set[Polled] = set()
        self._lock = threading.Lock()  # guards what follows
        self._waiting: deque[Polled] = deque()
        self._running: set[Polled] = set()
        self._late: set[Polled] = set()  # of these

    def find(self, polled: Collection[Polled]) -> Iterator[Found]:
        """Poll those that are due, and tell what was found since the last call.

        What a poll raises is raised when the others have been heard.
        """
        now_s = self._clock()
        due = [each for each in polled if each.due_s <= now_s and each not in self._unheard]
        self._unheard.update(due)
        with self._lock:
            self._waiting.extend(due)
        wanted, raised = frozenset(polled), None
        wait_s = self._quiet_s if due else self._idle_s(polled, now_s)
        while self._is_expecting() or wait_s > 0:
            try:
                each, found = self._done.get(timeout=wait_s or self._quiet_s)
            except queue.Empty:
                with self._lock:
                    self._late.update(self._running)
                wait_s = 0.0
                continue
            wait_s = 0.0
            self._unheard.discard(each)
            if isinstance(found, BaseException):
                raised = found
            elif each in wanted:
                yield from found
        if raised is not None:
            raise raised

    def next_s(self, polled: Iterable[Polled], poll_wait_s: float) -> float:
        """See `next_poll_s`; soon, while polls are under way."""
        if poll_wait_s < 0 or not self._unheard:
            return next_poll_s(polled, poll_wait_s, self._clock())
        others = (each for each in polled if each not in self._unheard)
        return min(_AGAIN_S, next_poll_s(others, _AGAIN_S, self._clock()))

    def _idle_s(self, polled: Iterable[Polled], now_s: float) -> float:
        """How long to listen to those that are late, since no other is due."""
        if not self._unheard:
            return 0.0
        others = (each for each in polled if each not in self._unheard)
        return min(self._quiet_s, next_poll_s(others, self._quiet_s, now_s))

    def _is_expecting(self) -> bool:
        """Whether a poll will soon have ended; begins those that may begin."""
        while (each := self._next()) is not None:
            thread = threading.Thread(
                target=self._work, args=(each,), name="salver-list", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                with self._lock:
                    self._running.discard(each)
                    self._waiting.appendleft(each)
                    if not self._running:
                        raise
                break
        with self._lock:
            return len(self._unheard) > len(self._late) + len(self._waiting)

    def _next(self) -> Polled | None:
        """The next to be polled, in another thread than those that poll."""
        with self._lock:
            return self._taken()

    def _taken(self) -> Polled | None:
        """Under the lock."""
        count = len(self._running)
        if not self._waiting or count >= _MOST or count - len(self._late) >= _AT_ONCE:
            return None
        each = self._waiting.popleft()
        self._running.add(each)
        return each

    def _work(self, first: Polled) -> None:
        each: Polled | None = first
        while each is not None:
            begun_s = self._clock()
            found: list[Found] | BaseException
            try:
                found = each.poll(begun_s)
                each.due_s += self._clock() - begun_s  # after its end, however long it took
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                found = error
            before = each
            with self._lock:
                self._running.discard(before)
                self._late.discard(before)
                each = self._taken()
            self._done.put((before, found))


def next_poll_s(polled: Iterable[Polled], poll_wait_s: float, now_s: float) -> float:
    """What `Source.poll_wait_s` is: until the next of them is due."""
    if poll_wait_s < 0:
        return poll_wait_s
    next_s = min((each.due_s for each in polled), default=NEVER_S)
    return poll_wait_s if next_s == NEVER_S else max(_SOONEST_S, next_s - now_s)
