"""What the outside sees of every version: five states, remembered after the version is gone.

Source: TensorFlow Serving `core/servable_state_monitor.cc`; the numbers are those of
`ModelVersionStatus.State` in `apis/get_model_status.proto`.
"""

import enum
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from salver.errors import Cancelled, ServingError
from salver.servable import ServableId

__all__ = ["Monitor", "VersionState", "VersionStatus"]


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
    """

    id: ServableId
    state: VersionState
    error: ServingError | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    status: VersionStatus
    born: int  # when its present life began, in events
    changed: int  # when this was published, in events

    def decides(self, since: int) -> bool:
        """Whether this version settles a wait that began at `since`.

        The end of an earlier life is no news of the present one: a model taken away and given
        back while it still unloads ends without an error and then starts again.
        """
        match self.status.state:
            case VersionState.AVAILABLE:
                return True
            case VersionState.END:
                is_of_now = self.born > since or self.status.error is not None
                return self.changed > since and is_of_now
            case _:
                return False


class Monitor:
    """Remembers the state of every version ever seen. Safe to use from any thread."""

    def __init__(self) -> None:
        # Condition's own lock can be taken twice by one thread, so a signal handler may interrupt.
        self._changed = threading.Condition()
        self._records: Mapping[str, Mapping[int, _Record]] = {}
        self._events = 0
        self._is_interrupted = False

    def publish(
        self, id: ServableId, state: VersionState, error: ServingError | None = None
    ) -> None:
        """Record where a version stands now, and wake those who wait for it."""
        with self._changed:
            self._events += 1
            of_name = self._records.get(id.name, {})
            before = of_name.get(id.version)
            begins = before is None or state is VersionState.START
            record = _Record(
                VersionStatus(id, state, error),
                born=self._events if begins or before is None else before.born,
                changed=self._events,
            )
            self._records = {**self._records, id.name: {**of_name, id.version: record}}
            self._changed.notify_all()

    def status(self, id: ServableId) -> VersionStatus | None:
        """The last thing published of one version; None for one never seen."""
        record = self._records.get(id.name, {}).get(id.version)
        return None if record is None else record.status

    def statuses(self, name: str) -> tuple[VersionStatus, ...]:
        """The last thing published of each version of `name`, highest first."""
        of_name = self._records.get(name, {})
        return tuple(of_name[version].status for version in sorted(of_name, reverse=True))

    def now(self) -> int:
        """This moment, for the `since` of a later wait."""
        with self._changed:
            return self._events

    def wait_until_available(
        self, names: Collection[str], *, since: int = 0
    ) -> tuple[VersionStatus, ...]:
        """Wait until each name has a version that is available, or one that has ended.

        The versions of a name are looked at from the highest down, and the first of the two kinds
        decides. There is no time limit: a name without a version is waited for.

        Args:
            names: the servable streams.
            since: a moment given by `now`; ends before it do not count.

        Returns:
            The versions that ended and so decided for their name, in order; empty when all names
            are available.

        Raises:
            Cancelled: `interrupt` was called.
        """
        with self._changed:
            while True:
                if self._is_interrupted:
                    raise Cancelled("The wait for models to become available was interrupted")
                deciders = [self._decider(name, since) for name in sorted(set(names))]
                if all(deciders):
                    break
                self._changed.wait()
        return tuple(d for d in deciders if d is not None and d.state is VersionState.END)

    def interrupt(self) -> None:
        """End all waits, now and for ever: the server stops."""
        with self._changed:
            self._is_interrupted = True
            self._changed.notify_all()

    def _decider(self, name: str, since: int) -> VersionStatus | None:
        of_name = self._records.get(name, {})
        for version in sorted(of_name, reverse=True):
            if of_name[version].decides(since):
                return of_name[version].status
        return None
