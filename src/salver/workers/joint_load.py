"""A version on its way to all workers, and loads of a worker that take long."""

import logging
import math
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Any

from salver.errors import Cancelled
from salver.servable import ServableId

__all__ = ["JointLoad", "late_load"]

_log = logging.getLogger(__name__)


class JointLoad:
    """The load of a version by all workers. Safe to use from any thread.

    Attributes:
        end: done when it was given up.
    """

    def __init__(self) -> None:
        """Begin it."""
        self.end: Future[Any] = Future()

    @property
    def is_abandoned(self) -> bool:
        """Whether it was given up."""
        return self.end.done()

    def abandon(self) -> None:
        """Give it up."""
        with suppress(InvalidStateError):
            self.end.set_result(None)

    def check(self, id: ServableId) -> None:
        """Go no further once it was given up.

        Raises:
            Cancelled: it was.
        """
        if self.is_abandoned:
            raise Cancelled(f"The load of {id} was given up")


def late_load(
    loads: "Mapping[Future[None], ServableId]", who: str, *, limit_s: float, warn_s: float
) -> ServableId | None:
    """Wait for all loads of a worker.

    Args:
        loads: each with its version.
        who: loads, for the log.
        limit_s: how long they may take; 0 for any time.
        warn_s: how often it is told of that they go on.

    Returns:
        The version of one that takes longer; None when all have ended.
    """
    left_s = limit_s or math.inf
    pending = set(loads)
    for_s = 0.0
    while True:
        step_s = min(left_s, warn_s)
        pending = wait(pending, step_s).not_done
        if not pending:
            return None
        left_s, for_s = left_s - step_s, for_s + step_s
        late = sorted(loads[load] for load in pending)
        if left_s <= 0:
            return late[0]
        _log.warning("%s has been loading %s for %g s", who, ", ".join(map(str, late)), for_s)
