"""The status of a cluster as lines for a person."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["drain_line", "model_rows", "node_rows", "status_lines"]

_NODE_HEAD: Final = ("NODE", "STATE", "REST", "ZONE", "MODELS", "MEMORY", "SERVER")
_MODEL_HEAD: Final = ("MODEL", "STATE", "VERSIONS", "REPLICAS", "REQ/S", "NODES")
_MOST_MODELS: Final = 200


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """How a cluster is."""
    word = "settled" if status["is_settled"] else "changing"
    if status.get("restarting"):
        word = f"restarting the server of {status['restarting']}"
    models = model_rows(status)
    lines = [f"Cluster {status['name']}, generation {status['generation']}: {word}", ""]
    lines += _table(_NODE_HEAD, node_rows(status))
    lines += ["", *_table(_MODEL_HEAD, models[:_MOST_MODELS])]
    if len(models) > _MOST_MODELS:
        lines.append(f"... and {len(models) - _MOST_MODELS} more; --json has all")
    problems = [f"{what}: {text}" for what, text in status.get("problems", {}).items()]
    problems += [f"{each['name']}: {text}" for each in status["nodes"] if (text := _problem(each))]
    problems += [f"{each['name']}: {each['error']}" for each in status["models"] if each["error"]]
    return [*lines, *(["", "Problems", *problems] if problems else [])]


def _problem(node: Mapping[str, Any]) -> str:
    condition = node.get("condition") or {}
    if condition.get("problem"):
        return str(condition["problem"])
    if condition.get("niceness", 0) > 0:
        return (
            f"its server has niceness {condition['niceness']}, and waits for all other programs: "
            "start Ray there with RAY_worker_niceness=0"
        )
    return ""


def node_rows(status: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each node."""
    return [
        (
            node["name"],
            node["state"] + (", behind" if node["is_behind"] else ""),
            node["rest"] or "-",
            node["zone"] or "-",
            str(node["models"]),
            f"{_size(node['used_bytes'])} of {_size(node['memory_bytes'])}",
            _server(node.get("condition")),
        )
        for node in status["nodes"]
    ]


def _server(condition: Mapping[str, Any] | None) -> str:
    if not condition or not condition["server_pid"]:
        return "none"
    return f"process {condition['server_pid']}" + (
        ", to be restarted" if condition["is_outdated"] else ""
    )


def model_rows(status: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each model."""
    return [
        (
            model["name"],
            model["state"],
            _versions(model),
            f"{len(model['available'])}/{model['replicas']}",
            f"{model['requests_per_second']:.1f}",
            ", ".join(_nodes(model)) or "-",
        )
        for model in status["models"]
    ]


def _versions(model: Mapping[str, Any]) -> str:
    labels: dict[int, list[str]] = {}
    for label, version in model["labels"].items():
        labels.setdefault(version, []).append(label)
    shown = [
        f"{version} ({', '.join(labels[version])})" if version in labels else str(version)
        for version in model["versions"]
    ]
    return ", ".join(shown) or "-"


def _nodes(model: Mapping[str, Any]) -> list[str]:
    here = [node if node in model["available"] else f"{node} (loading)" for node in model["nodes"]]
    return here + [f"{node} (leaving)" for node in model["leaving"]]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _size(size_bytes: int) -> str:
    for unit_bytes, unit in (
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ):
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.3g} {unit}"
    return f"{size_bytes} B"


def drain_line(status: Mapping[str, Any], node: str) -> str:
    """What a node that is drained waits for; empty where it may be stopped."""
    found = next((each for each in status["nodes"] if each["name"] == node), None)
    if found is None:
        return ""
    if found["state"] == "drained":
        has_ended = found["condition"] and not found["condition"]["server_pid"]
        return "" if has_ended else f"{node} is drained: its server answers what it has begun"
    problem = status["problems"].get(f"the drain of {node}")
    return f"{node} is {found['state']}: {problem}" if problem else f"{node} is draining ..."
