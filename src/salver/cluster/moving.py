"""Has models placed, and moves them: the new place answers before the old one is given up."""

from collections import Counter
from collections.abc import Mapping, Sequence

from salver.cluster.models import KnownModel
from salver.cluster.needs import Assignment, ModelNeed, NodeRoom
from salver.cluster.nodes import KnownNode
from salver.cluster.placement import place
from salver.cluster.residency import choose_warm, rehouse
from salver.cluster.state import State

__all__ = ["is_gathered", "needs_of", "place_if_due", "release", "rooms_of"]


def place_if_due(state: State) -> None:
    """Place models, if anything has changed by which they are placed, or balance is due.

    Where models were asked for that are not in memory, only that is looked at.
    """
    if state.spec is None or not is_gathered(state):
        return
    is_due = state.now_s - state.balanced_s >= state.settings.balance_s
    if state.must_place or (is_due and state.active):
        state.must_place = False
        state.balanced_s = state.now_s
        _place(state)
    elif state.must_warm:
        _warm(state)


def is_gathered(state: State) -> bool:
    """Whether all nodes have had time to report."""
    began_s = state.gathering_s
    return began_s is not None and state.now_s - began_s >= state.settings.gather_s


def needs_of(state: State) -> list[ModelNeed]:
    """What models need of nodes."""
    return [model.need(state.settings.unknown_bytes) for model in state.models.values()]


def rooms_of(state: State, lingering: Mapping[str, int] | None = None) -> list[NodeRoom]:
    """What nodes have for models, less what those take that are about to leave them."""
    less = lingering or {}
    return [
        node.room(less.get(name, 0)) for name, node in state.nodes.items() if not node.is_draining
    ]


def _place(state: State) -> None:
    settings = state.settings
    lingering = _warm(state)
    rooms = rooms_of(state, lingering)
    before = {model.name: model.nodes or _holders(state, model) for model in state.models.values()}
    for name, node in _rehoused(state, lingering).items():
        if node not in before[name]:
            before[name] = (node,)
    most = max(0, settings.moves - len(state.moving))
    needs = needs_of(state)
    after = place(needs, rooms, before, most_moves=most)
    if _cool_homeless(state, after, rooms):
        needs = needs_of(state)
        after = place(needs, rooms, before, most_moves=most)
    state.is_short = any(len(after[need.name]) < need.replicas for need in needs)
    for name, names in after.items():
        if names != state.models[name].nodes:
            _assign(state, state.models[name], names)
    _roll(state)
    state.touch(name for name, node in state.nodes.items() if not node.generation)


def _cool_homeless(state: State, after: Assignment, rooms: Sequence[NodeRoom]) -> list[KnownModel]:
    """Have models leave memory that fit beside nothing, and can be loaded when asked for.

    There may be memory for them, but at no one node.
    """
    largest = max((room.memory_bytes for room in rooms), default=0)
    homeless = [
        model
        for name, names in after.items()
        if not names and (model := state.models[name]).is_warm and not model.is_kept_warm
    ]
    unknown_bytes = state.settings.unknown_bytes
    homeless = [model for model in homeless if model.resident_bytes(unknown_bytes) <= largest]
    for model in homeless:
        model.is_warm = False
        state.rewarm(model.nodes)
    return homeless


def _warm(state: State) -> dict[str, int]:
    """Choose which models are in memory; returns what those take at each node that leave it."""
    settings = state.settings
    nodes = {name: node for name, node in state.nodes.items() if not node.is_draining}
    lingering = {name: _lingering_bytes(state, node) for name, node in nodes.items()}
    rooms = _warm_rooms(state, lingering)
    idle_s = settings.scaling.idle_s
    models = state.models.values()
    for model in choose_warm(models, rooms, settings.unknown_bytes, idle_s, state.now_s):
        state.rewarm(model.nodes)
        state.must_place |= model.is_warm and not model.nodes
    state.must_warm = False
    return lingering


def _warm_rooms(state: State, lingering: Mapping[str, int]) -> dict[str, float]:
    """Memory of nodes for what is to be there, less what is left to models loaded on demand."""
    warm_bytes = state.settings.warm_bytes
    memory = {name: state.nodes[name].report.memory_bytes for name in lingering}
    return {name: min(warm_bytes(most), most - lingering[name]) for name, most in memory.items()}


