"""What must outlive a controller, as a JSON document, and a controller's state made of it.

Only what cannot be observed again: the specification, where models should be, the truth of their
versions, what was learned of their size, how many replicas demand called for, who has been drained,
which nodes are superfluous and whose server is being started anew. Who lives, what is loaded and
what is asked is in the next reports.

`schema` says what a reader must understand. A member that came later is optional, so that an older
journal is read, and a journal of ours by an older release.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from salver.cluster.models import KnownModel
from salver.cluster.nodes import KnownNode
from salver.cluster.reports import NodeReport
from salver.cluster.settings import Settings
from salver.cluster.spec import ClusterSpec, NodesSpec, check_cluster
from salver.cluster.state import State
from salver.cluster.truth import Truth
from salver.config.model_documents import config_document, read_config
from salver.config.models import ModelConfig
from salver.errors import DataLoss, ServingError

__all__ = ["read", "written"]

_SCHEMA = 1
_CHUNK = 1000  # models that are read at a time: a document is bounded


def written(state: State) -> dict[str, Any]:
    """The journal of a state; of plain values only, which it shares with nobody."""
    return {
        "schema": _SCHEMA,
        "generation": state.generation,
        "spec": None if state.spec is None else _spec_document(state),
        "draining": sorted(state.draining),
        "surplus": sorted(state.surplus),
        "restarting": state.restarting,
        "touched": sorted(state.touched | _with_removed(state)),
        "nodes": [_node_document(state, state.nodes[name]) for name in sorted(state.nodes)],
        "models": {name: _model_document(state.models[name]) for name in sorted(state.models)},
    }


def _spec_document(state: State) -> dict[str, Any]:
    spec = state.spec
    assert spec is not None
    if state.spec_document is None or state.spec_document[0] is not spec:
        found = {name: getattr(spec, name) for name in _TEXTS}
        found |= {"nodes": asdict(spec.nodes), "flags": dict(spec.flags)}
        found["models"] = config_document(spec.models)["models"]
        state.spec_document = spec, found
    return state.spec_document[1]


_TEXTS = (*("name", "ray_address", "journal", "model_config_file", "peer_token_file", "path"),)


def _with_removed(state: State) -> set[str]:
    """Nodes that have models which nothing but their files remembers."""
    return {name for model in state.removed.values() for name in model.leaving}


def _node_document(state: State, node: KnownNode) -> dict[str, Any]:
    report = node.report
    return {
        "name": report.name,
        "rest": report.rest,
        "grpc": report.grpc,
        "zone": report.zone,
        "memory_bytes": report.memory_bytes,
        "cores": report.cores,
        "incarnation": report.incarnation,
        "generation": node.generation,
        "held": sorted(node.held & state.models.keys()),
        "labels": {name: node.labels[name] for name in sorted(node.labels) if name in state.models},
    }


def _model_document(model: KnownModel) -> dict[str, Any]:
    return {
        "bytes": model.bytes,
        "found": list(model.found),
        "versions": list(model.truth.versions),
        "labels": dict(model.truth.labels),
        "nodes": list(model.nodes),
        "leaving": list(model.leaving),
        "is_warm": model.is_warm,
        "is_rolling": model.is_rolling,
        "replicas": model.demand.replicas,
    }


def read(journal: Mapping[str, Any], settings: Settings) -> State:
    """The state of a controller that wrote a journal, as far as it stands there.

    Raises:
        DataLoss: it is no journal.
    """
    try:
        return _state(journal, settings)
    except (KeyError, TypeError, ValueError, AttributeError, ServingError) as error:
        raise DataLoss(
            f"The journal of the cluster cannot be read: {type(error).__name__}: {error}",
            hint="Move it away and start again: servers that still run are adopted.",
        ) from error


def _state(journal: Mapping[str, Any], settings: Settings) -> State:
    if journal["schema"] != _SCHEMA:
        raise ValueError(f"schema is {journal['schema']!r}, not {_SCHEMA}")
    state = State(settings)
    state.generation = int(journal["generation"])
    state.draining = {*journal["draining"]}
    state.surplus = {*journal.get("surplus", ())}
    state.restarting = str(journal.get("restarting", ""))
    if journal["spec"] is not None:
        state.spec = _spec(journal["spec"])
        state.models = {config.name: KnownModel(config) for config in state.spec.models}
    for entry in journal["nodes"]:
        node = _node(entry)
        state.nodes[node.name] = node
        state.drain_as_asked(node.name)
    for name, entry in journal["models"].items():
        model = state.models[name]
        _fill(model, entry, state.nodes)
        if model.leaving:
            state.moving.add(name)
        if model.is_warm and model.may_be_nowhere:  # until it is known when it was asked for
            state.active.add(name)
    state.touched = {*journal["touched"]} & state.nodes.keys()
    state.changed = {*state.models}
    state.must_place = state.must_map = True
    return state


def _spec(entry: Mapping[str, Any]) -> ClusterSpec:
    models: list[ModelConfig] = []
    for start in range(0, len(entry["models"]), _CHUNK):
        part = {"models": entry["models"][start : start + _CHUNK]}
        models += read_config(json.dumps(part).encode(), ".json")
    spec = ClusterSpec(
        models=tuple(models),
        nodes=NodesSpec(**entry["nodes"]),
        flags={str(name): str(value) for name, value in entry["flags"].items()},
        **{name: str(entry[name]) for name in _TEXTS},
    )
    check_cluster(spec.models)
    return spec


def _node(entry: Mapping[str, Any]) -> KnownNode:
    report = NodeReport(
        name=str(entry["name"]),
        rest=str(entry["rest"]),
        grpc=str(entry["grpc"]),
        zone=str(entry["zone"]),
        memory_bytes=int(entry["memory_bytes"]),
        cores=float(entry["cores"]),
        incarnation=str(entry["incarnation"]),
    )
    node = KnownNode(report, generation=int(entry["generation"]), held={*entry["held"]})
    node.labels = {name: dict(labels) for name, labels in entry["labels"].items()}
    return node


def _fill(model: KnownModel, entry: Mapping[str, Any], nodes: Mapping[str, KnownNode]) -> None:
    model.bytes = int(entry["bytes"])
    model.take_found(entry["found"])
    model.take_truth(Truth(tuple(entry["versions"]), dict(entry["labels"])))
    model.nodes = tuple(name for name in entry["nodes"] if name in nodes)
    model.leaving = {name: None for name in entry["leaving"] if name in nodes}
    model.is_warm = bool(entry["is_warm"])
    model.roll(bool(entry["is_rolling"]))
    model.written = model.versions
    model.demand.replicas = int(entry["replicas"])
