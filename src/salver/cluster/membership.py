"""Which nodes live: those that say so often enough."""

from salver.cluster.state import State

__all__ = ["bury", "bury_the_silent"]


def bury_the_silent(state: State) -> None:
    """Nodes that have been silent for too long are dead.

    Where more than half of many are silent, it is more likely that the controller is cut off from
    them, and that they serve as before. Then they have longer.
    """
    settings = state.settings
    silent = {}
    for name, node in state.nodes.items():
        if node.last_s is None:
            node.last_s = state.now_s  # of a journal: it has until then
        silent_s = state.now_s - node.last_s
        if silent_s > settings.dead_s:
            silent[name] = silent_s
    is_cut_off = len(state.nodes) >= settings.cut_off_nodes and 2 * len(silent) > len(state.nodes)
    for name, silent_s in silent.items():
        if not is_cut_off or silent_s > settings.cut_off_s:
            bury(state, name)


def bury(state: State, name: str) -> None:
    """A node is dead: what it had is not there any more."""
    node = state.nodes.pop(name)
    state.touched.discard(name)
    for each in node.held | node.models.keys():
        model = state.model(each)
        if model is None:
            continue
        model.demand.forget(name)
        model.nodes = tuple(other for other in model.nodes if other != name)
        model.leaving.pop(name, None)
        state.changed.add(each)
        state.remapped.add(each)
    state.hoped = {}
    state.vain.clear()
    state.must_place = state.must_map = True
