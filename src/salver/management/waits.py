"""Waits for the models of a configuration, and what ends them besides the models.

A configuration is in effect before its models are waited for, and no lock is held meanwhile, so a
newer one may come. A wait for models that the newer one keeps goes on; a wait for others ends with
`Superseded`. A wait whose caller has left ends at once.

The reference applies one configuration after the other, however long each takes. So that requests
of the same time get the answers they would get there, a newer one is held back for a moment while
what it gives up is on its way.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from salver.errors import Aborted, Cancelled, ServingError, Unknown
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus, Wait
from salver.sources.protocol import MonitoredServable

__all__ = ["Left", "ModelsUnavailable", "Superseded", "Waiting", "Waits"]

MOST: Final = 16  # waits at the same time; each has a thread, and may have a large message
POLL_S: Final = 1.0  # by then it is known which versions there are
GRACE_S: Final = 10.0  # for loads that are on their way

Servables = Mapping[str, MonitoredServable]


class ModelsUnavailable(Unknown):
    """Models that were waited for did not come up; everything else of the configuration holds.

    Attributes:
        failures: the version that decided for each of these models.
    """

    def __init__(self, noun: str, failures: tuple[VersionStatus, ...]) -> None:
        super().__init__(
            f"{len(failures)} {noun}(s) did not become available: "
            f"{{{''.join(map(_failure_text, failures))}}}"
        )
        self.failures = failures


class Superseded(Aborted):
    """A newer configuration gives up models that were waited for."""


class Left(Cancelled):
    """The caller of the configuration waits for it no more."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One that waits.

    Attributes:
        servables: what for, by name.
        wait: see there.
        caller: who stands there.
        begun_s: when it began.
        unreachable: why others of its models are not even waited for.
    """

    servables: Servables
    wait: Wait
    caller: Caller
    begun_s: float
    unreachable: ServingError | None = None


class Waits:
    """All that wait. Safe to use from any thread."""

    def __init__(self, monitor: Monitor, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none.

        Args:
            monitor: knows the states.
            clock: seconds, monotonic.
        """
        self._monitor = monitor
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._all: tuple[Waiting, ...] = ()
        # What was waited for and is not decided, though nobody may wait for it any more: the next
        # configuration with it waits for it again.
        self._owed: dict[str, tuple[MonitoredServable, int]] = {}

    def give_way(self, requested: Servables, caller: Caller) -> None:
        """Let those finish that wait for what `requested` gives up, if it can be expected soon.

        To be called by one at a time, of those who will begin to wait.

        Raises:
            Left: the caller has left meanwhile; nothing was changed.
            Cancelled: the server stops.
        """
        caller.on_leave(self._monitor.wake_all)
        disturbed = [waiting for waiting in self._all if _gives_up(waiting, requested)]

        def pause_s() -> float | None:
            if caller.has_left:
                raise Left("Whoever asked for this configuration has left before its turn")
            pauses = map(self._pause_s, disturbed)
            return max((pause for pause in pauses if pause is not None), default=None)

        self._monitor.wait_while(pause_s)

    def begin(
        self,
        requested: Servables,
        new: Mapping[str, int],
        caller: Caller | None,
        *,
        unreachable: ServingError | None = None,
        is_alone: bool = False,
    ) -> Waiting | None:
        """End the waits for what `requested` gives up, and begin another.

        To be called before the models are given up, since then their states change.

        Args:
            requested: all models of the newer configuration.
            new: those of them that it names for the first time, each with a moment for `Wait`.
            caller: who will wait for them; None for nobody.
            unreachable: see `Waiting`.
            is_alone: whether to wait for nothing that others have waited for before.
        """
        with self._lock:
            for waiting in self._all:
                if _gives_up(waiting, requested):
                    self._supersede(waiting)
            self._owed = {
                name: (servable, since)
                for name, (servable, since) in self._owed.items()
                if requested.get(name) == servable and self._monitor.undecided(Wait({name: since}))
            }
            if caller is None:
                return None
            owed = {} if is_alone else {name: since for name, (_, since) in self._owed.items()}
            wait = Wait({**owed, **new})
            self._owed |= {name: (requested[name], since) for name, since in new.items()}
            servables = {name: requested[name] for name in wait.since}
            waiting = Waiting(servables, wait, caller, self._clock(), unreachable)
            self._all = (*self._all, waiting)
            if len(self._all) > MOST:
                self._supersede(self._all[0])
            return waiting

    def finish(self, waiting: Waiting) -> tuple[VersionStatus, ...]:
        """Wait; the versions that failed, see `Monitor.wait`.

        Raises:
            Superseded: by a newer configuration.
            Left: the caller has left.
            Cancelled: the server stops.
        """
        names = ", ".join(waiting.servables)
        left = Left(f"Whoever asked for this configuration has left before these came up: {names}")
        waiting.caller.on_leave(lambda: self._monitor.end(waiting.wait, left))
        try:
            return self._monitor.wait(waiting.wait)
        finally:
            with self._lock:
                self._all = tuple(other for other in self._all if other is not waiting)

    def until_ended(self, name: str, is_given_up: Callable[[], bool], caller: Caller) -> None:
        """Wait until no version of a model is left, which has been given up.

        Args:
            name: of the model.
            is_given_up: whether it still is.
            caller: who waits.

        Raises:
            Superseded: it is wanted again.
            Left: the caller has left.
            Cancelled: the server stops.
        """
        caller.on_leave(self._monitor.wake_all)

        def pause_s() -> float | None:
            if caller.has_left:
                raise Left(f"Whoever had {name} unloaded has left before that was done")
            if not is_given_up():
                raise Superseded(f"{name} was loaded again before it was unloaded")
            statuses = self._monitor.statuses(name)
            has_ended = all(status.state is VersionState.END for status in statuses)
            return None if has_ended else POLL_S

        self._monitor.wait_while(pause_s)

    def _pause_s(self, waiting: Waiting) -> float | None:
        """How much longer one may be waited for at most; None for not at all."""
        undecided = self._monitor.undecided(waiting.wait)
        if not undecided:
            return None
        age_s = self._clock() - waiting.begun_s
        are_coming = all(map(self._monitor.is_under_way, undecided))
        left_s = (GRACE_S if are_coming else POLL_S) - age_s
        return left_s if left_s > 0 else None

    def _supersede(self, waiting: Waiting) -> None:
        names = ", ".join(self._monitor.undecided(waiting.wait))
        error = Superseded(
            f"A newer configuration has taken the place of this one before these came up: {names}"
        )
        self._monitor.end(waiting.wait, error)


def _gives_up(waiting: Waiting, requested: Servables) -> bool:
    """Whether a model of an earlier configuration is not wanted any more, or not like that."""
    return any(requested.get(name) != servable for name, servable in waiting.servables.items())


def _failure_text(status: VersionStatus) -> str:
    reason = "" if status.error is None else f" due to error: {status.error.status}"
    return f"{{{status.id}{reason}}}, "
