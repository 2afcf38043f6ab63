"""What is told to the manager's thread, which alone decides."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from salver.errors import ServingError
from salver.files import Footprint
from salver.lifecycle.attempt import Attempt
from salver.servable import ServableId

__all__ = [
    "Again",
    "Aspire",
    "Begun",
    "Condemn",
    "Discarded",
    "Drained",
    "Failed",
    "FilesChanged",
    "Loaded",
    "NoRoom",
    "Settle",
    "Stop",
    "Troubled",
    "UnloadBegun",
    "Unloaded",
    "Wake",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Aspire:
    """Serve these versions of `name`: version → directory."""

    name: str
    paths: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Begun:
    """A try has got a thread."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Discarded:
    """A model has been closed that was loaded after its version had been given up."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class UnloadBegun:
    """The close of a model has got a thread."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A try has succeeded."""

    attempt: Attempt
    model: T


@dataclass(frozen=True, slots=True)
class Failed:
    """A try has failed."""

    attempt: Attempt
    error: ServingError


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A try has not begun, for want of memory.

    Attributes:
        files: how the version's files look.
    """

    attempt: Attempt
    files: Footprint


@dataclass(frozen=True, slots=True)
class Drained:
    """The last request has left a withdrawn version."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Unloaded:
    """A model has been closed."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """The files of a version that failed, or waits, have changed since its last try, and rest.

    Attributes:
        seen: how they looked at that try; by now it may not be the last one.
    """

    id: ServableId
    seen: Footprint | None


@dataclass(frozen=True, slots=True)
class Condemn:
    """A version that is ready does harm: it has failed, with this error."""

    id: ServableId
    error: ServingError


@dataclass(frozen=True, slots=True)
class Again:
    """Load a version that has failed, though its files have not changed."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Settle:
    """Set `done` when everything before this has been decided."""

    done: threading.Event


@dataclass(frozen=True, slots=True)
class Stop:
    """Unload everything, then end."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Look at the clock again."""


@dataclass(frozen=True, slots=True)
class Troubled:
    """A version whose files are worth looking at: it failed, or waits for its next try.

    Attributes:
        id: the version.
        path: its directory.
        seen: how its files looked just before the last try; None when they could not be looked at.
        failed_s: when that try failed.
        restarts: tries in a row that a change of the files has caused.
    """

    id: ServableId
    path: str
    seen: Footprint | None
    failed_s: float
    restarts: int

    @classmethod
    def of(cls, attempt: Attempt) -> "Troubled":
        """The version whose try has just failed."""
        return cls(attempt.id, attempt.path, attempt.seen, attempt.failed_s, attempt.restarts)
