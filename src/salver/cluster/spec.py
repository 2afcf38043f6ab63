"""`cluster.yaml`: which servers make a cluster, and which models it serves.

The models' file is that of one server; `replicas`, which one server refuses, mean something here.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from salver._pb import message_class
from salver.config.documents import Node
from salver.config.flags import FindFlag, nearest_flag, parse
from salver.config.models import ModelConfig, parse_model_config, problems_of
from salver.config.structured import fill, read_document
from salver.config.text_format import Misplaced, ending_of, read_file, wrong_file
from salver.errors import InvalidArgument

__all__ = ["ClusterSpec", "NodesSpec", "check_cluster", "parse_cluster_spec", "read_cluster_spec"]

_MESSAGE: Final = "salver.ClusterConfig"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_OURS: Final = (
    *("model_config_file", "model_name", "model_base_path", "model_config_file_poll_wait_seconds"),
    *("peer_map_file", "peer_name", "peer_token_file"),
)
"""Flags that the cluster sets by itself."""
_AGENTS: Final = {
    "admin_port": ("0",),
    "admin_socket_path": ("",),
    "enable_port_sharing": ("true", "1"),
}
"""Flags by which agents could not administer their servers any more, and what they may be."""


@dataclass(frozen=True, slots=True)
class NodesSpec:
    """The nodes of a cluster.

    Attributes:
        cpus: that each server asks for; 0 for all of its node.
        memory_bytes: that the models of each may take; 0 for most of what the node has.
        zone_label: of nodes, whose value is the zone; empty for none.
        min: fewest nodes.
        max: most nodes; 0 for as many as there are.
        idle_s: how long fewer nodes must be enough before one is given back to Ray's autoscaler; 0
            for never.
    """

    cpus: float = 0.0
    memory_bytes: int = 0
    zone_label: str = ""
    min: int = 1
    max: int = 0
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """What the file says.

    Attributes:
        name: of the cluster.
        models: that it serves, with absolute base paths.
        nodes: see there.
        ray_address: `auto`, `local`, or host and port.
        journal: where the controller keeps what must outlive it, an absolute path; empty for where
            it likes.
        flags: of `salver serve`, as text.
        model_config_file: where `models` are from, an absolute path.
        peer_token_file: an absolute path; empty for none.
        path: of the file itself, absolute; empty for none.
    """

    name: str = "salver"
    models: tuple[ModelConfig, ...] = ()
    nodes: NodesSpec = field(default_factory=NodesSpec)
    ray_address: str = "auto"
    journal: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    model_config_file: str = ""
    peer_token_file: str = ""
    path: str = ""


def read_cluster_spec(path: str, find: FindFlag = lambda _name: None) -> ClusterSpec:
    """Read the file, and the models' file that it names.

    Args:
        path: where it is.
        find: knows the flags of servers that are in no table: those of backends.

    Raises:
        InvalidArgument: one of them is wrong; the hint says where.
        ServingError: one of them cannot be read.
    """
    return parse_cluster_spec(read_file(path), path, find)


def parse_cluster_spec(
    content: bytes, path: str, find: FindFlag = lambda _name: None
) -> ClusterSpec:
    """The same of what was read; the models' file is read here.

    Raises:
        InvalidArgument: see `read_cluster_spec`.
        ServingError: see there.
    """
    ending = ending_of(path) or ".yaml"
    try:
        message = _message(content, ending, find)
        spec = _spec(message, os.path.abspath(path))
    except Misplaced as error:
        raise wrong_file(error, path, _MESSAGE, ending.lstrip(".").upper()) from error
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from None
    check_cluster(spec.models)
    return spec


def _message(content: bytes, ending: str, find: FindFlag) -> Any:
    message = message_class(_MESSAGE)()
    document = read_document(content, ending)
    if document is None or document.value is None:
        raise Misplaced(1, 1, "the document is empty")
    if isinstance(document.value, dict):
        _, schema = document.value.pop("schema", (None, None))
        if schema is not None and (schema.value != 1 or isinstance(schema.value, bool)):
            raise schema.wrong("schema must be 1")
        _check_flags(document.value.get("server"), find)
    fill(message, document)
    return message


def _check_flags(server: tuple[Node, Node] | None, find: FindFlag) -> None:
    """Refuse flags that the servers would refuse, where they stand."""
    if server is None or not isinstance(server[1].value, dict):
        return
    flags = server[1].value.get("flags", (None, None))[1]
    if flags is None or not isinstance(flags.value, dict):
        return
    for name, (key, value) in flags.value.items():
        if name in _OURS:
            raise key.wrong(f"the cluster sets --{name} by itself")
        if isinstance(value.value, (dict, list)) or value.value is None:
            continue  # wrong, as will be said, or not there
        parsed = parse([f"--{name}={value.text}"], find=find)
        if parsed.bad:
            raise value.wrong(str(parsed.bad[0]))
        if parsed.leftovers:
            nearest = nearest_flag(f"--{name}")
            raise key.wrong(f"--{name} is no flag" + (f"; is it {nearest}?" if nearest else ""))
        if name in _AGENTS and value.text.lower() not in _AGENTS[name]:
            raise key.wrong(f"agents administer servers over gRPC's socket: leave --{name} out")


def _spec(message: Any, path: str) -> ClusterSpec:
    name = message.name or "salver"
    if not _NAME.fullmatch(name):
        raise ValueError(f"name has 1 to 63 letters, digits and . _ -, not {name!r}")
    if not message.model_config_file:
        raise ValueError("model_config_file is missing: the file with the models")
    root = os.path.dirname(path)
    model_config_file = _beside(root, message.model_config_file)
    models = parse_model_config(read_file(model_config_file), model_config_file)
    return ClusterSpec(
        name=name,
        models=models or (),
        nodes=_nodes(message.nodes),
        ray_address=message.ray.address or "auto",
        journal=_beside(root, message.state.journal),
        flags=dict(sorted(message.server.flags.items())),
        model_config_file=model_config_file,
        peer_token_file=_beside(root, message.peer_token_file),
        path=path,
    )


def _nodes(message: Any) -> NodesSpec:
    for name in ("cpus", "memory_bytes", "min", "max", "idle_s"):
        value = getattr(message, name)
        if not 0 <= value < float("inf"):
            raise ValueError(f"nodes.{name} must be from 0 up, not {value}")
    if message.max and message.max < message.min:
        raise ValueError(f"nodes.max is {message.max}, less than nodes.min, which is {message.min}")
    return NodesSpec(
        message.cpus,
        message.memory_bytes,
        message.zone_label,
        message.min or 1,
        message.max,
        message.idle_s,
    )


def _beside(root: str, path: str) -> str:
    return os.path.normpath(os.path.join(root, os.path.expanduser(path))) if path else ""


def check_cluster(models: Iterable[ModelConfig]) -> None:
    """Refuse models that a cluster can never serve.

    Raises:
        InvalidArgument: as for one server; or replicas make no sense.
        Unimplemented: as for one server.
    """
    models = tuple(models)
    for problem in problems_of(models):
        if problem.field != "salver.replicas":
            raise problem.error
    for model in models:
        replicas = model.options.replicas
        if replicas.min < 0 or replicas.max < 0:
            raise InvalidArgument(
                f"salver.replicas of model {model.name} must be from 0 up: "
                f"min is {replicas.min}, max is {replicas.max}"
            )
        if replicas.max and replicas.max < replicas.min:
            raise InvalidArgument(
                f"salver.replicas of model {model.name}: max is {replicas.max}, "
                f"less than min, which is {replicas.min}"
            )
