"""What a node says to the controller about once a second, and what it is told in return.

Plain values, so that they go over any wire. Both directions leave out what the other side has
already: a report may hold only the models that changed, and a desire only has the files of a
generation that the node has not got.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from salver.peers.map import PeerMap

__all__ = ["AVAILABLE", "STATES", "ModelReport", "NodeDesire", "NodeReport", "VersionReport"]

STATES: Final = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
"""Of a version, as `GetModelStatus` names them."""

AVAILABLE: Final = "AVAILABLE"


@dataclass(frozen=True, slots=True)
class VersionReport:
    """One version of a model at a node.

    Attributes:
        version: its number.
        state: one of `STATES`.
        error: why it failed; empty where it did not.
    """

    version: int
    state: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model at a node.

    Attributes:
        versions: those that the node's server knows.
        resident_bytes: memory that it takes there; 0 where it is not in memory, or nobody knows.
        version_bytes: memory that the largest of its versions takes there; 0 likewise.
        requests: that came for it since the server started.
        queued: that wait for it, or run, at this moment.
        busy_s: seconds that its runs took since the server started; 0 where nobody knows.
        found: versions that there are at its base path; empty where nobody looked.
    """

    versions: tuple[VersionReport, ...] = ()
    resident_bytes: int = 0
    requests: int = 0
    queued: int = 0
    busy_s: float = 0.0
    found: tuple[int, ...] = ()
    version_bytes: int = 0

    def is_other_than(self, other: "ModelReport") -> bool:
        """Whether another report says something else, beside what is asked of the model."""
        return (
            self.versions != other.versions
            or self.resident_bytes != other.resident_bytes
            or self.version_bytes != other.version_bytes
            or self.found != other.found
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What a node says.

    Attributes:
        name: of the node, among those of the cluster.
        rest: host and port of its server's REST APIs, as others reach them; empty for none.
        grpc: likewise of gRPC.
        zone: which part of the installation fails with it; empty where nobody knows.
        memory_bytes: that its models may take.
        cores: of its processor.
        incarnation: of its server: another one after a restart, with counters that begin at 0.
        generation: of the last `NodeDesire.config` that its server has; 0 for none.
        map_generation: of the last `NodeDesire.peer_map` that its server has; 0 for none.
        models: name → what it says of it. A model that is missing is not there, unless the report
            is partial.
        is_partial: `models` holds those alone that changed since the report before; one without
            versions is not there any more.
    """

    name: str
    rest: str = ""
    grpc: str = ""
    zone: str = ""
    memory_bytes: int = 0
    cores: float = 1.0
    incarnation: str = ""
    generation: int = 0
    map_generation: int = 0
    models: Mapping[str, ModelReport] = field(default_factory=dict)
    is_partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDesire:
    """What a node should do.

    Attributes:
        generation: of `config`, which the node says in its next report once its server has it.
        config: the models' file as a document (`{"schema": 1, "models": […]}`); None where the node
            has this generation.
        peer_map: for its server; None where the node has this generation of it.
        resident: models that should be in memory there, those that are asked most first. The others
            of `config` are loaded when they are asked for, and may leave memory.
        wants_all: the controller knows nothing of the models there; the next report must not be
            partial.
        is_draining: the node is to leave: others take over what it has.
        may_stop: nothing that is needed is at the node any more, so that its server may end.
    """

    generation: int
    config: Mapping[str, Any] | None = None
    peer_map: PeerMap | None = None
    resident: tuple[str, ...] = ()
    wants_all: bool = False
    is_draining: bool = False
    may_stop: bool = False
