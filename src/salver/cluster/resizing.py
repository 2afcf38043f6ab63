"""Has the nodes that Ray's autoscaler is asked for follow what models need; see `growing`."""

from salver.cluster.growing import superfluous, wanted_nodes
from salver.cluster.models import KnownModel
from salver.cluster.moving import is_gathered, needs_of, rooms_of
from salver.cluster.state import State

__all__ = ["resize", "take_back"]


def resize(state: State) -> None:
    """Say which nodes there should be, and have one that is superfluous drained, or come back.

    One goes at a time, each after a quiet time of its own.
    """
    spec = state.spec
    if spec is None:
        return
    if not is_gathered(state):
        if _is_short(state, is_lacking=state.gathering_s is None):
            state.wanted = wanted_nodes(spec.nodes, (), is_short=False)
        return
    idle_s = spec.nodes.idle_s
    is_lacking = _is_lacking(state)
    if is_lacking or not idle_s:
        take_back(state, *state.surplus)
    elif state.now_s - state.sized_s >= min(state.settings.balance_s, idle_s):
        state.sized_s = state.now_s
        _give_back(state, idle_s)
    staying = [
        name
        for name, node in state.nodes.items()
        if not node.is_draining or name == state.restarting
    ]
    state.wanted = wanted_nodes(spec.nodes, staying, is_short=_is_short(state, is_lacking))


def take_back(state: State, *nodes: str) -> None:
    """Have nodes take models again that were superfluous."""
    state.roomy_s = None
    for name in nodes:
        state.surplus.discard(name)
        state.drain_as_asked(name)


def _is_lacking(state: State) -> bool:
    """Whether a model has too few nodes, or none with memory for it, and a further one would do."""
    if state.kept:
        beside = (node for name, node in state.nodes.items() if name not in state.kept)
        largest = max((node.report.memory_bytes for node in beside), default=0)
        state.largest_bytes = max(state.largest_bytes, largest)
    if state.is_short and any(
        len(model.nodes) < model.least and _would_fit(state, model)
        for model in state.models.values()
    ):
        return True
    assert state.spec is not None
    idle_s = state.settings.scaling.idle_s if state.spec.nodes.idle_s else 0.0
    active = (state.models[name] for name in state.active if name in state.models)
    return any(
        model.may_be_nowhere and model.is_cramped(state.now_s, idle_s) and _would_fit(state, model)
        for model in active
    )


def _would_fit(state: State, model: KnownModel) -> bool:
    """Whether a node such as have come would have memory for a model; yes where none ever came."""
    need = model.loaded_bytes(state.settings.unknown_bytes)
    return not state.largest_bytes or need <= state.largest_bytes


def _is_short(state: State, is_lacking: bool) -> bool:
    """Whether nodes have been lacking for some time."""
    if not is_lacking:
        state.short_s = None
        return False
    if state.short_s is None:
        state.short_s = state.now_s
    return state.now_s - state.short_s >= state.settings.short_s


def _give_back(state: State, idle_s: float) -> None:
    """Have a node drained that has been superfluous for so long."""
    if _is_restless(state):
        return
    node = _superfluous(state)
    if not node:
        state.roomy_s = None
    elif state.roomy_s is None:
        state.roomy_s = state.now_s
    elif state.now_s - state.roomy_s >= idle_s:
        state.roomy_s = None
        state.surplus.add(node)
        state.drain_as_asked(node)


def _is_restless(state: State) -> bool:
    """Whether things are in motion, so that nobody can say which node could go."""
    return bool(
        state.must_place
        or state.moving
        or state.restarting
        or state.surplus & state.nodes.keys()
        or any(node.last_s is None for node in state.nodes.values())
    )


def _superfluous(state: State) -> str:
    spec, settings = state.spec, state.settings
    assert spec is not None
    rooms = rooms_of(state)
    idle_s = settings.scaling.idle_s
    is_full = state.is_short or any(
        model.is_cramped(state.now_s, idle_s) for model in state.models.values()
    )
    if is_full or not state.kept or len(rooms) <= spec.nodes.min:
        return ""
    return superfluous(
        needs_of(state),
        rooms,
        {model.name: model.nodes for model in state.models.values()},
        state.kept,
        head_room=settings.head_room,
        busy_share=settings.scaling.busy_share,
    )
