"""Loads and warmups of versions. Any thread may call anything here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Final, Protocol

from salver.metrics.catalogue import BY_NAME
from salver.metrics.cells import Counters, Histograms
from salver.metrics.text import Family

__all__ = ["MOST_PATHS", "LoadMetrics", "OnLoad"]

MOST_PATHS: Final = 1000
"""Version directories that are listed at a time; a server may see a new one every minute."""

OnLoad = Callable[[str, int, float, bool], object]
"""Told of a try to load a version: the model, the version, its seconds, whether it succeeded."""

_SAVED_MODEL: Final = "/tensorflow/cc/saved_model/"
_SERVING: Final = "/tensorflow/serving/"


class LoadMetrics:
    """All that is counted of loads.

    Attributes:
        on_load: hears of each; set while the server is made.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.attempts = Counters(
            BY_NAME[f"{_SAVED_MODEL}load_attempt_count"], most_cells=2 * MOST_PATHS
        )
        self.latency = Counters(BY_NAME[f"{_SAVED_MODEL}load_latency"], most_cells=MOST_PATHS)
        self._warmup_latency = Histograms(
            BY_NAME[f"{_SERVING}model_warmup_latency"], most_cells=MOST_PATHS
        )
        self._warmup_records = Counters(
            BY_NAME[f"{_SERVING}model_warmup_records_read"], most_cells=MOST_PATHS
        )
        self._loads = Counters(BY_NAME["salver_loads_total"])
        self._seconds = Counters(BY_NAME["salver_load_seconds_total"])
        self._last_seconds = Counters(BY_NAME["salver_last_load_seconds"])
        self.on_load: OnLoad = _nobody

    def model_loaded(self, path: str, seconds: float, *, is_success: bool) -> None:
        """A backend has tried to load a version, its warmup not included.

        Args:
            path: the version's directory.
            seconds: it took.
            is_success: whether there is a model now.
        """
        self.attempts.add(path, "success" if is_success else "fail")
        self.latency.add(path, by=round(seconds * 1e6))

    def version_loaded(self, model: str, seconds: float, *, is_success: bool) -> None:
        """A try to load a version is over, its warmup included."""
        self._loads.add(model, "success" if is_success else "failure")
        self._seconds.add(model, by=seconds)
        if is_success:
            self._last_seconds.put(model, value=seconds)

    @contextmanager
    def timed_model(self, path: str) -> Iterator[None]:
        """Within it a backend tries to load a version; see `model_loaded`."""
        with _timed(partial(self.model_loaded, path)):
            yield

    @contextmanager
    def timed_version(self, model: str, version: int) -> Iterator[None]:
        """Within it a version is loaded and warmed up; see `version_loaded`."""

        def tell(seconds: float, /, *, is_success: bool) -> None:
            self.version_loaded(model, seconds, is_success=is_success)
            self.on_load(model, version, seconds, is_success)

        with _timed(tell):
            yield

    def warmed_up(self, path: str, status: str, micros: int, records: int) -> None:
        """A version has been warmed up, or failed to be.

        Args:
            path: its directory.
            status: `OK`, or the code and message of the error.
            micros: it took.
            records: that were read from its file.
        """
        self._warmup_latency.observe(path, status, value=micros)
        if records:
            self._warmup_records.add(path, status, by=records)

    def families(self) -> list[Family]:
        """What has been counted by now."""
        counters = (
            *(self.attempts, self.latency, self._warmup_records),
            *(self._loads, self._seconds, self._last_seconds),
        )
        return [self._warmup_latency.family(), *(each.family() for each in counters)]


class _Told(Protocol):
    def __call__(self, seconds: float, /, *, is_success: bool) -> None: ...


def _nobody(_model: str, _version: int, _seconds: float, _is_success: bool) -> None:
    """The default of `on_load`."""


@contextmanager
def _timed(tell: _Told) -> Iterator[None]:
    begun_s = perf_counter()
    try:
        yield
    except BaseException:
        tell(perf_counter() - begun_s, is_success=False)
        raise
    tell(perf_counter() - begun_s, is_success=True)
