"""Versions that workers die of: isolated from all others, and tried in a process of their own.

One death or two isolate a version: no worker runs it any more, and its requests go to one process
that does nothing else. There it may go on dying without harm to anybody. Three deaths, that
process's among them, and it is quarantined: it ends with UNAVAILABLE, is unloaded everywhere, and
requests are refused. After a pause, longer each time, such a process is started once more and gets
one request at a time. A version that has answered there for long enough comes back to the workers.

Where no other model is served there is nobody to protect, and a version is only isolated when it
is quarantined.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol

from salver.errors import ServingError, Unavailable
from salver.vocabulary.servable import ServableId
from salver.workers.blame import DEATHS_TO_QUARANTINE, Blame, BlameShare
from salver.workers.causes import short_cause
from salver.workers.channel import ChannelEnded
from salver.workers.group import WorkerGroup
from salver.workers.isolation_record import FIRST_PAUSE_S, IsolationRecord
from salver.workers.member import Member
from salver.workers.messages import Describe, Description, Drain, Isolate, Run

__all__ = ["Isolation", "Lifecycle"]

_log = logging.getLogger(__name__)

_POLL_S: Final = 1.0  # whether a version is still wanted
_WORKERS_POLL_S: Final = 0.05
_WAIT_FOR_WORKERS_S: Final = 20.0
_ANSWER_S: Final = 10.0


class Lifecycle(Protocol):
    """The part of a `ServerCore` that is needed."""

    def quarantine(self, id: ServableId, error: ServingError) -> None: ...
    def load_again(self, id: ServableId) -> None: ...
    def is_quarantined(self, id: ServableId) -> bool: ...


class Isolation:
    """Decides which versions are isolated, and keeps their processes. Thread-safe."""

    def __init__(
        self,
        group: WorkerGroup,
        lifecycle: Lifecycle,
        start: Callable[[Callable[[Member], None]], Member],
        *,
        is_complete: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """Begin with no version.

        Args:
            group: the workers.
            lifecycle: what decides about versions.
            start: starts a process that serves nobody, whose `Member` is yet to be started;
                is given what is to be called when it has ended.
            is_complete: whether all workers are there, so that none is kept from coming up.
            clock: seconds, monotonic.
            wait: waits for an event, so many seconds at most.
        """
        self._group = group
        self._lifecycle = lifecycle
        self._start = start
        self._is_complete = is_complete
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()  # guards what follows
        self._blame = Blame()
        self._records: dict[ServableId, IsolationRecord] = {}
        self._ever: set[str] = set()
        self._is_stopping = False

    def died(self, code: int, answers: Mapping[ServableId, int]) -> None:
        """A worker has died of one of the versions that it ran.

        Args:
            code: its exit status.
            answers: these versions, and how many requests each has answered so far.
        """
        with self._lock:
            quarantined = [record.id for record in self._records.values() if record.is_quarantined]
            self._blame.died(self._clock(), short_cause(code), answers)
            for id, share in self._blame.shares(quarantined).items():
                self._decide(id, share)

    def quarantined(self) -> dict[str, int]:
        """Model → how many of its versions are quarantined; of all that ever had one."""
        with self._lock:
            counts = dict.fromkeys(self._ever, 0)
            for record in self._records.values():
                if record.is_quarantined:
                    counts[record.id.name] += 1
            return counts

    def run(self, run: Run) -> "Future[bytes]":
        """Run a version that is isolated.

        Returns:
            A future of the outputs; see `Run`.

        Raises:
            Unavailable: it cannot be run now.
        """
        with self._lock:
            record = self._records.get(run.id)
            if record is None:
                raise Unavailable(f"Servable {run.id} is not isolated any more; try again")
            member = record.member
            if member is None or record.is_full:
                raise Unavailable(record.reason)
            record.running += 1
        answer: Future[bytes] = Future()
        member.request(run).add_done_callback(lambda run: self._ran(record, member, run, answer))
        return answer

    def clear(self, name: str | None = None) -> tuple[ServableId, ...]:
        """Bring versions back, whatever they have done.

        Args:
            name: of their model; None for all models.

        Returns:
            Those that were isolated or quarantined.
        """
        with self._lock:
            records = [
                record for record in self._records.values() if name in (None, record.id.name)
            ]
            for record in records:
                del self._records[record.id]
            for id in self._blame.suspects():
                if name in (None, id.name):
                    self._blame.forget(id)
        for record in records:
            _log.info("%s is brought back by hand", record.id)
            record.changed.set()
            if record.is_quarantined:
                self._group.forget_isolated(record.id)
                self._lifecycle.load_again(record.id)
            else:
                self._end_isolation(record)
        return tuple(record.id for record in records)

    def stop(self) -> None:
        """Isolate nothing any more. The processes are ended by who started them."""
        with self._lock:
            self._is_stopping = True
            records, self._records = list(self._records.values()), {}
        for record in records:
            record.changed.set()

    # -- under the lock --------------------------------------------------------------------------

    def _decide(self, id: ServableId, share: BlameShare) -> None:
        record = self._records.get(id)
        if record is not None and record.share != share:
            record.share = share
            if record.member is None:
                self._group.update_isolated(Isolate(id, record.reason))
        if self._is_stopping or not share.is_grave:
            return
        is_to_end = share.is_at_least(DEATHS_TO_QUARANTINE)
        if record is None:
            if not is_to_end and not self._group.serves_others(id):
                return
            record = self._isolate(id, share)
        if record is not None and is_to_end and not record.is_quarantined:
            self._quarantine(record)

    def _isolate(self, id: ServableId, share: BlameShare) -> IsolationRecord | None:
        source = self._group.source_of(id)
        if source is None:
            return None
        record = IsolationRecord(id, source, share)
        if not self._group.isolate(Isolate(id, record.reason)):
            return None
        self._records[id] = record
        _log.error("%s; it is run by a process of its own", record.reason)
        name = f"salver-isolated-{id.name}-{id.version}"
        threading.Thread(target=self._keep, args=(record,), name=name, daemon=True).start()
        return record

    def _quarantine(self, record: IsolationRecord) -> None:
        record.is_quarantined = True
        record.member = None
        pause_s = record.pause(self._clock())
        self._ever.add(record.id.name)
        _log.error("%s; it is tried again in %g s", record.reason, pause_s)
        self._group.update_isolated(Isolate(record.id, record.reason))
        self._lifecycle.quarantine(record.id, Unavailable(record.reason))
        record.changed.set()

    def _is_open(self, record: IsolationRecord) -> bool:
        return not self._is_stopping and self._records.get(record.id) is record

    # -- the thread of a version -----------------------------------------------------------------

    def _keep(self, record: IsolationRecord) -> None:
        while self._is_wanted(record):
            if self._is_due(record):
                self._try(record)
            else:
                self._pause(record, _POLL_S if record.retry_at_s else _WORKERS_POLL_S)
        with self._lock:
            is_given_up = self._records.get(record.id) is record
            if is_given_up:
                del self._records[record.id]
                self._blame.forget(record.id)
        if is_given_up:
            self._group.forget_isolated(record.id)

    def _pause(self, record: IsolationRecord, seconds: float = _POLL_S) -> None:
        self._wait(record.changed, seconds)
        record.changed.clear()

    def _is_wanted(self, record: IsolationRecord) -> bool:
        with self._lock:
            if not self._is_open(record):
                return False
        return self._group.is_isolated(record.id) or self._lifecycle.is_quarantined(record.id)

    def _is_due(self, record: IsolationRecord) -> bool:
        """Whether a process may be started; one for the first time only beside all workers."""
        now_s = self._clock()
        if record.retry_at_s:
            return now_s >= record.retry_at_s
        record.since_s = record.since_s or now_s
        return self._is_complete() or now_s - record.since_s >= _WAIT_FOR_WORKERS_S

    def _try(self, record: IsolationRecord) -> None:
        """Have a process run it, until that ends or the version comes back."""
        record.is_trial, record.has_ended = record.is_quarantined, False

        def end(_member: Member) -> None:
            record.has_ended = True
            record.changed.set()

        try:
            member = self._start(end)
        except (OSError, RuntimeError) as error:
            self._cannot_try(record, error)
            return
        try:
            description = self._bring_up(member, record)
            if description is not None and self._open(record, member, description):
                self._watch(record, member)
        finally:
            self._let_go(record, member)

    def _bring_up(self, member: Member, record: IsolationRecord) -> Description | None:
        member.start()
        member.said_hello.wait()
        try:
            member.load(record.id, record.source, is_alone=True).result()
            description: Description = member.request(Describe(record.id)).result(_ANSWER_S)
        except (ServingError, TimeoutError) as error:
            if isinstance(error, ChannelEnded) and not member.was_killed:
                self._died_alone(record, member)
            else:
                self._cannot_try(record, error)
            return None
        return description

    def _cannot_try(self, record: IsolationRecord, error: Exception) -> None:
        _log.error("%s cannot be loaded by a process of its own: %s", record.id, error)
        with self._lock:
            record.retry_at_s = self._clock() + FIRST_PAUSE_S

    def _open(self, record: IsolationRecord, member: Member, description: Description) -> bool:
        with self._lock:
            if not self._is_open(record) or record.is_quarantined != record.is_trial:
                return False
            record.open(member, self._clock())
            self._group.update_isolated(Isolate(record.id, record.reason, description))
        _log.info("%s is run by a process of its own (%d)", record.id, member.pid)
        return True

    def _watch(self, record: IsolationRecord, member: Member) -> None:
        while self._is_wanted(record) and record.is_quarantined == record.is_trial:
            if record.has_ended:
                self._died_alone(record, member)
                return
            with self._lock:
                is_proven = record.is_proven(self._clock())
                if not is_proven and record.is_in_vain(self._clock()):
                    record.pause(self._clock())
                    return
            if is_proven and self._comes_back(record):
                return
            if not record.has_ended:
                self._pause(record)

    def _died_alone(self, record: IsolationRecord, member: Member) -> None:
        with self._lock:
            record.member = None
            if not self._is_open(record):
                return
            was_quarantined = record.is_quarantined
            self._blame.died(self._clock(), short_cause(member.code or 0), {record.id: 0})
            share = self._blame.shares([record.id]).get(record.id, record.share)
            self._decide(record.id, share)
            self._group.update_isolated(Isolate(record.id, record.reason))
            pause_s = record.pause(self._clock()) if was_quarantined else 0.0
        _log.error("The process that runs %s has ended: %s", record.id, member.cause)
        if pause_s:
            _log.error("%s; it is tried again in %g s", record.reason, pause_s)

    def _comes_back(self, record: IsolationRecord) -> bool:
        """Give a version that has proven itself back to the workers; whether they have it."""
        with self._lock:
            if not self._is_open(record):
                return False
            self._blame.forget(record.id, keeping=1)
            runs = record.runs
        _log.info("%s has answered %d requests and comes back", record.id, runs)
        if record.is_quarantined:
            self._lifecycle.load_again(record.id)
            while self._is_wanted(record):  # until it is loaded: then it is neither
                self._pause(record)
            return True
        if not self._end_isolation(record):
            with self._lock:
                record.runs, record.since_s = 0, self._clock()
            return False
        with self._lock:
            if self._is_open(record):
                del self._records[record.id]
        return True

    def _end_isolation(self, record: IsolationRecord) -> bool:
        try:
            self._group.end_isolation(record.id)
        except ServingError as error:
            _log.error("%s cannot be brought back: %s", record.id, error.message)
            return False
        return True

    def _let_go(self, record: IsolationRecord, member: Member) -> None:
        with self._lock:
            if record.member is member:
                record.member = None
        if not member.ended.is_set():
            member.notify(Drain(0.0))
            if not member.ended.wait(_ANSWER_S):
                member.kill()
                member.ended.wait()

    # -- runs ------------------------------------------------------------------------------------

    def _ran(
        self, record: IsolationRecord, member: Member, run: "Future[Any]", answer: "Future[bytes]"
    ) -> None:
        error = run.exception()
        with self._lock:
            if record.member is member:
                record.running -= 1
                record.runs += not isinstance(error, ChannelEnded)
                if record.is_proven(self._clock()):
                    record.changed.set()
            reason = record.reason
        if error is None:
            answer.set_result(run.result())
        elif isinstance(error, ChannelEnded):
            answer.set_exception(Unavailable(reason))
        else:
            answer.set_exception(error)
