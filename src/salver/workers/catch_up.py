"""A new worker loads what the others have."""

import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait

from salver.errors import ServingError
from salver.lifecycle.late_loads import given_up_after
from salver.vocabulary.servable import ServableId
from salver.workers.channel import ChannelEnded
from salver.workers.member import Member
from salver.workers.versions import Source

__all__ = ["CannotCatchUp", "catch_up", "late_load"]

_log = logging.getLogger(__name__)


class CannotCatchUp(Exception):
    """A new worker could not load what the others have.

    Attributes:
        id: the version, if it is known which.
        error: what came of the load.
        is_death: whether the worker died of it.
    """

    def __init__(self, id: ServableId | None, error: ServingError, *, is_death: bool) -> None:
        super().__init__(error.message)
        self.id = id
        self.error = error
        self.is_death = is_death


def catch_up(
    member: Member,
    lacking: Mapping[ServableId, Source],
    loaded: Callable[[Member, ServableId], None],
    *,
    limit_s: float,
    warn_s: float,
) -> None:
    """Have a worker load some versions at the same time, and wait for it.

    Args:
        member: the worker.
        lacking: these versions.
        loaded: called with each that it has loaded.
        limit_s: how long it may take for one; 0 for any time. They take the processors from each
            other, so all together have the time of all.
        warn_s: see `late_load`.

    Raises:
        CannotCatchUp: it could not load one.
    """
    loads = {member.load(id, source): id for id, source in lacking.items()}
    limit_s *= len(loads)
    late = late_load(loads, str(member), limit_s=limit_s, warn_s=warn_s)
    if late is not None:
        raise CannotCatchUp(late, given_up_after(late, limit_s), is_death=False)
    for load, id in loads.items():
        match load.exception():
            case None:
                loaded(member, id)
            case ChannelEnded() as error:
                alone = member.died_loading[0] if len(member.died_loading) == 1 else None
                raise CannotCatchUp(alone, error, is_death=True)
            case ServingError() as error:
                raise CannotCatchUp(id, error, is_death=False)
            case error:
                assert error is not None
                raise error


def late_load(
    loads: "Mapping[Future[None], ServableId]", who: str, *, limit_s: float, warn_s: float
) -> ServableId | None:
    """Wait for all loads of a worker.

    Args:
        loads: each with its version.
        who: loads, for the log.
        limit_s: how long they may take; 0 for any time.
        warn_s: how often a warning says that they go on.

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
