"""The command line of a node's server, from what the cluster's file says and where the node is."""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from salver.cluster.server_process import Launch
from salver.cluster.whole_files import make_private

__all__ = ["MAP", "MODELS", "TOKEN", "NodeSettings", "launch_of", "server_environment"]

MODELS: Final = "models.json"
MAP: Final = "peers.json"
TOKEN: Final = "peer.token"  # noqa: S105 - the name of a file
_SOCKET: Final = "server.sock"
_LONGEST_SOCKET: Final = 100  # Linux has 108 bytes for its path, macOS 104

_REST: Final = "8501"
_GRPC: Final = "8500"
_DRAIN_S: Final = 30.0

# What Ray sets in its workers for their own sake.
_FOREIGN: Final = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT", "CUDA_VISIBLE_DEVICES")
_PRELOAD: Final = "LD_PRELOAD"
_OF_RAY: Final = "/ray/core/"  # its allocator, which it loads into its daemons


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """A node, and how its server is to be.

    Attributes:
        name: among those of the cluster.
        host: address of the machine in the cluster.
        zone: which part of the installation fails with it; empty where nobody knows.
        directory: of the node, on its own machine.
        flags: of `salver serve`, as text.
        memory_bytes: that its models may take.
        cores: of its processor.
        token: by which servers of the cluster know each other; empty for none.
        environment: of the server's process.
    """

    name: str
    host: str
    directory: Path
    zone: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    cores: float = 1.0
    token: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def drain_timeout_s(self) -> float:
        """How long the server lets requests finish."""
        return float(self.flags.get("drain_timeout_seconds", _DRAIN_S)) + float(
            self.flags.get("drain_delay_seconds", 0)
        )


def launch_of(settings: NodeSettings) -> Launch:
    """How the server of a node is started."""
    directory = settings.directory
    flags = {
        "host": settings.host,
        "rest_api_port": _REST,
        "port": _GRPC,
        "grpc_socket_path": str(_socket(directory)),
        **settings.flags,
        "model_config_file": str(directory / MODELS),
        "model_config_file_poll_wait_seconds": "1",
        "peer_map_file": str(directory / MAP),
        "peer_name": settings.name,
    }
    if settings.token:
        flags["peer_token_file"] = str(directory / TOKEN)
    host = _bracketed(settings.host)
    rest, grpc = flags["rest_api_port"], flags["port"]
    return Launch(
        directory=directory,
        arguments=tuple(f"--{name}={value}" for name, value in sorted(flags.items())),
        rest=f"{host}:{rest}" if rest != "0" else "",
        grpc=f"{host}:{grpc}" if grpc != "0" else "",
        socket=Path(flags["grpc_socket_path"]),
        environment=settings.environment,
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _socket(directory: Path) -> Path:
    path = directory / _SOCKET
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    root = Path(tempfile.gettempdir()) / f"salver-cluster-{os.getuid()}"
    make_private(root)
    if root.stat().st_uid != os.getuid() or root.stat().st_mode & 0o077:
        raise PermissionError(f"{root} is not of this user alone")
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:24]
    return root / f"{digest}.sock"


def server_environment(own: Mapping[str, str], of_raylet: bytes | None) -> dict[str, str]:
    """The environment of a server: that in which Ray was started, without what is Ray's.

    Args:
        own: of this process, a worker of Ray.
        of_raylet: of the process that has started it, as /proc shows it; None where it does not.
    """
    if of_raylet is None:
        found = {name: value for name, value in own.items() if name not in _FOREIGN}
    else:
        pairs = (each.partition(b"=") for each in of_raylet.split(b"\0") if b"=" in each)
        found = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    own_libraries = [
        each for each in re.split("[ :]+", found.pop(_PRELOAD, "")) if each and _OF_RAY not in each
    ]
    if own_libraries:
        found[_PRELOAD] = ":".join(own_libraries)
    return {name: value for name, value in found.items() if not name.startswith("RAY_")}
