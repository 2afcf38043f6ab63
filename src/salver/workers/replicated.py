"""What the supervisor's lifecycle handles in place of models: versions that all workers have."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from salver.config.model_options import LoadSettings
from salver.lifecycle.handles import Labels, ServingMap
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature
from salver.workers.group import WorkerGroup
from salver.workers.messages import SetLabels, Signatures

if TYPE_CHECKING:
    from salver.inference.servable import Servable

__all__ = ["ReplicatedMap", "ReplicatedVersion", "load_replicated"]


class ReplicatedVersion:
    """One version at all workers."""

    def __init__(
        self, group: WorkerGroup, id: ServableId, on_close: Callable[[ServableId], None]
    ) -> None:
        """Stand for a version that all workers have loaded."""
        self._group = group
        self._id = id
        self._on_close = on_close

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """As some worker reports them; none where there is no worker."""
        for member in self._group.members:
            answer = member.request(Signatures(self._id))
            if answer.exception() is None:
                return cast("Mapping[str, Signature]", answer.result())
        return {}

    def close(self) -> None:
        """Unload it everywhere."""
        self._group.unload(self._id)
        self._on_close(self._id)


def load_replicated(
    group: WorkerGroup,
    settings: LoadSettings,
    id: ServableId,
    path: str,
    on_close: Callable[[ServableId], None] = lambda _id: None,
) -> "Servable":
    """Load a version at all workers.

    Args:
        group: of these.
        settings: see `management.load_records.LoadModel`; so are the two that follow.
        id: see there.
        path: see there.
        on_close: called when it has been unloaded at all.

    Raises:
        ServingError: see `WorkerGroup.load`.
    """
    group.load(settings, id, path)
    # The core publishes it, reads its signatures and closes it, and does nothing else with it.
    return cast("Servable", ReplicatedVersion(group, id, on_close))


class ReplicatedMap(ServingMap["Servable"]):
    """A serving map of which every worker has a copy: what is done to it is done there too."""

    def __init__(self, group: WorkerGroup) -> None:
        """Begin with nothing."""
        super().__init__()
        self._group = group
        self._lost: set[ServableId] = set()

    def publish(self, id: ServableId, model: "Servable") -> None:
        """See `ServingMap`; all workers answer by it when this returns."""
        self._group.publish(id)
        super().publish(id, model)
        self._group.remember(lambda: SetLabels(*self.all_labels))

    def withdraw(self, id: ServableId, on_drained: Callable[[], None]) -> None:
        """See `ServingMap`; `on_drained` is called when no worker has a request in it."""
        if id in self._lost:
            self._lost.discard(id)
            on_drained()
            return
        super().withdraw(id, lambda: None)
        self._group.withdraw(id, on_drained)

    def assign_labels(self, labels: Labels, moving: Labels) -> None:
        """See `ServingMap`."""
        super().assign_labels(labels, moving)
        self._group.broadcast(lambda: SetLabels(*self.all_labels))

    def lose(self, id: ServableId) -> None:
        """No worker can have this version any more: nothing answers by it from here on."""
        self._lost.add(id)
        super().withdraw(id, lambda: None)
