"""What is still at a node that others are to take over, and whether they ever can.

A node whose server is to be started anew waits for the others as long as something is on its way to
them. Where all that is left has room nowhere else, or fails to load there, it waits for
`Settings.wait_for_room_s` and is then started anew where it is; a superfluous node takes models
again then. A person's drain waits for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from salver.cluster.models import KnownModel
from salver.cluster.state import State

__all__ = [
    "Evacuation",
    "drain_notice",
    "evacuation_of",
    "held_nodes",
    "is_stuck",
    "model_notice",
    "restart_notice",
    "surplus_notice",
    "watch_turn",
]

_NAMED = 5  # models in a line for people


@dataclass(frozen=True, slots=True)
class Evacuation:
    """What is left at a node.

    Attributes:
        stuck: model → why no other node can take it over.
        is_moving: others are on their way elsewhere.
    """

    stuck: Mapping[str, str]
    is_moving: bool


def evacuation_of(state: State, node: str) -> Evacuation:
    """What is left at a node that is to be without models."""
    stuck = {}
    is_moving = state.must_place
    for name in sorted(state.nodes[node].held):
        model = state.models.get(name)
        reason = "" if model is None else _obstacle(state, model, node)
        if reason:
            stuck[name] = reason
        else:
            is_moving = True
    return Evacuation(stuck, is_moving)


def _obstacle(state: State, model: KnownModel, node: str) -> str:
    """Why a model cannot leave a node; empty where it is about to."""
    if model.leaving.get(node, 0.0) is not None:
        return ""
    if not model.nodes:
        return "no other node has room"
    versions = {*model.truth.versions}
    lacking = [
        name
        for name in model.nodes
        if name in state.nodes and not versions <= state.nodes[name].available(model.name)
    ]
    if lacking and all(_fails(state, model.name, name) for name in lacking):
        return f"it cannot be loaded at {', '.join(lacking)}"
    return ""


def _fails(state: State, model: str, node: str) -> bool:
    said = state.nodes[node].models.get(model)
    return said is not None and any(each.error for each in said.versions)


def watch_turn(state: State) -> None:
    """Note since when nothing more can leave the node whose server is to be started anew."""
    if state.restarting not in state.nodes:
        return
    left = evacuation_of(state, state.restarting)
    if left.is_moving or not left.stuck:
        state.stuck, state.stuck_s = {}, None
        return
    state.stuck = dict(left.stuck)
    if state.stuck_s is None:
        state.stuck_s = state.now_s


def held_nodes(state: State) -> list[str]:
    """Superfluous nodes that have waited long enough for others to take over what they have."""
    before, state.held_s = state.held_s, {}
    for node in sorted(state.surplus & state.nodes.keys()):
        left = evacuation_of(state, node)
        if left.stuck and not left.is_moving:
            state.held_s[node] = before.get(node, state.now_s)
    return [node for node, since_s in state.held_s.items() if _left_s(state, since_s) <= 0]


def _left_s(state: State, since_s: float) -> float:
    """How long a wait for room elsewhere still lasts."""
    return max(0.0, since_s + state.settings.wait_for_room_s - state.now_s)


def is_stuck(state: State) -> bool:
    """Whether the node whose turn it is has waited long enough for room elsewhere."""
    return state.stuck_s is not None and _left_s(state, state.stuck_s) <= 0


def restart_notice(state: State) -> str:
    """What a person should know of the present turn; empty where it goes on by itself."""
    if state.stuck_s is None or state.restarting in state.draining:
        return ""
    found = f"others cannot take over {_listed(state.stuck)}. {_when(state)}"
    if alone := [name for name in state.stuck if not _answers_elsewhere(state, name)]:
        found += f", and {_names(alone)} cannot be asked meanwhile"
    return found


def model_notice(state: State, model: str) -> str:
    """What a person should know of one model that cannot leave its node; empty for nothing."""
    for node, since_s in state.held_s.items():
        if node in state.nodes and (reason := evacuation_of(state, node).stuck.get(model)):
            left_s = _left_s(state, since_s)
            return f"{node} is superfluous, and {reason}. In {left_s:.0f} s it takes models again."
    if model not in state.stuck or state.restarting in state.draining:
        return ""
    found = f"{state.restarting} is to have other flags, and {state.stuck[model]}. {_when(state)}"
    return found + ("." if _answers_elsewhere(state, model) else ": it cannot be asked meanwhile.")


def drain_notice(state: State, node: str) -> str:
    """Why a drain that a person has asked for does not end; empty where it does."""
    if node not in state.draining or node not in state.nodes:
        return ""
    left = evacuation_of(state, node)
    return f"others cannot take over {_listed(left.stuck)}; it waits" if left.stuck else ""


def surplus_notice(state: State, node: str) -> str:
    """Why a superfluous node does not go; empty where it is about to."""
    if node not in state.held_s or node not in state.nodes:
        return ""
    left_s = _left_s(state, state.held_s[node])
    stuck = _listed(evacuation_of(state, node).stuck)
    return f"others cannot take over {stuck}. In {left_s:.0f} s it takes models again"


def _when(state: State) -> str:
    if is_stuck(state):
        return "Its server is being started anew where it is"
    assert state.stuck_s is not None
    return f"In {_left_s(state, state.stuck_s):.0f} s its server is started anew where it is"


def _answers_elsewhere(state: State, model: str) -> bool:
    placed = state.placed.get(model)
    return placed is not None and bool({*placed.nodes} - {state.restarting})


def _listed(stuck: Mapping[str, str]) -> str:
    return _names([f"{name} ({reason})" for name, reason in stuck.items()])


def _names(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
