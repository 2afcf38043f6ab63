"""What becomes of runs in children for which nobody waits any more."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from salver.children.child import Child
from salver.children.limits import KILL, ChildLimits
from salver.children.run import Run
from salver.vocabulary.servable import ServableId

__all__ = ["UnwantedRuns"]

_log = logging.getLogger("salver.children")

_KILL_GRACE_S: Final = 0.1  # for a run that ends when it is asked to
_WARN_S: Final = 5.0


class UnwantedRuns:
    """Those of one version; in the loop."""

    def __init__(
        self,
        id: ServableId,
        loop: asyncio.AbstractEventLoop,
        limits: Callable[[], ChildLimits],
    ) -> None:
        """Stop none yet.

        Args:
            id: of the version.
            loop: in which children are heard.
            limits: what holds now; says whether a run that goes on ends its process.
        """
        self._id = id
        self._loop = loop
        self._limits = limits

    def stop(self, child: Child, run: Run) -> None:
        """Have a run stopped, if the child still makes it."""
        if run.number not in child.in_flight:
            return
        child.cancel(run.number)
        if self._limits().on_timeout == KILL:
            self._loop.call_later(_KILL_GRACE_S, self._kill, child, run)
        elif not child.is_warned:
            self._loop.call_later(_WARN_S, self._warn, child, run)

    def _kill(self, child: Child, run: Run) -> None:
        if child.in_flight.get(run.number) is run:
            child.kill("a run went on after its deadline", "timeout")

    def _warn(self, child: Child, run: Run) -> None:
        if child.in_flight.get(run.number) is run and not child.is_warned:
            child.is_warned = True
            _log.warning(
                "%s: a run goes on in process %d for which nobody waits. on_timeout: kill would "
                "end the process",
                *(self._id, child.pid),
            )
