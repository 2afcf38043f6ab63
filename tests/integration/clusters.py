"""Clusters of several small nodes on this machine, each with a loopback address of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import yaml

from salver.cluster.processes import ProcessId, is_alive, send_signal, wait_end
from tests.integration.serving import PATIENCE_S, SOURCES, Lines, eventually, free_port

__all__ = [
    *("HAS_RAY", "Load", "Machines", "RayNodes", "machines", "needs_ray", "nodes_of", "status_of"),
]

HAS_RAY = find_spec("ray") is not None
needs_ray = pytest.mark.skipif(
    not HAS_RAY and "SALVER_CI" not in os.environ,
    reason="Ray is not installed: pip install 'salver[cluster]'",
)

_TOKEN = "the token of these tests"


class Nodes(Protocol):
    """Nodes of Ray."""

    address: str

    def add(self, host: str) -> None:
        """A further node; the first one is the head."""
        ...

    def kill(self, host: str) -> None:
        """End all of Ray at a node, as if its machine had lost its power."""
        ...

    def close(self) -> None:
        """End all of them."""
        ...


@dataclass
class Machines:
    """A cluster of Ray, and Salver's files for one of ours on it."""

    directory: Path
    ray: Nodes
    rest_port: int
    grpc_port: int
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.directory / "cluster.yaml"

    def write(self, **models: Mapping[str, Any]) -> Path:
        """Write `cluster.yaml` and the models' file, with these beside those of before."""
        self.models.update({name: dict(model) for name, model in models.items()})
        listed = [{"name": name, **model} for name, model in self.models.items()]
        (self.directory / "models.yaml").write_text(yaml.safe_dump({"models": listed}))
        document = {
            "schema": 1,
            "name": self.directory.name.replace("_", "-"),
            "ray": {"address": self.ray.address},
            "state": {"journal": str(self.directory / "state" / "journal.json")},
            "nodes": {"memory_bytes": 1 << 30, "cpus": 0.5, **self.nodes},
            "server": {
                "flags": {"rest_api_port": self.rest_port, "port": self.grpc_port, **self.flags}
            },
            "model_config_file": "models.yaml",
        }
        self.file.write_text(yaml.safe_dump(document))
        return self.file

    def record(self, host: str) -> dict[str, Any]:
        """What is written down of a node's server."""
        path = self.directory / "state" / "nodes" / host / "server.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def server(self, host: str) -> ProcessId:
        """The process of a node's server."""
        found = self.record(host)
        return ProcessId(found["pid"], found["started"])

    def kill_server(self, host: str) -> ProcessId:
        """`kill -9`."""
        server = self.server(host)
        assert send_signal(server, signal.SIGKILL)
        assert wait_end(server, PATIENCE_S)
        return server

    def kill_node(self, host: str) -> None:
        """As if the machine had lost its power: all of Ray there, and the server."""
        self.ray.kill(host)
        with suppress(FileNotFoundError):
            send_signal(self.server(host), signal.SIGKILL)

    def url(self, host: str) -> str:
        return f"http://{host}:{self.rest_port}"

    def predict(self, host: str, model: str, instances: Any = (1.0, 2.0)) -> httpx.Response:
        """Ask one node for a model."""
        return httpx.post(
            f"{self.url(host)}/v1/models/{model}:predict",
            json={"instances": list(instances)},
            timeout=PATIENCE_S,
        )

    def answers(self, host: str, model: str) -> bool:
        """Whether a node answers for a model."""
        with suppress(httpx.HTTPError):
            return self.predict(host, model).status_code == httpx.codes.OK
        return False

    def wait_answer(self, host: str, model: str, *, within_s: float = PATIENCE_S) -> None:
        eventually(
            f"{host} answers for {model}", lambda: self.answers(host, model), within_s=within_s
        )

    def dispose(self) -> None:
        """End everything that was started here."""
        self.ray.close()  # first: it would start the servers again
        for path in (self.directory / "state" / "nodes").glob("*/server.json"):
            found = json.loads(path.read_text())
            send_signal(ProcessId(found["pid"], found["started"]), signal.SIGKILL)


