"""The states of one servable version, and every transition between them.

This table is the whole truth: `machine` reads it, the tests walk it, the docs draw it. A pair
that is missing is a bug in the caller, never something to be tolerated.
"""

import enum
from dataclasses import dataclass

from salver.vocabulary.servable import ServableId

__all__ = ["FINAL", "LEAVING", "TRANSITIONS", "Event", "Snapshot", "State"]


class State(enum.Enum):
    """Presence one version stands. The API shows a coarser view of this; see `monitor`."""

    NEW = "new"  # known, nothing done yet
    LOADING = "loading"  # the loader is running, queued, or waiting for its next try
    READY = "ready"  # in the serving map
    QUIESCING = "quiescing"  # out of the serving map, requests still hold handles
    UNLOADING = "unloading"  # the loader is freeing
    DISABLED = "disabled"  # gone
    ERROR = "error"  # gave up loading, or quarantined, until its files change


class Event(enum.Enum):
    """What can happen to one version."""

    LOAD = "load"
    LOADED = "loaded"
    LOADED_IN_VAIN = "loaded in vain"  # nobody aspires to it any more
    LOAD_FAILED = "load failed"
    WITHDRAW = "withdraw"
    DRAINED = "drained"
    UNLOADED = "unloaded"
    QUARANTINE = "quarantine"  # it is not to answer any more, though it is wanted
    UNLOADED_QUARANTINED = "unloaded quarantined"
    RETRY = "retry"  # the files of a failed version have changed


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.NEW, Event.LOAD): State.LOADING,
    (State.LOADING, Event.LOADED): State.READY,
    (State.LOADING, Event.LOADED_IN_VAIN): State.UNLOADING,
    (State.LOADING, Event.LOAD_FAILED): State.ERROR,
    (State.READY, Event.WITHDRAW): State.QUIESCING,
    (State.QUIESCING, Event.DRAINED): State.UNLOADING,
    (State.UNLOADING, Event.UNLOADED): State.DISABLED,
    (State.READY, Event.QUARANTINE): State.QUIESCING,
    (State.UNLOADING, Event.UNLOADED_QUARANTINED): State.ERROR,
    (State.ERROR, Event.RETRY): State.NEW,
}

FINAL = frozenset({State.DISABLED, State.ERROR})
LEAVING = frozenset({State.QUIESCING, State.UNLOADING})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version as a policy sees it."""

    id: ServableId
    state: State
    is_aspired: bool
