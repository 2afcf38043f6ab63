"""Whether models will be served without anything being installed or configured."""

import time
from collections.abc import Callable, Collection, Iterable

from salver.errors import FailedPrecondition, ServingError
from salver.lifecycle.monitor import Monitor

__all__ = ["hopeless_error"]


def hopeless_error(
    names: Collection[str], monitor: Monitor, timeout_s: float
) -> ServingError | None:
    """Why none of the models can be served before something is installed or configured.

    Args:
        names: the models.
        monitor: knows the states of their versions.
        timeout_s: how long to wait for loads that are under way.

    Returns:
        None when there are no models, or one is served, or may be without anything being done.

    Raises:
        Cancelled: the monitor was interrupted.
    """
    until_s = time.monotonic() + timeout_s
    verdicts: list[bool | None] = []

    def pause_s() -> float | None:
        verdicts[:] = map(monitor.is_hopeless, names)
        left_s = until_s - time.monotonic()
        is_open = None in verdicts and False not in verdicts and left_s > 0
        return left_s if is_open else None

    monitor.wait_while(pause_s)
    return _together(names, monitor.last_error) if verdicts and all(verdicts) else None


def _together(names: Iterable[str], error_of: Callable[[str], ServingError | None]) -> ServingError:
    """The errors of several models as one; where all have the same, that."""
    errors = {name: error for name in names if (error := error_of(name)) is not None}
    distinct = {error.message: error for error in errors.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    return FailedPrecondition(
        "No model can be served. "
        + "; ".join(f"{name}: {error.message}" for name, error in errors.items()),
        hint=next((error.hint for error in errors.values() if error.hint), None),
    )
