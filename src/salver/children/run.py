"""A run of a model, as it waits for a child, is made by one, and is settled."""

from typing import TYPE_CHECKING, Any

from salver.children.wire import Kind, Message, WrongMessage
from salver.errors import ServingError
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.requests import Array

if TYPE_CHECKING:
    from salver.children.child import Child

__all__ = ["Outcome", "Run"]

Outcome = list[Array] | ServingError


class Run:
    """One run of a model in a child. Subclasses say what becomes of its outcome.

    Attributes:
        key: of the program, as the child is told it.
        feeds: until they were sent.
        child: that it was given to; None while it waits.
        number: by which that child knows it.
        began_s: when it was given to the child, by `time.monotonic`.
        is_given_up: whether nobody waits for it.
        is_merged: whether it is of several requests, none of which can stop it alone.
        is_batch: whether it waits behind interactive ones.
        timeout_s: how long somebody waits for it; None: for ever.
        kind: how the child is asked: for one answer, or for several.
    """

    kind = Kind.RUN
    __slots__ = (
        "began_s", "child", "feeds", "is_batch", "is_given_up", "is_merged", "key", "number",
        "timeout_s",
    )  # fmt: skip

    def __init__(self, key: tuple[Any, ...], feeds: list[Array]) -> None:
        self.key = key
        self.feeds: list[Array] = feeds
        self.child: Child | None = None
        self.number = 0
        self.began_s = 0.0
        self.is_given_up = False
        self.is_merged = False
        self.is_batch = current_priority.get() is Priority.BATCH
        self.timeout_s: float | None = None

    def part(self, message: Message) -> None:
        """One of its answers has come; in the loop.

        Raises:
            WrongMessage: it was to have one alone.
        """
        raise WrongMessage("a run has answers one by one that was to have one")

    def settle(self, outcome: Outcome) -> None:
        """It is over. Called once, in the loop or in the thread that asked for it."""
        raise NotImplementedError
