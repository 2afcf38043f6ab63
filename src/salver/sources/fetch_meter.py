"""What fetches have brought, and how long they took: for the metrics page."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from salver.sources.protocol import Fetcher, Stage, Version

__all__ = ["FetchMeter", "OnFetched"]

_MOST_LEFT: Final = 1000

OnFetched = Callable[[str, int, float, bool], object]
"""Told of a fetch that has ended: the model, the bytes that it has brought, the seconds that it
took, and whether all is there."""


class FetchMeter:
    """Safe to use from any thread."""

    def __init__(self, on_fetched: OnFetched, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at nothing.

        Args:
            on_fetched: see there.
            clock: seconds, monotonic.
        """
        self._on_fetched = on_fetched
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[Version, int] = {}  # what fetches have brought that failed in the end

    def metered(self, model: str, fetcher: Fetcher) -> Fetcher:
        """A fetcher that does the same for a model, and is measured."""
        return _Metered(self, model, fetcher)

    def fetch(
        self, model: str, fetcher: Fetcher, version: Version, into: Path, stage: Stage
    ) -> None:
        """Fetch, and tell what came of it; see `Fetcher.fetch`."""
        with self._lock:
            before = self._left.pop(version, 0) if fetcher.can_resume else 0
        begun_s, counting = self._clock(), _CountingStage(stage, before)
        is_success = False
        try:
            fetcher.fetch(version, into, counting)
            is_success = True
        except BaseException:
            with self._lock:
                self._left[version] = max(before, counting.done_bytes)
                while len(self._left) > _MOST_LEFT:
                    del self._left[next(iter(self._left))]
            raise
        finally:
            brought = max(0, counting.done_bytes - counting.before_bytes)
            self._on_fetched(model, brought, self._clock() - begun_s, is_success)


class _Metered:
    def __init__(self, meter: FetchMeter, model: str, fetcher: Fetcher) -> None:
        self._meter = meter
        self._model = model
        self._fetcher = fetcher
        self.is_comparing = getattr(fetcher, "is_comparing", False)
        self.beside = getattr(fetcher, "beside", None)

    @property
    def can_resume(self) -> bool:
        return self._fetcher.can_resume

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        self._meter.fetch(self._model, self._fetcher, version, into, stage)


class _CountingStage:
    """A `Stage` that remembers how far it is."""

    def __init__(self, stage: Stage, before_bytes: int) -> None:
        self.before_bytes = before_bytes
        self._stage = stage
        self.check = stage.check
        self.wait = stage.wait
        self.done_bytes = 0

    def resumed(self, done_bytes: int) -> None:
        """Told by fetchers that know how much was there before: of a killed process, too."""
        self.before_bytes = self.done_bytes = done_bytes

    def progress(self, done_bytes: int) -> None:
        self.done_bytes = done_bytes
        self._stage.progress(done_bytes)
