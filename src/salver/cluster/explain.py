"""Why a model is where it is, in sentences. Pure."""

import difflib
from collections.abc import Iterator

from salver.cluster.evacuation import model_notice
from salver.cluster.models import KnownModel
from salver.cluster.state import State

__all__ = ["explain"]


def explain(state: State, name: str) -> str:
    """What a person has to know of a model: where it is, where not, and what is waited for."""
    model = state.models.get(name)
    if model is None:
        nearest = difflib.get_close_matches(name, state.models, n=1, cutoff=0.5)
        is_leaving = " any more: it is about to leave its nodes" if name in state.removed else ""
        hint = f"; is it {nearest[0]}?" if nearest else ""
        return f"{name} is no model of this cluster{is_leaving}{hint}"
    return "\n".join(_sentences(state, model))


def _sentences(state: State, model: KnownModel) -> Iterator[str]:
    yield from _place(state, model)
    yield from _nodes(state, model)
    if notice := model_notice(state, model.name):
        yield notice
    yield from _versions(state, model)
    yield from _demand(state, model)


def _size(model: KnownModel, state: State) -> str:
    if model.bytes:
        return f"{_mib(model.bytes)} a version"
    return f"{_mib(state.settings.unknown_bytes)}, for want of anything better known"


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"


def _place(state: State, model: KnownModel) -> Iterator[str]:
    wanted = max(model.demand.replicas, model.least) if model.is_warm else 1
    need = model.resident_bytes(state.settings.unknown_bytes)
    live = [node for node in state.nodes.values() if not node.is_draining]
    if not live:
        yield f"{model.name} has no node: none is live that is not to leave."
        return
    largest = max(node.report.memory_bytes for node in live)
    if not model.is_warm:
        yield (
            f"{model.name} is cold: {_why_cold(model)} It is loaded at the node below when it is "
            "asked for."
        )
    if not model.nodes:
        if state.must_place:
            yield f"{model.name} has no node yet: it is about to be placed."
        elif need > largest:
            yield (
                f"{model.name} fits nowhere: it takes {_mib(need)} ({_size(model, state)}), and "
                f"the largest node has {_mib(largest)} for models."
            )
        else:
            yield (
                f"{model.name} fits nowhere: it takes {_mib(need)} ({_size(model, state)}), and no "
                "node has so much left beside models that have to be there."
            )
    elif len(model.nodes) < wanted:
        if len(live) < wanted:
            reason = "there is 1 node" if len(live) == 1 else f"there are {len(live)} nodes"
        else:
            reason = f"no further node has {_mib(need)} left"
        yield f"{model.name} has {len(model.nodes)} of {wanted} replicas: {reason}."
    elif model.is_warm:
        yield f"{model.name} has the {wanted} replicas that it should have, of {_mib(need)} each."


def _why_cold(model: KnownModel) -> str:
    if model.may_be_nowhere:
        return "it may have no replica (replicas.min is 0), and nothing is asked of it."
    return "memory is short, and others were asked later."


def _nodes(state: State, model: KnownModel) -> Iterator[str]:
    for name in (*model.nodes, *model.leaving):
        node = state.nodes.get(name)
        if node is None:
            continue
        said = node.models.get(model.name)
        states = ", ".join(
            f"version {each.version} {each.state}" + (f" ({each.error})" if each.error else "")
            for each in (said.versions if said else ())
        )
        if not states and node.report.generation != node.generation:
            states = "its server has not got its files yet"
        leaving = ""
        if name in model.leaving:
            is_needed = model.leaving[name] is None
            leaving = ", to leave" + (" once others answer" if is_needed else " in a moment")
        zone = f" in zone {node.report.zone}" if node.report.zone else ""
        yield f"- {name}{zone}{leaving}: {states or 'nothing is known yet'}"


def _versions(state: State, model: KnownModel) -> Iterator[str]:
    versions = ", ".join(map(str, model.truth.versions))
    yield f"The cluster serves version {versions}." if versions else "No version is served yet."
    if model.lacks:
        lacking = ", ".join(map(str, model.lacks))
        if model.is_rolling:
            yield f"Version {lacking} is being loaded beside it, until most replicas have it."
        else:
            yield f"Version {lacking} waits for memory beside it at each node that has the model."
    for label, version in model.config.version_labels.items():
        if model.truth.labels.get(label) != version:
            now = model.truth.labels.get(label)
            stays = f"stays at version {now}" if now is not None else "is not in effect"
            yield f"The label {label} {stays}, until version {version} is served."


def _demand(state: State, model: KnownModel) -> Iterator[str]:
    demand = model.demand
    if demand.last_s is None:
        yield "Nothing has been asked of it yet."
        return
    queued = sum(demand.queued.values())
    yield (
        f"{demand.rate:.1f} requests a second keep {demand.busy:.2f} processors busy; {queued} are "
        f"under way. The last one came {state.now_s - demand.last_s:.0f} s ago."
    )
