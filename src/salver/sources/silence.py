"""Notices that a source which was asked says nothing: a store that accepts and hangs, say."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ["Silence"]

_LEAST_S: Final = 0.1

_logger = logging.getLogger(__name__)

T = TypeVar("T")


class Silence:
    """Calls somebody each time that a source has said nothing for so long while it was asked.

    What it says is passed on in one thread; the calls come from another, which ends with `heard`.
    """

    def __init__(
        self,
        name: str,
        after_s: float,
        on_silence: Callable[[], object],
        begin: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen to nothing yet.

        Args:
            name: of the thread.
            after_s: how long a silence is, at least a tenth of a second.
            on_silence: called in a thread of its own.
            begin: what is before it is set is no silence.
            clock: seconds, monotonic.
        """
        self._name = name
        self._after_s = max(_LEAST_S, after_s)
        self._on_silence = on_silence
        self._begin = begin
        self._clock = clock
        self._over = threading.Event()
        self._asked_s: float | None = None  # None while the source waits for us

    def heard(self, ask: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Ask a source, once, and pass on what it says. Each is waited for anew."""
        with self._listening():
            said = None
            while True:
                self._asked_s = self._clock()
                try:
                    said = iter(ask()) if said is None else said
                    one = next(said)
                except StopIteration:
                    return
                finally:
                    self._asked_s = None
                yield one

    @contextmanager
    def _listening(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            _logger.info("A source that says nothing is not noticed: %s", error)
            yield
            return
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self) -> None:
        self._begin.wait()
        since_s = self._clock()
        while not self._over.wait(self._left_s(since_s)):
            if self._left_s(since_s) <= 0:
                self._on_silence()
                since_s = self._clock()

    def _left_s(self, since_s: float) -> float:
        """Until this silence, which began at a time or later, is one; all of it where none is."""
        asked_s = self._asked_s
        if asked_s is None:
            return self._after_s
        return max(since_s, asked_s) + self._after_s - self._clock()
