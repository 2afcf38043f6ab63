"""One metrics page and one history of all processes, kept by the supervisor."""

from collections.abc import Callable, Iterable
from concurrent.futures import wait
from time import monotonic
from typing import Final

from salver.errors import Unavailable
from salver.metrics.history import History
from salver.metrics.merged import Report, merge
from salver.workers.member import Member
from salver.workers.messages import TakeReading
from salver.workers.periodic import Periodic
from salver.workers.reports import ReportStore

__all__ = ["HistoryRecorder", "ServerMetrics"]

_SCRAPE_S: Final = 0.5  # of a worker that does not answer sooner the last report counts


class HistoryRecorder(Periodic):
    """Ends a step of the history again and again. Safe to use from any thread."""

    def __init__(
        self,
        history: History,
        report: Callable[[], Report],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Record nothing yet.

        Args:
            history: the ring of steps.
            report: what all workers have counted, as far as they have reported.
            clock: the one of the ring.
        """
        super().__init__("salver-history", self._record, lambda: history.step_s)
        self._history = history
        self._report = report
        self._clock = clock

    def document(self) -> bytes:
        """What happened lately, up to now."""
        return self._history.document(self._report(), self._clock())

    def _record(self) -> None:
        self._history.record(self._report(), self._clock())


class ServerMetrics:
    """What all processes have counted. Safe to use from any thread."""

    def __init__(
        self,
        reports: ReportStore,
        present: Callable[[], Iterable[Member]],
        own_report: Callable[[], Report],
        history: History | None,
    ) -> None:
        """Read nothing yet.

        Args:
            reports: the last of each worker.
            present: all workers that have not ended.
            own_report: what the supervisor itself adds.
            history: the ring of steps; None where none is kept.
        """
        self._reports = reports
        self._present = present
        self._own_report = own_report
        self._recorder = None if history is None else HistoryRecorder(history, self._total)

    def start(self) -> None:
        """Begin to record the history."""
        if self._recorder is not None:
            self._recorder.start()

    def stop(self) -> None:
        """Record no more."""
        if self._recorder is not None:
            self._recorder.stop()

    def scrape_others(self, scraping: Member) -> list[Report]:
        """What everybody but one worker has counted by now. Waits for the others."""
        # Those that leave still answer requests, and those that come load models.
        others = (m for m in self._present() if m.has_greeted and m is not scraping)
        taking = {m.request(TakeReading()): m for m in others}
        done, _ = wait(taking, _SCRAPE_S)
        for answer in done:
            if answer.exception() is None:
                self._reports.put(taking[answer], answer.result())
        return [*self._reports.others(scraping), self._own_report()]

    def history(self) -> bytes:
        """The document of the history.

        Raises:
            Unavailable: none is kept.
        """
        if self._recorder is None:
            raise Unavailable("Nothing is remembered here")
        return self._recorder.document()

    def _total(self) -> Report:
        """What everybody has counted, as far as they have reported: a second ago at most."""
        return merge([*self._reports.others(None), self._own_report()])
