"""What nodes are given: their models' file and the map of peers, each with its generation."""

from salver.cluster.models import KnownModel
from salver.cluster.nodes import KnownNode
from salver.cluster.reports import NodeDesire, NodeReport
from salver.cluster.state import State
from salver.peers.map import PeerMap, Placed

__all__ = ["desire_of", "publish"]


def publish(state: State) -> None:
    """Give a new generation to what has changed."""
    has_new_map = _remap(state) or state.must_map
    if not has_new_map and not state.touched:
        return
    state.generation += 1
    for name in state.touched:
        state.nodes[name].generation = state.generation
        state.nodes[name].resident = None
    state.touched.clear()
    if has_new_map:
        state.must_map = False
        peers = {name: state.nodes[name].peer() for name in sorted(state.nodes)}
        state.peer_map = PeerMap(state.generation, peers, dict(state.placed))


def _remap(state: State) -> bool:
    """Bring the map's models up to date; returns whether any has changed."""
    remapped, state.remapped = state.remapped, set()
    has_changed = False
    for name in sorted(remapped):
        model = state.models.get(name)
        if model is None:
            has_changed |= state.placed.pop(name, None) is not None
        elif (placed := _placed(state, model)) != state.placed.get(name):
            state.placed[name] = placed
            has_changed = True
    return has_changed


def _placed(state: State, model: KnownModel) -> Placed:
    """Where a model answers: where all its versions do, or else any."""
    here = [name for name in model.nodes if name in state.nodes]
    here += [name for name, until in model.leaving.items() if until is None and name in state.nodes]
    versions = {*model.truth.versions}
    available = {name: state.nodes[name].available(model.name) for name in here}
    whole = [name for name in here if versions and versions <= available[name]]
    nodes = whole or [name for name in here if versions & available[name]]
    return Placed(tuple(nodes), model.truth.versions, dict(model.truth.labels))


def desire_of(state: State, node: KnownNode, report: NodeReport, wants_all: bool) -> NodeDesire:
    """What a node should do, less what it has already."""
    if node.resident is None:
        warm = [
            model
            for name in node.held
            if (model := state.models.get(name)) is not None
            and model.is_warm
            and node.name in model.nodes
        ]
        warm.sort(key=lambda model: (-model.demand.rate, model.name))
        node.resident = tuple(model.name for model in warm)
    config = None
    is_decided = node.generation > 0
    if is_decided and report.generation != node.generation:
        models = [
            model.document(node.labels.get(name, {}))
            for name in sorted(node.held)
            if (model := state.model(name)) is not None
        ]
        config = {"schema": 1, "models": models}
    has_map = state.peer_map.generation in (0, report.map_generation)
    return NodeDesire(
        generation=node.generation if is_decided else report.generation,
        config=config,
        peer_map=None if has_map else state.peer_map,
        resident=node.resident,
        wants_all=wants_all,
        is_draining=node.is_draining,
        may_stop=node.is_draining and not node.held,
    )
