"""Requests to stores, and what was fetched from them. Any thread may call anything here."""

from collections.abc import Callable
from typing import Final

from salver.metrics.catalogue import BY_NAME
from salver.metrics.cells import Counters
from salver.metrics.text import Cell, Family

__all__ = ["FetchMetrics"]

_MOST_CELLS: Final = 10_000


class FetchMetrics:
    """All that is counted of stores.

    Attributes:
        cache_bytes: tells what the model cache takes; None where there is none.
        on_fetch: hears of what `fetched` is told.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.cache_bytes: Callable[[], int] | None = None
        self.on_fetch: Callable[[str, int, float, bool], object] = _nobody
        self._requests = Counters(BY_NAME["salver_remote_requests_total"], most_cells=_MOST_CELLS)
        self._bytes = Counters(BY_NAME["salver_fetched_bytes_total"], most_cells=_MOST_CELLS)
        self._seconds = Counters(BY_NAME["salver_fetch_seconds_total"], most_cells=_MOST_CELLS)

    def requested(self, scheme: str, operation: str, code: str) -> None:
        """A request to a store has ended."""
        self._requests.add(scheme, operation, code)

    def fetched(self, model: str, count: int, seconds: float, is_success: bool) -> None:
        """A fetch has ended.

        Args:
            model: its name.
            count: bytes that it has brought.
            seconds: it took.
            is_success: whether all is there.
        """
        self._bytes.add(model, by=count)
        self._seconds.add(model, by=seconds)
        self.on_fetch(model, count, seconds, is_success)

    def families(self) -> list[Family]:
        """What the page shows."""
        families = [each.family() for each in (self._requests, self._bytes, self._seconds)]
        size_bytes = 0 if self.cache_bytes is None else self.cache_bytes()
        cells: list[Cell] = [((), size_bytes)] if size_bytes else []
        return [*families, Family(BY_NAME["salver_model_cache_bytes"], cells)]


def _nobody(_model: str, _count: int, _seconds: float, _is_success: bool) -> None:
    """The default of `on_fetch`."""
