"""Messages to one thread, whose senders can wait until they have been decided on."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

__all__ = ["Mailbox", "Message", "release_waiting"]

Message = Callable[[], Any] | threading.Event
"""What the thread is to call; or what is set when all before it has been decided on."""

_LONGEST_WAIT_S: Final = 3600.0  # a retry interval may be longer than a queue can wait
# SimpleQueue.get sleeps for ever when its timeout passes before it has begun to (CPython 3.11).
_SHORTEST_WAIT_S: Final = 0.01


class Mailbox:
    """Messages in the order in which they came. Anybody puts; one thread takes."""

    def __init__(self) -> None:
        """Begin empty."""
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Add a message."""
        self._messages.put(message)

    def put_settle(self) -> threading.Event:
        """Add an event that is set when all messages before it have been decided on."""
        done = threading.Event()
        self._messages.put(done)
        return done

    def take(self, within_s: float | None) -> list[Message]:
        """All messages there are; waits for the first.

        Args:
            within_s: not longer than so many seconds; None for any time.
        """
        if within_s is not None:
            within_s = min(max(_SHORTEST_WAIT_S, within_s), _LONGEST_WAIT_S)
        try:
            first = self._messages.get(timeout=within_s)
        except queue.Empty:
            return []
        return [first, *self.take_rest()]

    def take_rest(self) -> list[Message]:
        """All messages there are now."""
        rest: list[Message] = []
        with suppress(queue.Empty):
            while True:
                rest.append(self._messages.get_nowait())
        return rest


def release_waiting(messages: list[Message]) -> None:
    """Wake those who wait for a decision: it has been made."""
    for message in messages:
        if isinstance(message, threading.Event):
            message.set()
