"""Which models are in memory somewhere, and which are loaded when they are asked for. Pure.

Those with a minimum of replicas, and pinned ones, are always warm. Those with a maximum alone are
warm while they are asked for. The others are warm while there is room: where there is too little,
those that were asked longest ago are cold. First that is decided at each node for what it has, so
that a model which is asked for again stays where it is loaded.
"""

from collections.abc import Iterable, Mapping

from salver.cluster.models import KnownModel

__all__ = ["choose_warm", "rehouse"]


def choose_warm(
    models: Iterable[KnownModel],
    rooms: Mapping[str, float],
    unknown_bytes: int,
    idle_s: float,
    now_s: float,
) -> list[KnownModel]:
    """Set `is_warm` of models.

    Args:
        models: all of them.
        rooms: node → bytes for those that are warm.
        unknown_bytes: see `Settings`.
        idle_s: see `Scaling`.
        now_s: the time.

    Returns:
        Those for which it has changed.
    """
    changed = []
    used = dict.fromkeys(rooms, 0)
    whole = 0
    optional: dict[str, list[KnownModel]] = {}
    for model in models:
        should = _should_be_warm(model, idle_s, now_s)
        if should != model.is_warm:
            model.is_warm = should
            changed.append(model)
        if not should:
            continue
        bytes_of_it = model.resident_bytes(unknown_bytes)
        whole += bytes_of_it * model.least
        for node in model.nodes:
            if node in used:
                used[node] += bytes_of_it
        if not model.is_kept_warm:
            for node in model.nodes[:1] or ("",):
                optional.setdefault(node, []).append(model)
    for node, room in rooms.items():
        whole -= _cool(optional.get(node, []), used[node] - room, unknown_bytes, changed)
    room = sum(rooms.values())
    if whole > room:
        left = [model for each in optional.values() for model in each if model.is_warm]
        _cool(left, whole - room, unknown_bytes, changed)
    return changed


def rehouse(
    models: Iterable[KnownModel],
    rooms: Mapping[str, float],
    unknown_bytes: int,
    idle_s: float,
    now_s: float,
) -> dict[str, str]:
    """Set `is_warm` of models that were asked for lately and whose nodes have no memory for them.

    It is for those that are to be in memory while they are asked for. The arguments are those of
    `choose_warm`, which comes first.

    Returns:
        Model → the node that has memory for it.
    """
    known = list(models)
    cramped = [each for each in known if each.may_be_nowhere and each.is_cramped(now_s, idle_s)]
    if not cramped:
        return {}
    free = dict(rooms)
    for model in known:
        for node in model.nodes:
            if node in free:
                free[node] -= model.resident_bytes(unknown_bytes)
    found = {}
    for model in sorted(cramped, key=_last_asked, reverse=True):
        need = model.loaded_bytes(unknown_bytes)
        node = max(free, key=lambda name: (free[name], name), default="")
        if node and need <= free[node]:
            free[node] -= need
            model.is_warm = True
            found[model.name] = node
    return found


def _should_be_warm(model: KnownModel, idle_s: float, now_s: float) -> bool:
    """Whether a model should be in memory, if there is room."""
    if model.is_kept_warm:
        return True
    if model.may_be_nowhere:
        last_s = model.demand.last_s
        return last_s is not None and now_s - last_s < idle_s
    return model.is_warm


def _cool(
    models: list[KnownModel], excess: float, unknown_bytes: int, changed: list[KnownModel]
) -> int:
    """Have models leave memory, those asked longest ago first; returns the bytes that they took."""
    if excess <= 0:
        return 0
    cooled = 0
    for model in sorted(models, key=_last_asked):
        if cooled >= excess:
            break
        cooled += model.resident_bytes(unknown_bytes)
        model.is_warm = False
        changed.append(model)
    return cooled


def _last_asked(model: KnownModel) -> tuple[float, str]:
    last_s = model.demand.last_s
    return (float("-inf") if last_s is None else last_s, model.name)
