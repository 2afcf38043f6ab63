"""How many nodes a cluster asks Ray's autoscaler for, and which one it could do without. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from salver.cluster.needs import Assignment, ModelNeed, NodeRoom
from salver.cluster.placement import place
from salver.cluster.spec import NodesSpec

__all__ = ["Wanted", "crowded", "request_of", "superfluous", "wanted_nodes"]


_MUCH: Final = 0.25  # of what a node may bear: load of less is not worth a node


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which nodes there should be.

    Attributes:
        nodes: of those that there are, the ones that stay.
        more: how many beside them.
    """

    nodes: tuple[str, ...] = ()
    more: int = 0


def wanted_nodes(spec: NodesSpec, staying: Collection[str], *, is_short: bool) -> Wanted:
    """Which nodes there should be.

    Those that stay; one more while models lack room; and within the bounds of the specification.

    Args:
        spec: of the nodes.
        staying: those that report and are not to leave.
        is_short: a model has too few nodes.
    """
    count = len(staying)
    wanted = count + (1 if is_short and staying else 0)
    wanted = max(spec.min, min(wanted, spec.max) if spec.max else wanted)
    return Wanted(tuple(sorted(staying))[:wanted], max(0, wanted - count))


def crowded(
    models: Sequence[ModelNeed],
    nodes: Sequence[NodeRoom],
    before: Assignment,
    *,
    busy_share: float,
) -> dict[str, int]:
    """Models that keep a node too busy together, so that some of them should go to a further one.

    There are none at a node that one model alone keeps busy, or those alone that are pinned: a
    further node would take nothing from it.

    Args:
        models: those that are asked for.
        nodes: those that may hold models.
        before: the present assignment.
        busy_share: of a node's processors that should be kept busy at most.

    Returns:
        Model → how many others are at that node.
    """
    used: dict[str, dict[str, float]] = {node.name: {} for node in nodes}
    for model in models:
        at = before.get(model.name, ())
        for name in at:
            if name in used and model.rate:
                used[name][model.name] = model.rate / len(at)
    pinned = {model.name for model in models if model.is_pinned}
    found: dict[str, int] = {}
    for node in nodes:
        loads, most = used[node.name], busy_share * node.cores
        movable = {name: load for name, load in loads.items() if name not in pinned}
        largest = max(loads.values(), default=0.0)
        others = min(sum(movable.values()), sum(loads.values()) - largest)
        if sum(loads.values()) > most and others > _MUCH * most:
            for name in movable:
                found[name] = max(found.get(name, 0), len(loads) - 1)
    return found


def superfluous(
    models: Sequence[ModelNeed],
    nodes: Sequence[NodeRoom],
    before: Assignment,
    kept: Collection[str],
    *,
    head_room: float,
    busy_share: float,
) -> str:
    """The node that a cluster could do without; empty where it needs all of them.

    It is the one with the fewest bytes of models, of those that are not kept, have no pinned model
    and are not the last of their zone. All models with all their replicas must fit on the others,
    with room to spare, and not keep these too busy.

    Args:
        models: all of them.
        nodes: those that may hold models.
        before: the present assignment.
        kept: nodes that stay in any case.
        head_room: part of each node's memory that must be left.
        busy_share: of their processors that all models together may keep busy.
    """
    candidate = _emptiest(models, nodes, before, kept)
    left = [node for node in nodes if node.name != candidate]
    if not candidate or not left:
        return ""
    if sum(model.rate for model in models) > busy_share * sum(node.cores for node in left):
        return ""
    smaller = [
        replace(node, memory_bytes=int(node.memory_bytes * (1 - head_room))) for node in left
    ]
    if sum(model.bytes * model.replicas for model in models) > sum(
        node.memory_bytes for node in smaller
    ):
        return ""  # which is quicker to know than a placement
    after = place(models, smaller, before, most_moves=0)
    return candidate if all(len(after[each.name]) == each.replicas for each in models) else ""


def _emptiest(
    models: Sequence[ModelNeed],
    nodes: Sequence[NodeRoom],
    before: Assignment,
    kept: Collection[str],
) -> str:
    used: Counter[str] = Counter()
    count: Counter[str] = Counter()
    pinned: set[str] = set()
    for model in models:
        for node in before.get(model.name, ()):
            used[node] += model.bytes
            count[node] += 1
            if model.is_pinned:
                pinned.add(node)
    zones = Counter(node.zone for node in nodes)
    found = [
        (used[node.name], count[node.name], node.name)
        for node in nodes
        if node.name not in kept and node.name not in pinned and (zones[node.zone] > 1)
    ]
    return min(found)[2] if found else ""


def request_of(
    wanted: Wanted, taken: Collection[str], processors: Mapping[str, float], each: float
) -> list[dict[str, float]]:
    """What Ray's autoscaler is asked for: nothing, or room for the nodes there are and some more.

    It keeps those that stay without being asked, since something runs there. Asked for as many as
    there are it may keep one that is to go in place of the head. For more, each node that is taken
    asks for all that it has itself, so that what is asked beside fits in none of them.

    Args:
        wanted: see there.
        taken: nodes that can be none of those further ones, whether they stay or not.
        processors: of each node, as Ray counts them.
        each: that a further node must have at least.
    """
    if not wanted.more:
        return []
    names = sorted({*wanted.nodes, *taken})
    bundles = [{"CPU": count} for name in names if (count := processors.get(name, 0.0))]
    return bundles + [{"CPU": each}] * wanted.more
