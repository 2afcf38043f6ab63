"""What workers ask of their supervisor, and who of its parts answers."""

import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from typing import Any, Final

from salver.errors import ServingError, Unavailable
from salver.instruments.log_level import level_name, log_level, set_log_level
from salver.management.audit import Audit
from salver.workers import messages
from salver.workers.fetches import WorkerFetches
from salver.workers.file_messages import OfFiles
from salver.workers.futures import in_thread
from salver.workers.group import WorkerGroup
from salver.workers.isolation import Isolation
from salver.workers.member import Member
from salver.workers.notes import Notes
from salver.workers.reloads import Reloads
from salver.workers.reports import ReportStore
from salver.workers.server_metrics import ServerMetrics

__all__ = ["WorkerRequests"]

_OTHERS_S: Final = 1.0  # for workers to tell something


class WorkerRequests:
    """Answers the messages of workers. Called in the threads that hear them."""

    def __init__(
        self,
        group: WorkerGroup,
        *,
        reports: ReportStore,
        metrics: ServerMetrics,
        notes: Notes,
        isolation: Isolation,
        reloads: Reloads,
        fetches: WorkerFetches,
        audit: Audit,
        on_settled: Callable[[], None],
    ) -> None:
        """Answer by these parts.

        Args:
            group: all workers.
            reports: what they have counted.
            metrics: of the whole server.
            notes: what becomes of the processes of versions.
            isolation: runs versions that are isolated.
            reloads: changes the configuration.
            fetches: fetches for workers.
            audit: takes down who changes what is no part of the configuration.
            on_settled: called when a worker says that readiness is to stay as it is.
        """
        self._group = group
        self._reports = reports
        self._metrics = metrics
        self._notes = notes
        self._isolation = isolation
        self._reloads = reloads
        self._fetches = fetches
        self._audit = audit
        self._settled = on_settled

    def handle(self, member: Member, message: Any) -> Any:
        """Answer a message: what is returned, or comes of the future that is.

        Raises:
            Unavailable: nobody here knows such messages.
        """
        match message:
            case messages.Reading():
                self._reports.put(member, message)
                return None
            case messages.Scrape(reading):
                self._reports.put(member, reading)
                return in_thread("salver-scrape", lambda: self._metrics.scrape_others(member))
            case messages.Recall(reading):
                self._reports.put(member, reading)
                return in_thread("salver-recall", self._metrics.history)
            case messages.Note(id, text):
                self._notes.put(member.slot, id, text)
                return None
            case messages.RunIsolated(run):
                return self._isolation.run(run)
            case messages.Apply() | messages.SetLoaded() | messages.Administer():
                return self._reloads.begin(member, message)
            case messages.Settled():
                self._settled()
                return None
            case messages.Leave():
                self._reloads.left(member, message)
                return None
            case _ if isinstance(message, OfFiles):
                return self._fetches.handle(member, message)
            case _:
                return self._observed(member, message)

    def _observed(self, member: Member, message: Any) -> Any:
        """What is asked of, and changed in, all processes."""
        match message:
            case messages.TellSlow():
                return in_thread("salver-slow", lambda: self._slow_of_others(member))
            case messages.SetSampling():
                return in_thread("salver-sampling", lambda: self._set_sampling(message))
            case messages.SetLogLevel():
                return in_thread("salver-log-level", lambda: self._set_log_level(message))
            case _:
                raise Unavailable(f"A supervisor knows nothing of {type(message).__name__}")

    def _slow_of_others(self, asker: Member) -> list[Any]:
        asked = [
            each.request(messages.TakeSlow()) for each in self._group.members if each is not asker
        ]
        until_s, told = time.monotonic() + _OTHERS_S, []
        for answer in asked:
            with suppress(ServingError, TooLate):
                told.append(answer.result(max(0.0, until_s - time.monotonic())))
        return told

    def _set_sampling(self, message: messages.SetSampling) -> None:
        self._group.broadcast(lambda: messages.SetSampling(message.sampling))
        self._audit.adjusted(message.actor, "trace_ratio", None, message.sampling.ratio)
        self._group.sync()

    def _set_log_level(self, message: messages.SetLogLevel) -> None:
        level = message.level

        def make() -> messages.SetLogLevel:  # under the lock, so that all agree about the last one
            before = level_name(log_level())
            set_log_level(level)
            self._audit.adjusted(message.actor, "log_level", before, level_name(level))
            return messages.SetLogLevel(level)

        self._group.broadcast(make)
        self._group.sync()
