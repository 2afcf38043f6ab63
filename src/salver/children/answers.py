"""The answers of one run as a child sends them: no further ahead than the server has taken them.

The server says how many it has taken (`Kind.CREDIT`), in a message that does not wait behind a run.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from salver.children.wire import Kind, Link
from salver.vocabulary.requests import Array

__all__ = ["COUNT_MASK", "MOST_AHEAD", "MOST_BYTES_AHEAD", "SentAnswers", "size_of"]

MOST_AHEAD: Final = 32
"""Answers that a run may be ahead of who takes them; see `docs/decisions/streams.md`."""
MOST_BYTES_AHEAD: Final = 1 << 20
"""Bytes of them, beyond which there is no other: one of any size there may always be."""
COUNT_MASK: Final = (1 << 32) - 1  # of what is taken


class SentAnswers:
    """See `salver.vocabulary.model.Answers`.

    Attributes:
        is_complete: whether the last one was sent as such.
        is_stopped: see there.
        is_noticed: whether who makes the answers knows that, and is to end undisturbed.
    """

    __slots__ = (
        "_ahead_bytes",
        "_link",
        "_number",
        "_places",
        "_room",
        "_sizes",
        "_taken",
        "_undisturbed",
        "_when_room",
        "is_complete",
        "is_noticed",
        "is_stopped",
    )

    def __init__(
        self,
        link: Link,
        number: int,
        places: Sequence[int] | None = None,
        undisturbed: AbstractContextManager[None] | None = None,
    ) -> None:
        """Send none yet.

        Args:
            link: to the server.
            number: of the run.
            places: of the outputs that are sent; None for all.
            undisturbed: while it is entered nothing stops the run by an exception.
        """
        self.is_complete = False
        self.is_stopped = False
        self.is_noticed = False
        self._link = link
        self._number = number
        self._places = places
        self._undisturbed = undisturbed or nullcontext()
        self._room = threading.Condition(threading.Lock())  # guards what follows
        self._sizes: deque[int] = deque()  # of the answers that nobody has taken
        self._ahead_bytes = 0
        self._taken = 0
        self._when_room: list[Callable[[], None]] = []

    @property
    def has_room(self) -> bool:
        """See `Answers`."""
        return not self.is_stopped and self._is_below(MOST_AHEAD, MOST_BYTES_AHEAD)

    def _is_below(self, most: int, most_bytes: int) -> bool:
        return len(self._sizes) < most and (self._ahead_bytes < most_bytes or not self._sizes)

    def send(self, outputs: list[Array], *, is_last: bool = False) -> None:
        """See `Answers`; raises ServingError for what is no tensor."""
        with self._undisturbed:
            if self.is_stopped:
                return
            if self._places is not None:
                outputs = [outputs[place] for place in self._places]
            size = size_of(outputs)
            kind = Kind.DONE if is_last else Kind.PART
            parts, segment = self._link.pack(kind, self._number, arrays=outputs)
            self.is_complete = is_last
            with self._room:
                self._sizes.append(size)
                self._ahead_bytes += size
            self._link.transmit(parts, segment)

    def wait(self, times: int = 1) -> bool:
        """See `Answers`; `times` as many as usual may be ahead."""
        with self._undisturbed:
            if not self.has_room:
                most, most_bytes = times * MOST_AHEAD, times * MOST_BYTES_AHEAD
                with self._room:
                    while not (self.is_stopped or self._is_below(most, most_bytes)):
                        self._room.wait()
            if self.is_stopped:
                self.is_noticed = True
            return not self.is_stopped

    def when_room(self, call: Callable[[], None]) -> None:
        """See `Answers`."""
        with self._room:
            if not self.has_room:
                self._when_room.append(call)
                return
        call()

    # -- what the server says; in the thread of orders -------------------------------------------

    def credit(self, taken: int) -> None:
        """So many answers were taken, since the first one."""
        with self._room:
            while self._sizes and self._taken != taken:
                self._ahead_bytes -= self._sizes.popleft()
                self._taken = (self._taken + 1) & COUNT_MASK
            calls: list[Callable[[], None]] = []
            if self.has_room:
                self._room.notify_all()
                calls, self._when_room = self._when_room, []
        for call in calls:
            call()

    def stop(self) -> None:
        """Nobody waits for more. What waits in an event loop is cancelled by others."""
        with self._room:
            self.is_stopped = True
            self._room.notify_all()


def size_of(outputs: Sequence[Array]) -> int:
    """The bytes of an answer, those of its strings counted."""
    size = 0
    for array in outputs:
        size += array.nbytes
        if array.dtype.hasobject:
            size += sum(map(len, array.flat))
    return size
