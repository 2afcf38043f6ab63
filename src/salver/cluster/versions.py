"""Has the truth of each model follow what its nodes say; see `truth`."""

from collections import Counter

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
    for name in holders:
        _learn_size(state, model, name, len(available[name]))
        if state.nodes[name].take_labels(model.name, labels):
            state.touch((name,))


def _learn_size(state: State, model: KnownModel, node: str, versions: int) -> None:
    said = state.nodes[node].models.get(model.name)
    if said is not None and said.resident_bytes:
        bytes_of_one = said.resident_bytes // max(1, versions)
        if bytes_of_one > model.bytes:
            model.bytes = bytes_of_one
            state.must_place = True
