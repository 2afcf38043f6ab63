"""Has the nodes that Ray's autoscaler is asked for follow what models need; see `growing`."""

from salver.cluster.evacuation import held_nodes
from salver.cluster.growing import crowded, superfluous, wanted_nodes
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
        if _is_over(state, is_lacking=state.gathering_s is None):
            take_back(state, *state.surplus)
            state.wanted = wanted_nodes(spec.nodes, (), is_short=False)
        return
    idle_s = spec.nodes.idle_s
    if held := held_nodes(state):
        take_back(state, *held)
    state.lacking = _lacking(state)
    if state.lacking or not idle_s or len(_staying(state)) < spec.nodes.min:
        take_back(state, *state.surplus)
    elif state.now_s - state.sized_s >= min(state.settings.balance_s, idle_s):
        state.sized_s = state.now_s
        _give_back(state, idle_s)
    state.wanted = wanted_nodes(spec.nodes, _staying(state), is_short=_is_short(state))


def take_back(state: State, *nodes: str) -> None:
    """Have nodes take models again that were superfluous."""
    state.roomy_s = None
    for name in nodes:
        state.surplus.discard(name)
        state.drain_as_asked(name)


def _staying(state: State) -> list[str]:
    """Nodes that are not to leave."""
    return [
        name
        for name, node in state.nodes.items()
        if not node.is_draining or name == state.restarting
    ]


def _lacking(state: State) -> dict[str, int]:
    """Models that have too few nodes, or none with memory for them, and a further one would do.

    While a server is started anew others lack what its node has, but not for long.
    """
    if state.restarting in state.nodes:
        return {}
    if state.kept:
        beside = (node for name, node in state.nodes.items() if name not in state.kept)
        largest = max((node.report.memory_bytes for node in beside), default=0)
        state.largest_bytes = max(state.largest_bytes, largest)
    found = {}
    if state.is_short:
        largest = state.largest_bytes
        found = {
            model.name: model.least - len(model.nodes)
            for model in state.models.values()
            if len(model.nodes) < model.least and _would_fit(state, model, largest)
        }
    assert state.spec is not None
    if not state.spec.nodes.idle_s:
        return found
    settings = state.settings
    idle_s = settings.scaling.idle_s
    room = settings.warm_bytes(state.largest_bytes)
    for name in state.active & state.models.keys() - found.keys():
        model = state.models[name]
        is_cramped = model.may_be_nowhere and model.is_cramped(state.now_s, idle_s)
        if is_cramped and _would_fit(state, model, room):
            found[name] = 1
    return _overloaded(state) | found


def _overloaded(state: State) -> dict[str, int]:
    """Models that a further node would relieve, where all nodes together are too busy.

    Some could go there, or get a replica there that they may have.
    """
    settings = state.settings
    busy_share = settings.scaling.busy_share
    nodes = [state.nodes[name].room() for name in _staying(state)]
    busy = [state.models[name] for name in state.active & state.models.keys()]
    most = busy_share * sum(node.cores for node in nodes)
    if sum(model.demand.busy for model in busy) <= most:
        return {}
    needs = [model.need(settings.unknown_bytes) for model in busy]
    at = {model.name: model.nodes for model in busy}
    return crowded(needs, nodes, at, busy_share=busy_share) | {
        model.name: model.replicas.max - len(nodes)
        for model in busy
        if len(nodes) <= len(model.nodes) and len(nodes) < model.replicas.max
    }


def _would_fit(state: State, model: KnownModel, room: float) -> bool:
    """Whether a node such as have come would have memory for a model; yes where none ever came."""
    return not room or model.loaded_bytes(state.settings.unknown_bytes) <= room


def _is_short(state: State) -> bool:
    """Whether models have lacked nodes for some time, and not in spite of one that came for them.

    Where nothing lacks less than before that came, there is something else that they lack.
    """
    lacking, hoped = state.lacking, state.hoped
    state.vain &= lacking.keys()
    if not _is_over(state, is_lacking=bool(lacking.keys() - state.vain)):
        return False
    if hoped and all(lacking.get(name, 0) >= count for name, count in hoped.items()):
        state.vain |= hoped.keys()
    state.hoped = {}
    return bool(lacking.keys() - state.vain)


def _is_over(state: State, *, is_lacking: bool) -> bool:
    """Whether nodes have been lacking for longer than a moment."""
    if not is_lacking:
        state.hoped = {}
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
