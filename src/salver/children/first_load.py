"""The first children of a version, which its load waits for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from salver.children.child import Child, EndedInLoad
from salver.children.description import Description
from salver.errors import ServingError, Unavailable
from salver.vocabulary.servable import ServableId

__all__ = ["FirstLoad"]

_CHECK_S = 0.1


class FirstLoad:
    """Collects them in the loop, and waits for them in a load thread."""

    def __init__(self, id: ServableId, count: int) -> None:
        """Know of none.

        Args:
            id: of the version.
            count: how many there are to be.
        """
        self._id = id
        self._count = count
        self._changed = threading.Condition()  # its lock guards what follows
        self._started: dict[int, Child | ServingError] = {}

    def attached(self, number: int, child: Child | ServingError) -> None:
        """A child was started, or could not be."""
        with self._changed:
            self._started[number] = child
            self._changed.notify_all()

    def wait(self, check: Callable[[], None]) -> Description:
        """Wait until all have loaded the model; what the first says of it.

        Args:
            check: raises when the load has been given up.

        Raises:
            ServingError: one could not be started, or cannot load it.
        """
        with self._changed:
            while len(self._started) < self._count:
                self._changed.wait(_CHECK_S)
                check()
        descriptions = [self._awaited(each, check) for _, each in sorted(self._started.items())]
        return descriptions[0]

    def _awaited(self, child: Child | ServingError, check: Callable[[], None]) -> Description:
        if isinstance(child, ServingError):
            raise child
        while not child.ended.is_set() and not _is_done(child.ready, _CHECK_S):
            check()
        try:
            return child.ready.result()
        except EndedInLoad as error:
            text = f"The process that was to load model {self._id.name}, version {self._id.version}"
            raise Unavailable(f"{text}, cannot: {error.message}") from error


def _is_done(future: "Future[Description]", within_s: float) -> bool:
    return bool(wait([future], within_s).done)