class RayNodes:
    """See `ray_nodes`."""

    def __init__(
        self, environment: Mapping[str, str], port: int = 0, autoscaling: str = ""
    ) -> None:
        """Begin.

        Args:
            environment: of their processes.
            port: of the head; 0 for any.
            autoscaling: a file for Ray's autoscaler; empty for none.
        """
        self.address = ""
        program = str(Path(__file__).with_name("ray_nodes.py"))
        self._process = subprocess.Popen(
            [sys.executable, program, str(port or free_port()), autoscaling],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._out = Lines(self._process.stdout)

    def say(self, verb: str, host: str = "") -> str:
        """Have something done; returns what was answered."""
        assert self._process.stdin is not None
        before = len(self._answers())
        self._process.stdin.write(f"{verb} {host}\n")
        self._process.stdin.flush()
        answers = eventually(f"{verb} {host}", lambda: self._answers()[before:])
        return str(answers[0])

    def _answers(self) -> list[str]:
        assert self._process.poll() is None, self._out.text()
        lines = self._out.text().splitlines()
        return [line.removeprefix("# ") for line in lines if line.startswith("# ")]

    def add(self, host: str) -> None:
        """A further node."""
        self.address = self.say("add", host)

    def kill(self, host: str) -> None:
        """See `Nodes`."""
        self.say("kill", host)

    def close(self) -> None:
        """End all of them."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write("end\n")
            self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._out.finish()


@contextmanager
def machines(
    directory: Path,
    hosts: Sequence[str],
    make_nodes: Callable[[Mapping[str, str]], Nodes] | None = None,
) -> Iterator[Machines]:
    """Nodes of Ray at these addresses, the first of which is the head."""
    before = dict(os.environ)
    token = directory / "ray.token"
    token.write_text(_TOKEN.replace(" ", "-") + "-" + "0" * 32)
    os.environ |= {
        "PYTHONPATH": str(SOURCES),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    nodes = (make_nodes or RayNodes)(os.environ)
    made = Machines(directory, nodes, free_port(), free_port())
    try:
        for host in hosts:
            made.ray.add(host)
        yield made
    finally:
        made.dispose()
        os.environ.clear()
        os.environ.update(before)


def status_of(cluster: Any, model: str) -> dict[str, Any]:
    """What a cluster says of a model."""
    models = cluster.status()["models"]
    return next((dict(each) for each in models if each["name"] == model), {})


def nodes_of(cluster: Any, model: str) -> list[str]:
    """Where a model answers."""
    return list(status_of(cluster, model).get("available", ()))


class Load:
    """Requests that go on until the block ends, each new one to the next of some nodes.

    Attributes:
        failed: what is to say of each that was not answered.
        answered: how many were.
        longest_s: that one took.
    """

    def __init__(
        self,
        at: Machines,
        hosts: Sequence[str],
        models: Sequence[str],
        *,
        clients: int = 2,
        timeout_s: float = PATIENCE_S,
        tries_others: bool = False,
    ) -> None:
        """Ask nobody yet.

        Args:
            at: the nodes.
            hosts: those that are asked.
            models: for which they are asked.
            clients: how many ask at a time.
            timeout_s: for an answer.
            tries_others: where nobody listens the next node is asked, as a balancer does.
        """
        self.failed: list[str] = []
        self.answered = 0
        self.longest_s = 0.0
        self._timeout_s = timeout_s
        self._tries_others = tries_others
        self._at = at
        self._hosts = hosts
        self._models = models
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def wait_more(self, count: int) -> None:
        """Wait until so many more were answered."""
        wanted = self.answered + count
        eventually("requests are answered", lambda: self.answered >= wanted)

    def _ask(self, turn: int) -> None:
        with httpx.Client(timeout=self._timeout_s) as client:
            while not self._is_over.is_set():
                turn += 1
                host = self._hosts[turn % len(self._hosts)]
                model = self._models[turn % len(self._models)]
                url = f"{self._at.url(host)}/v1/models/{model}:predict"
                begun_s = time.monotonic()
                try:
                    answer = client.post(url, json={"instances": [1.0]})
                    self.longest_s = max(self.longest_s, time.monotonic() - begun_s)
                except httpx.HTTPError as error:
                    if self._tries_others and isinstance(error, httpx.ConnectError):
                        continue
                    self.failed.append(f"{url} after {time.monotonic() - begun_s:.1f} s: {error!r}")
                    continue
                if answer.status_code == httpx.codes.OK:
                    self.answered += 1
                else:
                    self.failed.append(f"{url}: {answer.status_code} {answer.text}")


def still_runs(process: ProcessId) -> bool:
    """Whether it has not ended."""
    return is_alive(process)
