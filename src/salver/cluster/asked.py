"""Has the number of a model's replicas follow what is asked of it; see `scaling`."""

from salver.cluster.scaling import wanted_replicas
from salver.cluster.state import State

__all__ = ["scale"]


def scale(state: State) -> None:
    """Look at all models that are asked for."""
    before_s, state.scaled_s = state.scaled_s, state.now_s
    if before_s is None or not state.nodes:
        return
    scaling = state.settings.scaling
    cores = sum(node.report.cores for node in state.nodes.values()) / len(state.nodes)
    for name in sorted(state.active):
        model = state.models.get(name)
        if model is None:
            state.active.discard(name)
            continue
        demand = model.demand
        if demand.last_s is None and model.is_warm:
            demand.last_s = state.now_s  # of a journal: nobody knows when
        demand.advance(state.now_s - before_s, scaling.window_s)
        if not model.is_warm and demand.last_s is not None and demand.last_s > before_s:
            model.is_warm = True
            state.rewarm(model.nodes)
            state.must_warm = True
            state.must_place |= not model.nodes
        had, most = demand.replicas, model.most(len(state.nodes))
        if wanted_replicas(demand, model.least, most, cores, scaling, state.now_s) != had:
            state.must_place = True
        is_idle = model.may_be_nowhere and model.is_warm
        if is_idle and demand.last_s is not None:
            is_idle = state.now_s - demand.last_s < scaling.idle_s
            state.must_warm |= not is_idle
        if demand.is_quiet() and demand.replicas <= model.least and not is_idle:
            state.active.discard(name)
