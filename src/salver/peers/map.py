"""The map of peers: which servers there are, and which models each of them has.

A file in JSON, written by whoever places the models and replaced whole:

    {"schema": 1, "generation": 12,
     "peers": {"n1": {"rest": "127.0.0.2:8501", "grpc": "127.0.0.2:8500", "zone": "a"}},
     "models": {"digits": {"nodes": ["n1"], "versions": [3], "labels": {"stable": 3}}}}

Members that are not known here are left alone, so that a newer writer may say more.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from salver.errors import InvalidArgument

__all__ = ["MOST_BYTES", "Peer", "PeerMap", "Placed", "read", "text"]

MOST_BYTES: Final = 64 << 20
"""Of a file. 100,000 models at five nodes each take 12 MiB."""

_SCHEMA: Final = 1
_MOST_NUMBER: Final = (1 << 63) - 1
# It stands in header fields and in labels of metrics.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    Attributes:
        name: among those of the map.
        rest: host and port of its REST APIs; empty where it has none.
        grpc: likewise of gRPC.
        zone: which part of the installation fails with it; empty where that is not known.
    """

    name: str
    rest: str = ""
    grpc: str = ""
    zone: str = ""

    def __post_init__(self) -> None:
        """Check the parts.

        Raises:
            InvalidArgument: one of them is wrong.
        """
        if not _NAME.fullmatch(self.name):
            raise InvalidArgument(
                f"the peer {self.name!r} needs a name of letters, digits and . _ : -"
            )
        for what, address in (("rest", self.rest), ("grpc", self.grpc)):
            match = _ADDRESS.fullmatch(address)
            if address and (match is None or not 0 < int(match[1]) < 1 << 16):
                raise InvalidArgument(
                    f"{what} of the peer {self.name} is no HOST:PORT: {address!r}"
                )
        if not self.rest and not self.grpc:
            raise InvalidArgument(f"the peer {self.name} has neither rest nor grpc")


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one model is.

    Attributes:
        nodes: names of the peers that have it available, preferred first.
        versions: that are available; empty where that is not known, so that any may be asked for.
        labels: label → version.
    """

    nodes: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class PeerMap:
    """The whole map.

    Attributes:
        generation: grows with each map that is written.
        peers: name → peer.
        models: name → where it is. Each node of it is one of `peers`.
    """

    generation: int = 0
    peers: Mapping[str, Peer] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, Placed] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Check that each node is known.

        Raises:
            InvalidArgument: one is not, or is named twice for a model.
        """
        known = self.peers.keys()
        for name, placed in self.models.items():
            if not known >= set(placed.nodes):
                unknown = next(node for node in placed.nodes if node not in known)
                raise InvalidArgument(f"the model {name!r} is at {unknown!r}, which is no peer")
            if len(set(placed.nodes)) < len(placed.nodes):
                raise InvalidArgument(f"the model {name!r} names a node twice")

    def in_zone_of(self, name: str) -> frozenset[str]:
        """Names of the peers in the zone of one of them; none where its zone is not known."""
        own = self.peers.get(name)
        if own is None or not own.zone:
            return frozenset()
        return frozenset(each.name for each in self.peers.values() if each.zone == own.zone)


def text(map: PeerMap) -> str:
    """Write a map, with one line for each peer and each model."""
    peers = {name: _peer_document(peer) for name, peer in map.peers.items()}
    models = {name: _placed_document(placed) for name, placed in map.models.items()}
    return (
        f'{{"schema": {_SCHEMA}, "generation": {map.generation},\n'
        f' "peers": {_lines(peers)},\n "models": {_lines(models)}}}\n'
    )


def read(text: str | bytes) -> PeerMap:
    """Read a map.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"it is no JSON: {error}") from None
    document = _members(found, "the map")
    if (schema := document.get("schema")) != _SCHEMA or isinstance(schema, bool):
        raise InvalidArgument(f"schema is {schema!r}; this server knows {_SCHEMA}")
    peers = _members(document.get("peers", {}), "peers")
    models = _members(document.get("models", {}), "models")
    return PeerMap(
        _number(document.get("generation", 0), "generation"),
        MappingProxyType({name: _peer(name, each) for name, each in peers.items()}),
        MappingProxyType({name: _placed(name, each) for name, each in models.items()}),
    )


def _peer(name: str, found: Any) -> Peer:
    what = f"the peer {name!r}"
    parts = _members(found, what)
    texts = (_string(parts.get(each, ""), f"{each} of {what}") for each in ("rest", "grpc", "zone"))
    return Peer(name, *texts)


def _placed(name: str, found: Any) -> Placed:
    what = f"the model {name!r}"
    if not name:
        raise InvalidArgument("a model has no name")
    parts = _members(found, what)
    nodes = _items(parts.get("nodes", []), f"nodes of {what}")
    versions = _items(parts.get("versions", []), f"versions of {what}")
    labels = _members(parts.get("labels", {}), f"labels of {what}")
    return Placed(
        tuple(_string(node, f"a node of {what}") for node in nodes),
        tuple(_number(version, f"a version of {what}") for version in versions),
        MappingProxyType(
            {label: _number(at, f"the label {label!r} of {what}") for label, at in labels.items()}
        ),
    )


def _members(found: Any, what: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InvalidArgument(f"{what}: an object is needed")
    return found


def _items(found: Any, what: str) -> list[Any]:
    if not isinstance(found, list):
        raise InvalidArgument(f"{what}: a list is needed")
    return found


def _string(found: Any, what: str) -> str:
    if not isinstance(found, str):
        raise InvalidArgument(f"{what}: a string is needed")
    return found


def _number(found: Any, what: str) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _MOST_NUMBER:
        raise InvalidArgument(f"{what}: a whole number from 0 on is needed")
    return found


def _peer_document(peer: Peer) -> dict[str, Any]:
    found = {"rest": peer.rest, "grpc": peer.grpc, "zone": peer.zone}
    return {name: value for name, value in found.items() if value}


def _placed_document(placed: Placed) -> dict[str, Any]:
    found = {
        "nodes": list(placed.nodes),
        "versions": list(placed.versions),
        "labels": dict(placed.labels),
    }
    return {name: value for name, value in found.items() if value or name == "nodes"}


def _lines(members: Mapping[str, Any]) -> str:
    written = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in members.items())
    return "{" + ",".join(f"\n{line}" for line in written) + "}"
