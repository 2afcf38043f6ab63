"""Has the truth of each model follow what its nodes say; see `truth`."""

from collections import Counter
from collections.abc import Collection, Mapping

from salver.cluster.models import KnownModel
from salver.cluster.state import State
from salver.cluster.truth import Truth, labels_of, settle

__all__ = ["settle_changed"]


def settle_changed(state: State) -> None:
    """Look at all models of which something new was said."""
    changed, state.changed = state.changed, set()
    for name in sorted(changed):
        if (model := state.models.get(name)) is not None:
            _settle(state, model)
        state.remapped.add(name)


def _settle(state: State, model: KnownModel) -> None:
    holders = [name for name in (*model.nodes, *model.leaving) if name in state.nodes]
    available = {name: state.nodes[name].available(model.name) for name in holders}
    counts = Counter(version for versions in available.values() for version in versions)
    policy, before = model.config.version_policy, model.truth
    replicas = max(1, len(model.nodes))
    versions = settle(policy, model.target, before.versions, counts, replicas)
    versions = versions or before.versions
    labels = labels_of(model.config.version_labels, before.labels, versions)
    model.take_truth(Truth(versions, labels))
    if model.versions != model.written:
        model.written = model.versions
        state.must_place = True
        state.touch(holders)
    if model.lacks and not model.is_rolling:
        state.must_place = True
    _learn_size(state, model, available)
    for name in holders:
        if state.nodes[name].take_labels(model.name, labels):
            state.touch((name,))


def _learn_size(state: State, model: KnownModel, available: Mapping[str, Collection[int]]) -> None:
    """Take what a version takes at the node where it takes most, if that is more than was known.

    What is less is no news: a process that is being replaced has nothing for a while.
    """
    sizes = [
        said.version_bytes or said.resident_bytes // max(1, len(versions))
        for name, versions in available.items()
        if (said := state.nodes[name].models.get(model.name)) is not None and said.resident_bytes
    ]
    largest = max(sizes, default=0)
    if largest > model.bytes:
        model.bytes = largest
        state.must_place = True
