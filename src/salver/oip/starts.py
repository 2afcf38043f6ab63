"""Starts of runs that keep to what a request says of its time and its priority."""

from collections.abc import Callable, Sequence
from typing import Any

from salver.inference.servable import Start
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.requests import Array

__all__ = ["InBatch", "Limited"]


class InBatch:
    """The start of a run that waits behind those of interactive requests; see `Start`."""

    __slots__ = ("_start",)

    def __init__(self, start: Start) -> None:
        """Start like another, but for the wait."""
        self._start = start

    def __call__(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> Any:
        token = current_priority.set(Priority.BATCH)
        try:
            return self._start(feeds, timeout_s=timeout_s, on_end=on_end)
        finally:
            current_priority.reset(token)

    def __eq__(self, other: object) -> bool:
        """So that it is known of which signature it is, where a run fails."""
        return self._start == other

    def __hash__(self) -> int:
        return hash(self._start)


class Limited:
    """The start of a run that may take no longer than the request allows; see `Start`."""

    __slots__ = ("_start", "_timeout_s")

    def __init__(self, start: Start, timeout_s: float) -> None:
        """Start like another, with no more time than this."""
        self._start = start
        self._timeout_s = timeout_s

    def __call__(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> Any:
        limit_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        return self._start(feeds, timeout_s=limit_s, on_end=on_end)

    def __eq__(self, other: object) -> bool:
        """So that it is known of which signature it is, where a run fails."""
        return self._start == other

    def __hash__(self) -> int:
        return hash(self._start)
