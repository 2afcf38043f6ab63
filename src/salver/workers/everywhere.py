"""What the supervisor's lifecycle handles in place of models: versions that all workers have."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from salver.lifecycle.handles import Labels, ServingMap
from salver.servable import ServableId
from salver.signature import Signature
from salver.workers.crew import Crew
from salver.workers.messages import Signatures

if TYPE_CHECKING:
    from salver.inference.servable import Servable

__all__ = ["BroadcastMap", "VersionEverywhere", "load_everywhere"]


class VersionEverywhere:
    """One version at all workers."""

    def __init__(self, crew: Crew, id: ServableId, on_close: Callable[[ServableId], None]) -> None:
        """Stand for a version that all workers have loaded."""
        self._crew = crew
        self._id = id
        self._on_close = on_close

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """As some worker tells them; none when nobody can be asked."""
        for member in self._crew.members:
            answer = member.ask(Signatures(self._id))
            if answer.exception() is None:
                return cast("Mapping[str, Signature]", answer.result())
        return {}

    def close(self) -> None:
        """Unload it everywhere."""
        self._crew.unload(self._id)
        self._on_close(self._id)


def load_everywhere(
    crew: Crew,
    platform: str,
    id: ServableId,
    path: str,
    on_close: Callable[[ServableId], None] = lambda _id: None,
) -> "Servable":
    """Load a version at all workers.

    Args:
        crew: of these.
        platform: see `server.core.LoadModel`; so are the two that follow.
        id: see there.
        path: see there.
        on_close: called when it has been unloaded at all.

    Raises:
        ServingError: see `Crew.load`.
    """
    crew.load(platform, id, path)
    # The core publishes it, asks for its signatures and closes it, and does nothing else with it.
    return cast("Servable", VersionEverywhere(crew, id, on_close))


class BroadcastMap(ServingMap["Servable"]):
    """A serving map of which every worker has a copy: what is done to it is done there too."""

    def __init__(self, crew: Crew) -> None:
        """Begin with nothing."""
        super().__init__()
        self._crew = crew
        self._assigning = threading.Lock()  # so that the crew keeps the last labels there are
        self._lost: set[ServableId] = set()

    def publish(self, id: ServableId, model: "Servable") -> None:
        """See `ServingMap`; all workers answer by it when this returns."""
        self._crew.publish(id)
        super().publish(id, model)
        with self._assigning:
            self._crew.keep_labels(self.labels, self.moving_labels)

    def withdraw(self, id: ServableId, on_drained: Callable[[], None]) -> None:
        """See `ServingMap`; `on_drained` is called when no worker has a request in it."""
        if id in self._lost:
            self._lost.discard(id)
            on_drained()
            return
        super().withdraw(id, lambda: None)
        self._crew.withdraw(id, on_drained)

    def assign_labels(self, labels: Labels, moving: Labels) -> None:
        """See `ServingMap`."""
        with self._assigning:
            super().assign_labels(labels, moving)
            self._crew.set_labels(self.labels, self.moving_labels)

    def lose(self, id: ServableId) -> None:
        """No worker can have this version any more: nothing answers by it from here on."""
        self._lost.add(id)
        super().withdraw(id, lambda: None)
