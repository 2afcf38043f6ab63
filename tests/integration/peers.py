"""Several servers that know of each other, each with models of its own."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import requests

from salver.peers.map import Peer, PeerMap, Placed, text
from tests.integration.serving import Server, eventually, start

__all__ = ["Peers", "peers", "write_map"]

TOKEN = "a-secret-of-the-servers"


@dataclass
class Peers:
    """The servers by their names, and the map of all.

    Attributes:
        map_file: that they read.
        servers: name → server.
    """

    map_file: Path
    servers: dict[str, Server] = field(default_factory=dict)
    generation: int = 0

    def place(self, models: Mapping[str, Placed]) -> None:
        """Say in the map where models are, and wait until all servers know it."""
        self.generation += 1
        known = {
            name: Peer(name, f"127.0.0.1:{each.port}", f"127.0.0.1:{each.grpc_port}")
            for name, each in self.servers.items()
        }
        write_map(self.map_file, PeerMap(self.generation, known, models))
        for server in self.servers.values():
            if server.process.poll() is None:
                self.wait_for(server, self.generation)

    def wait_for(self, server: Server, generation: int) -> None:
        """Until a server knows a map."""
        line = f"salver_peer_map_generation{{}} {generation}"
        eventually("the map is known", lambda: line in server.get("/metrics").text)

    def count(self, name: str, metric: str, **labels: str) -> float:
        """A sum of cells of the metrics of a server."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        total = 0.0
        for line in self.servers[name].get("/metrics").text.splitlines():
            is_it = line.startswith((f"{metric}{{", f"{metric} "))
            if is_it and all(label in line for label in wanted):
                total += float(line.rpartition(" ")[2])
        return total


def write_map(path: Path, map: PeerMap) -> None:
    """Replace a map whole."""
    new = path.with_suffix(".new")
    new.write_text(text(map))
    new.replace(path)


def write_models(path: Path, models: Mapping[str, Path], **more: Any) -> Path:
    """A file of models: name → base path."""
    listed = [{"name": name, "base_path": str(at), **more} for name, at in models.items()]
    path.write_text(json.dumps({"models": listed}))
    return path


@contextmanager
def peers(
    directory: Path,
    models: Mapping[str, Mapping[str, Path]],
    *flags: str,
    more: Mapping[str, Sequence[str]] | None = None,
    has_token: bool = True,
    prepare: Callable[[Server], None] = lambda _server: None,
) -> Iterator[Peers]:
    """Servers that are ready.

    Args:
        directory: for their files.
        models: name of a server → its models.
        flags: of all.
        more: name of a server → further flags.
        has_token: whether they share a secret.
        prepare: is given each server before it is asked for anything.
    """
    token_file = directory / "token"
    token_file.write_text(TOKEN)
    made = Peers(directory / "map.json")
    write_map(made.map_file, PeerMap())
    with ExitStack() as stack:
        for name, of in models.items():
            config = write_models(directory / f"{name}.json", of)
            server = start(
                f"--model_config_file={config}",
                f"--peer_map_file={made.map_file}",
                f"--peer_name={name}",
                *([f"--peer_token_file={token_file}"] if has_token else []),
                *flags,
                *(more or {}).get(name, ()),
            )
            stack.callback(server.dispose)
            prepare(server)
            made.servers[name] = server
        for server in made.servers.values():
            eventually("it is ready", partial(is_ready, server))
        placed: dict[str, list[str]] = {}
        for name, of in models.items():
            for model in of:
                placed.setdefault(model, []).append(name)
        made.place({model: Placed(tuple(nodes)) for model, nodes in placed.items()})
        yield made


def is_ready(server: Server) -> bool:
    """Whether it answers."""
    assert server.process.poll() is None, server.err.text()
    try:
        return server.get("/healthz/ready").status_code == 200
    except requests.ConnectionError:
        return False
