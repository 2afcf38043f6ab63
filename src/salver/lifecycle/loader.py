"""The protocol of loaders: a callable, and a model that can be closed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from salver.errors import Internal, ResourceExhausted, ServingError, drop_frames
from salver.instruments.files import Footprint
from salver.vocabulary.servable import ServableId

__all__ = [
    "Closable",
    "Deadly",
    "Footprinter",
    "Load",
    "LoadOptions",
    "as_serving_error",
    "close_model",
    "followed_by",
    "footprint_of",
]

_logger = logging.getLogger(__name__)


class Closable(Protocol):
    """A loaded model, as far as the lifecycle uses it."""

    def close(self) -> None:
        """Give back what the model holds. Called last and once, with no request inside it."""
        ...


T = TypeVar("T", bound=Closable)


class Deadly(Internal):
    """A load that ends the process it runs in, and so is not tried again by itself."""

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.is_final = True


Load = Callable[[ServableId, str], T]
"""Loads a version from its directory, warm and ready to answer, or raises. Called from a load
thread, several at once where there are several."""

Footprinter = Callable[[str], Footprint]
"""Looks at the files of a version directory, or raises `ServingError`."""


def footprint_of(path: str, look: Footprinter) -> Footprint | None:
    """The footprint of a version directory; None when it has none that can be taken."""
    try:
        return look(path)
    except ServingError:
        return None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How loads and unloads run; the flags of the same names.

    Attributes:
        num_load_threads: loads at the same time after start-up; 0 is one after the other.
        num_initial_load_threads: loads at the same time during start-up.
        num_unload_threads: unloads at the same time; 0 is one after the other.
        max_num_load_retries: tries after the first that failed.
        load_retry_interval_micros: pause before each of them; negative is none.
        flush_filesystem_caches: after each load, tell the system to forget the version's files.
        max_model_memory_bytes: the most that versions may take together by estimate; 0 for any.
        transient_load_bytes: what each load takes beside that until it is over.
        num_copies: how many processes hold each version, each with memory of its own.
        load_timeout_s: how long a load may take before it is given up; 0 for any time.
    """

    num_load_threads: int = 0
    num_initial_load_threads: int = 4
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    flush_filesystem_caches: bool = True
    max_model_memory_bytes: int = 0
    transient_load_bytes: int = 0
    num_copies: int = 1
    load_timeout_s: float = 0.0

    @property
    def retry_interval_s(self) -> float:
        """The pause before a retry, in seconds."""
        return max(0.0, self.load_retry_interval_micros / 1e6)


def as_serving_error(error: Exception) -> ServingError:
    """What a loader raised, as an error that can be shown and kept.

    States are remembered for the life of the process, so the error lets go of its traceback,
    whose frames would keep alive whatever the loader had made.
    """
    shown: ServingError
    match error:
        case ServingError():
            shown = error
        case MemoryError():
            shown = ResourceExhausted("Out of memory while loading")
        case _:
            shown = Internal(f"{type(error).__name__}: {error}")
    drop_frames(shown)
    return shown


def close_model(id: ServableId, model: Closable) -> None:
    """Close the model of a version; whatever is wrong with it goes to the log."""
    try:
        model.close()
    except Exception:
        _logger.exception("Servable version %s could not give back what it held", id)


def followed_by(after_change: Callable[[], None]) -> Callable[[], None]:
    """The same call, which never fails."""

    def changed() -> None:
        try:
            after_change()
        except Exception:
            _logger.exception("What follows a load or unload failed")

    return changed
