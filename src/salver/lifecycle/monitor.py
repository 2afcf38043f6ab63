"""The published state of every version: one of five, remembered after the version is gone.

Source: TensorFlow Serving `core/servable_state_monitor.cc`; the numbers are those of
`ModelVersionStatus.State` in `apis/get_model_status.proto`.
"""

import enum
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from salver.errors import Cancelled, NotInstalled, ServingError
from salver.vocabulary.servable import ServableId

__all__ = ["Monitor", "VersionState", "VersionStatus", "Wait"]


class VersionState(enum.IntEnum):
    """The published states; the values are the wire's."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The last thing published of one version.

    Attributes:
        id: the version.
        state: where it stands.
        error: why it ended; None while nothing has gone wrong.
        is_in_memory: of an available version that is loaded when a request needs it; else None.
        note: what else is worth reporting, such as that it has been loading for long.
        directory: where its files are, if they were fetched.
    """

    id: ServableId
    state: VersionState
    error: ServingError | None = None
    is_in_memory: bool | None = None
    note: str | None = None
    directory: str | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    status: VersionStatus
    began: int  # when its present generation began, in events
    changed: int  # when this was published, in events
    trouble: ServingError | None = None  # what its last try failed with, if that is all we know
    failure: VersionStatus | None = None  # its last end with an error, until it is available
    failed: int = 0  # when that was, in events

    def following(self, status: VersionStatus, event: int) -> "_Record":
        """What is known when `status` is published next."""
        began = event if status.state is VersionState.START else self.began
        match status:
            case VersionStatus(state=VersionState.AVAILABLE):
                return _Record(status, began, event)
            case VersionStatus(state=VersionState.END, error=error):
                is_failure = error is not None and not isinstance(error, Cancelled)
                trouble = error if is_failure else None
                failure = status if is_failure else None
                return _Record(status, began, event, trouble, failure, event)
            case _:
                return replace(self, status=status, began=began, changed=event)

    def decision(self, since: int) -> VersionStatus | None:
        """What this version says to a wait that began at `since`; None when it says nothing yet.

        The end of an earlier generation says nothing about the present one: a model taken away and
        given back while it still unloads, or loads, ends and then starts again. But a version that
        failed has failed, even if a change of its files has it tried once more.
        """
        match self.status.state:
            case VersionState.AVAILABLE:
                return self.status
            case VersionState.END if self.failure is None:
                return self.status if self.changed > since and self.began > since else None
            case _:
                return self.failure if self.failed > since else None


class _All:
    """Whether something holds of all of many names, to be called at each of many changes.

    Goes on from the name of which it did not hold the last time, so that a thousand models which
    come up one by one are not a million checks.
    """

    def __init__(self, names: Sequence[str], holds: Callable[[str], bool]) -> None:
        self._names = names
        self._holds = holds
        self._at = 0

    def __call__(self) -> bool:
        count = len(self._names)
        for place in range(self._at, self._at + count):
            if not self._holds(self._names[place % count]):
                self._at = place % count
                return False
        return True


class Wait:
    """A wait for models, which others may read and end. Its state belongs to the monitor.

    Attributes:
        since: the servable streams, each with a moment given by `Monitor.now`; ends before it do
            not count.
    """

    __slots__ = ("_end", "_failures", "since")

    def __init__(self, since: Mapping[str, int]) -> None:
        """Wait for nothing yet: see `Monitor.wait`."""
        self.since = since
        self._failures: tuple[VersionStatus, ...] | None = None  # once all are decided
        self._end: ServingError | None = None


