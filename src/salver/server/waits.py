"""Who waits for the models of a configuration, and what ends that besides the models.

A configuration is in effect before anybody waits for its models, and nobody holds a lock while he
does. So a newer configuration may come meanwhile. Who waits for models that it keeps goes on
waiting; who waits for others is told that it was superseded. A wait that nobody stands at any more
ends at once.

The reference applies one configuration after the other, however long each takes. So that those who
ask at the same time get the answers they would get there, a newer one is held back for a moment
while what it gives up is on its way.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from salver.errors import Aborted, Cancelled, ServingError
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import Monitor, VersionStatus, Wait
from salver.sources.file_system import MonitoredServable

__all__ = ["Left", "Superseded", "Waiting", "Waits"]

MOST: Final = 16  # that wait at the same time; each has a thread, and may have a large message
LOOK_S: Final = 1.0  # by then it is known which versions there are
GRACE_S: Final = 10.0  # for loads that are on their way

Servables = Mapping[str, MonitoredServable]


class Superseded(Aborted):
    """A newer configuration gives up models that were waited for."""


class Left(Cancelled):
    """Whoever asked for the configuration waits for it no more."""


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
        """Begin with nobody.

        Args:
            monitor: knows the states.
            clock: seconds, monotonic.
        """
        self._monitor = monitor
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._all: tuple[Waiting, ...] = ()
        # What was waited for and is not decided, though nobody may wait for it any more: the next
        # who asks for it is to be told what comes of it.
        self._owed: dict[str, tuple[MonitoredServable, int]] = {}

    def give_way(self, wanted: Servables, caller: Caller) -> None:
        """Let those finish that wait for what `wanted` gives up, if it can be expected soon.

        To be called by one at a time, of those who will begin to wait.

        Raises:
            Left: the caller has left meanwhile: it has asked for nothing.
            Cancelled: the server stops.
        """
        caller.on_leave(self._monitor.look_again)
        disturbed = [waiting for waiting in self._all if _gives_up(waiting, wanted)]

        def pause_s() -> float | None:
            if caller.has_left:
                raise Left("Whoever asked for this configuration has left before its turn")
            pauses = map(self._pause_s, disturbed)
            return max((pause for pause in pauses if pause is not None), default=None)

        self._monitor.watch(pause_s)

    def begin(
        self,
        wanted: Servables,
        new: Mapping[str, int],
        caller: Caller | None,
        *,
        unreachable: ServingError | None = None,
    ) -> Waiting | None:
        """End the waits for what `wanted` gives up, and begin another.

        To be called before the models are given up, since then their states change.

        Args:
            wanted: all models of the newer configuration.
            new: those of them that it names for the first time, each with a moment for `Wait`.
            caller: who will wait for them; None for nobody.
            unreachable: see `Waiting`.
        """
        with self._lock:
            for waiting in self._all:
                if _gives_up(waiting, wanted):
                    self._supersede(waiting)
            self._owed = {
                name: (servable, since)
                for name, (servable, since) in self._owed.items()
                if wanted.get(name) == servable and self._monitor.undecided(Wait({name: since}))
            }
            if caller is None:
                return None
            owed = {name: since for name, (_, since) in self._owed.items()}
            wait = Wait({**owed, **new})
            self._owed |= {name: (wanted[name], since) for name, since in new.items()}
            servables = {name: wanted[name] for name in wait.since}
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

    def _pause_s(self, waiting: Waiting) -> float | None:
        """How much longer one may be waited for at most; None for not at all."""
        undecided = self._monitor.undecided(waiting.wait)
        if not undecided:
            return None
        age_s = self._clock() - waiting.begun_s
        are_coming = all(map(self._monitor.is_under_way, undecided))
        left_s = (GRACE_S if are_coming else LOOK_S) - age_s
        return left_s if left_s > 0 else None

    def _supersede(self, waiting: Waiting) -> None:
        names = ", ".join(self._monitor.undecided(waiting.wait))
        error = Superseded(
            f"A newer configuration has taken the place of this one before these came up: {names}"
        )
        self._monitor.end(waiting.wait, error)


def _gives_up(waiting: Waiting, wanted: Servables) -> bool:
    """Whether a model of an earlier configuration is not wanted any more, or not like that."""
    return any(wanted.get(name) != servable for name, servable in waiting.servables.items())
