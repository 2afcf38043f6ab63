"""What goes between the nodes and the controller, as bytes: JSON of plain values.

So a controller and a node of two releases understand each other, as far as they know the same
members, and nothing that is sent can run code.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

import orjson

from salver.cluster.conditions import NodeCondition
from salver.cluster.reports import ModelReport, NodeDesire, NodeReport, VersionReport
from salver.peers import map as peer_map

__all__ = ["Answer", "Message", "answer_of", "bytes_of_answer", "bytes_of_message", "message_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """From a node.

    Attributes:
        report: for the controller's core.
        condition: of the node beside its models.
    """

    report: NodeReport
    condition: NodeCondition


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """To a node.

    Attributes:
        desire: of the controller's core.
        flags: that its server should have been started with; None where the controller does not
            know: its journal is lost, and nobody has applied a specification since.
        must_restart: its server is to be stopped now, and started anew with `flags`.
    """

    desire: NodeDesire
    flags: Mapping[str, str] | None = field(default_factory=dict)
    must_restart: bool = False


def bytes_of_message(message: Message) -> bytes:
    """Write a message."""
    return orjson.dumps({"report": asdict(message.report), "condition": asdict(message.condition)})


def message_of(content: bytes) -> Message:
    """Read a message."""
    found = orjson.loads(content)
    report = dict(found["report"])
    models = {name: _model(each) for name, each in report.pop("models").items()}
    return Message(
        report=_known(NodeReport, {**report, "models": models}),
        condition=_known(NodeCondition, found["condition"]),
    )


def _model(found: Mapping[str, Any]) -> ModelReport:
    versions = tuple(_known(VersionReport, each) for each in found["versions"])
    listed = {**found, "versions": versions, "found": tuple(found.get("found", ()))}
    return _known(ModelReport, listed)


def bytes_of_answer(answer: Answer) -> bytes:
    """Write an answer."""
    desire = answer.desire
    map = desire.peer_map
    document = {
        "generation": desire.generation,
        "config": desire.config,
        "peer_map": None if map is None else peer_map.text(map),
        "resident": list(desire.resident),
        "wants_all": desire.wants_all,
        "is_draining": desire.is_draining,
        "may_stop": desire.may_stop,
    }
    flags = None if answer.flags is None else dict(answer.flags)
    return orjson.dumps({"desire": document, "flags": flags, "must_restart": answer.must_restart})


def answer_of(content: bytes) -> Answer:
    """Read an answer."""
    found = orjson.loads(content)
    desire = dict(found["desire"])
    text = desire.pop("peer_map")
    desire["peer_map"] = None if text is None else peer_map.read(text)
    desire["resident"] = tuple(desire["resident"])
    return Answer(
        desire=_known(NodeDesire, desire),
        flags=found["flags"],
        must_restart=found["must_restart"],
    )


def _known(kind: type[T], found: Mapping[str, Any]) -> T:
    """An instance of a dataclass, of those members that it has."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in found.items() if name in names})