def _rehoused(state: State, lingering: Mapping[str, int]) -> dict[str, str]:
    """See `rehouse`."""
    settings = state.settings
    rooms = _warm_rooms(state, lingering)
    idle_s = settings.scaling.idle_s
    models = state.models.values()
    found = rehouse(models, rooms, settings.unknown_bytes, idle_s, state.now_s)
    for name in found:
        state.rewarm(state.models[name].nodes)
    return found


def _holders(state: State, model: KnownModel) -> tuple[str, ...]:
    """Nodes that have a model, though it is placed nowhere: a controller has started anew."""
    return tuple(name for name in sorted(state.nodes) if state.nodes[name].available(model.name))


def _lingering_bytes(state: State, node: KnownNode) -> int:
    """Memory of a node that models take which are about to leave it.

    Not so much that what belongs there would have to go: they will be gone before long.
    """
    unknown_bytes = state.settings.unknown_bytes
    lingering = assigned = 0
    for name in node.held:
        model = state.model(name)
        if model is not None and node.name in model.leaving:
            lingering += model.resident_bytes(unknown_bytes)
        elif model is not None:
            assigned += model.resident_bytes(unknown_bytes)
    return max(0, min(lingering, node.report.memory_bytes - assigned))


def _assign(state: State, model: KnownModel, names: tuple[str, ...]) -> None:
    for node in model.nodes:
        if node not in names and node in state.nodes:
            model.leaving[node] = None
            state.moving.add(model.name)
    state.rewarm((*model.nodes, *names))
    for node in names:
        if node in model.leaving:  # what it was to leave there is not free any more, or was not
            del model.leaving[node]
            state.must_place |= state.is_short
        if model.name not in state.nodes[node].held:
            state.nodes[node].held.add(model.name)
            state.nodes[node].take_labels(model.name, model.truth.labels)
            state.touch((node,))
    model.nodes = names
    state.changed.add(model.name)
    state.remapped.add(model.name)


def _roll(state: State) -> None:
    """Have versions that were found loaded beside those that are served, where there is memory."""
    waiting = [model for model in state.models.values() if model.lacks and not model.is_rolling]
    if not waiting:
        return
    unknown_bytes = state.settings.unknown_bytes
    used: Counter[str] = Counter()
    for model in (*state.models.values(), *state.removed.values()):
        for node in (*model.nodes, *model.leaving):
            used[node] += model.resident_bytes(unknown_bytes)
    for model in waiting:
        more = (model.bytes or unknown_bytes) * len(model.lacks) if model.is_warm else 0
        holders = [*model.nodes, *model.leaving]
        if all(used[node] + more <= state.nodes[node].report.memory_bytes for node in model.nodes):
            model.roll(True)
            model.written = model.versions
            for node in holders:
                used[node] += more
            state.touch(holders)
        else:
            state.is_short = True


def release(state: State) -> None:
    """Give models up where others answer for them; a little later have them leave memory."""
    for name in sorted(state.moving):
        model = state.model(name)
        if model is None:
            state.moving.discard(name)
            continue
        for node, until in list(model.leaving.items()):
            if until is None and not _is_needed(state, model, node):
                model.leaving[node] = until = state.now_s + state.settings.linger_s
                state.remapped.add(name)
            if until is not None and until <= state.now_s:
                del model.leaving[node]
                if node in state.nodes:
                    state.nodes[node].held.discard(name)
                    state.nodes[node].labels.pop(name, None)
                    state.touch((node,))
                state.must_place |= state.is_short
        if not model.leaving:
            state.moving.discard(name)
            state.removed.pop(name, None)


def _is_needed(state: State, model: KnownModel, node: str) -> bool:
    """Whether a node is still to answer for a model that is to leave it."""
    if model.name in state.removed or node not in state.nodes:
        return False
    versions = {*model.truth.versions}
    if not versions & state.nodes[node].available(model.name):
        return False
    if not model.nodes:  # it fits nowhere else: a node that is drained keeps it, a full one cannot
        return state.nodes[node].is_draining
    return not all(versions <= state.nodes[name].available(model.name) for name in model.nodes)