class Monitor:
    """Remembers the state of every version seen. Safe to use from any thread."""

    def __init__(
        self, *, max_ended: int = 0, on_change: Callable[[str], None] = lambda _name: None
    ) -> None:
        """Remember nothing yet.

        Args:
            max_ended: how many versions of one name that have ended are remembered; those that
                ended first are forgotten. 0 for all of them.
            on_change: called with a name after each change of what is known of it, in the thread
                that brought the change.
        """
        self._max_ended = max_ended
        self._on_change = on_change
        # Condition's own lock can be taken twice by one thread, so a signal handler may interrupt.
        self._changed = threading.Condition()
        self._records: Mapping[str, Mapping[int, _Record]] = {}
        self._remarks: Mapping[str, Mapping[int, str]] = {}
        self._unreachable: Mapping[str, ServingError] = {}
        self._events = 0
        self._is_interrupted = False

    def publish(
        self, id: ServableId, state: VersionState, error: ServingError | None = None
    ) -> None:
        """Record where a version stands now, and wake those who wait for it."""
        with self._changed:
            self._events += 1
            before = self._of(id.name).get(id.version)
            is_present = state not in (VersionState.START, VersionState.END)
            directory = before.status.directory if before and is_present else None
            status = VersionStatus(id, state, error, directory=directory)
            record = _Record(status, began=self._events, changed=self._events)
            self._put(id, (before or record).following(status, self._events))
            if state is VersionState.END:
                self._forget_ended(id.name)
        self._on_change(id.name)

    def try_failed(self, id: ServableId, error: ServingError) -> None:
        """Record why a try to load a version failed. Its status stays: more tries may follow."""
        with self._changed:
            self._put(id, replace(self._records[id.name][id.version], trouble=error))
        self._on_change(id.name)

    def fetched(self, id: ServableId, directory: str) -> None:
        """Add to the status of a version where its files are, until it ends."""
        with self._changed:
            record = self._records[id.name][id.version]
            self._put(id, replace(record, status=replace(record.status, directory=directory)))
        self._on_change(id.name)

    def note(self, id: ServableId, text: str | None) -> None:
        """Add to the status of a version, until it changes, what is worth reporting.

        Args:
            id: the version; nothing happens where it is unknown.
            text: None takes it away.
        """
        with self._changed:
            record = self._records.get(id.name, {}).get(id.version)
            if record is None or record.status.note == text:
                return
            self._put(id, replace(record, status=replace(record.status, note=text)))
        self._on_change(id.name)

    def set_remarks(self, name: str, remarks: Mapping[int, str]) -> None:
        """Say with the status of each of these versions, as long as it is available, a text.

        A note goes before it. Those of earlier calls for the name are gone.
        """
        with self._changed:
            others = {other: of for other, of in self._remarks.items() if other != name}
            self._remarks = {**others, name: dict(remarks)} if remarks else others
            self._changed.notify_all()
        self._on_change(name)

    def status(self, id: ServableId) -> VersionStatus | None:
        """The last thing published of one version; None for one never seen."""
        record = self._of(id.name).get(id.version)
        return None if record is None else self._remarked(record.status)

    def statuses(self, name: str) -> tuple[VersionStatus, ...]:
        """The last thing published of each version of `name`, highest first."""
        of_name = self._of(name)
        statuses = (of_name[version].status for version in sorted(of_name, reverse=True))
        return tuple(map(self._remarked, statuses))

    def last_error(self, name: str) -> ServingError | None:
        """Why loading `name` failed last, be it to be tried again; None while nothing has failed.

        A version that became available forgets its errors. Of several versions that failed the
        highest speaks; where none can even be looked for, that is why.
        """
        troubles = (record.trouble for _, record in sorted(self._of(name).items(), reverse=True))
        found = next((trouble for trouble in troubles if trouble is not None), None)
        return found or self._unreachable.get(name)

    def set_unreachable(self, errors: Mapping[str, ServingError]) -> None:
        """Record of which names no version can be looked for, and why; of all others they can."""
        with self._changed:
            before, self._unreachable = self._unreachable, dict(errors)
            self._changed.notify_all()
        for name in before.keys() | errors.keys():
            if before.get(name) is not errors.get(name):
                self._on_change(name)

    def is_hopeless(self, name: str) -> bool | None:
        """Whether no version of a name can become available before something is done about it.

        That is so where versions cannot be looked for, and where all that are there need a library
        that is missing.

        Returns:
            None while it is being found out.
        """
        records = self._of(name).values()
        if any(record.status.state is VersionState.AVAILABLE for record in records):
            return False
        if name in self._unreachable:
            return True
        if self.is_under_way(name):
            return None
        troubles = [record.trouble for record in records]
        return bool(troubles) and all(isinstance(each, NotInstalled) for each in troubles)

    def now(self) -> int:
        """This moment, for the `since` of a later wait."""
        with self._changed:
            return self._events

    def wait(self, wait: Wait) -> tuple[VersionStatus, ...]:
        """Wait until each name has a version that is available, or one that has ended.

        The versions of a name are considered from the highest down, and the first of the two kinds
        decides. There is no time limit: a name without a version is waited for.

        Returns:
            The versions that ended and so decided for their name, in order; empty when all names
            are available.

        Raises:
            ServingError: what `end` was called with.
            Cancelled: `interrupt` was called.
        """
        all_decided = _All(
            sorted(wait.since), lambda name: self._decision(name, wait.since[name]) is not None
        )
        with self._changed:
            while wait._failures is None:
                self.check_interrupted()
                if wait._end is not None:
                    raise wait._end
                if all_decided():
                    wait._failures = self._failures(wait)
                else:
                    self._changed.wait()
            return wait._failures

    def end(self, wait: Wait, error: ServingError) -> None:
        """End a wait by an error, unless its names are decided: then it ends by that."""
        with self._changed:
            if wait._failures is not None or wait._end is not None:
                return
            if self.undecided(wait):
                wait._end = error
            else:
                wait._failures = self._failures(wait)
            self._changed.notify_all()

    def undecided(self, wait: Wait) -> tuple[str, ...]:
        """Those of its names that are waited for yet, in order; none once the wait is over."""
        with self._changed:
            if wait._failures is not None or wait._end is not None:
                return ()
            return tuple(
                name
                for name, since in sorted(wait.since.items())
                if self._decision(name, since) is None
            )

    def is_under_way(self, name: str) -> bool:
        """Whether a version is being loaded, and no try of it has failed."""
        return any(
            record.status.state in (VersionState.START, VersionState.LOADING)
            and record.trouble is None
            for record in self._of(name).values()
        )

    def wait_while(self, pause_s: Callable[[], float | None]) -> None:
        """Wait until the states are as the caller wants them.

        Args:
            pause_s: called after each change, and after so many seconds as it returned the last
                time; None ends the wait. Called under the lock of the states.

        Raises:
            Cancelled: `interrupt` was called.
        """
        with self._changed:
            while True:
                self.check_interrupted()
                timeout_s = pause_s()
                if timeout_s is None:
                    return
                self._changed.wait(timeout_s)

    def wake_all(self) -> None:
        """Have those in `wait_while` check, though no state has changed."""
        with self._changed:
            self._changed.notify_all()

    def wait_until_settled(self, names: Collection[str], timeout_s: float | None = None) -> bool:
        """Wait until each name has an available version, or a try to load one that failed.

        Args:
            names: the servable streams.
            timeout_s: the longest wait; None for any. A name without a version never settles.

        Returns:
            Whether all are settled, and not the time over.

        Raises:
            Cancelled: `interrupt` was called.
        """
        all_settled = _All(tuple(names), self._is_settled)

        def is_over() -> bool:
            self.check_interrupted()
            return all_settled()

        with self._changed:
            return self._changed.wait_for(is_over, timeout_s)

    def interrupt(self) -> None:
        """End all waits, now and for ever: the server stops."""
        with self._changed:
            self._is_interrupted = True
            self._changed.notify_all()

    def _put(self, id: ServableId, record: _Record) -> None:
        self._records = {**self._records, id.name: {**self._of(id.name), id.version: record}}
        self._changed.notify_all()

    def _forget_ended(self, name: str) -> None:
        of_name = self._of(name)
        ended = [r for r in of_name.values() if r.status.state is VersionState.END]
        if self._max_ended == 0 or len(ended) <= self._max_ended:
            return
        ended.sort(key=lambda record: record.changed)
        gone = {record.status.id for record in ended[: -self._max_ended]}
        kept = {v: record for v, record in of_name.items() if record.status.id not in gone}
        self._records = {**self._records, name: kept}

    def _remarked(self, status: VersionStatus) -> VersionStatus:
        remarks = self._remarks.get(status.id.name)
        if remarks is None or status.note or status.state is not VersionState.AVAILABLE:
            return status
        return replace(status, note=remarks.get(status.id.version))

    def _of(self, name: str) -> Mapping[int, _Record]:
        return self._records.get(name, {})

    def check_interrupted(self) -> None:
        """Go no further once the server stops.

        Raises:
            Cancelled: `interrupt` was called.
        """
        if self._is_interrupted:
            raise Cancelled("The wait for models to become available was interrupted")

    def _failures(self, wait: Wait) -> tuple[VersionStatus, ...]:
        deciders = (self._decision(name, since) for name, since in sorted(wait.since.items()))
        return tuple(d for d in deciders if d is not None and d.state is VersionState.END)

    def _decision(self, name: str, since: int) -> VersionStatus | None:
        records = (record for _, record in sorted(self._of(name).items(), reverse=True))
        decisions = (record.decision(since) for record in records)
        return next((decision for decision in decisions if decision is not None), None)

    def _is_settled(self, name: str) -> bool:
        return name in self._unreachable or any(
            record.status.state is VersionState.AVAILABLE or record.trouble is not None
            for record in self._of(name).values()
        )
