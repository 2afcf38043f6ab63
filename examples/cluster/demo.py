"""Three machines serve a dozen models; one is killed, one is added, a version is replaced.

    python demo.py [--once]

Everything it makes lies in `.cluster-demo`. With `--once` it ends by itself instead of waiting for
Ctrl-C.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from load import Load
from machines import Machines, free_port
from plot import draw

import salver.cluster
from models import write_line, write_models
from salver.cli.cluster_text import status_lines

WORK = Path(".cluster-demo")
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
ANOTHER = "127.0.0.5"
LOOK_S = 0.5
SHOWN_S = 5.0
PATIENCE_S = 120.0


def say(text: str = "") -> None:
    print(text, flush=True)


def write_files(models: dict[str, Any], address: str, port: int, grpc_port: int) -> Path:
    """`models.yaml` is that of one server, with `replicas`."""
    root = (WORK / "models").resolve()
    listed = [
        {"name": name, "base_path": str(root / name), "salver": {"replicas": {"min": 2}}}
        for name in models
    ]
    (WORK / "models.yaml").write_text(yaml.safe_dump({"models": listed}, sort_keys=False))
    flags = {"rest_api_port": port, "port": grpc_port, "trusted_model_paths": str(root)}
    document = {
        "schema": 1,
        "name": "demo",
        "ray": {"address": address},
        "state": {"journal": "state/journal.json"},
        "nodes": {"memory_bytes": 1 << 30, "cpus": 1},
        "server": {"flags": flags},
        "model_config_file": "models.yaml",
    }
    path = WORK / "cluster.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


class Show:
    """What there is to see: a view that is drawn anew where there is a terminal, else lines."""

    def __init__(self, cluster: Any, load: Load) -> None:
        self.events: list[tuple[float, str]] = []
        self.placed: list[tuple[float, dict[str, int]]] = []
        self._cluster = cluster
        self._load = load
        self._live: Any = None
        self._shown_s = 0.0

    @contextmanager
    def open(self) -> Iterator[None]:
        from rich.console import Console
        from rich.live import Live

        console = Console()
        if not console.is_terminal:
            yield
            return
        with Live(console=console, auto_refresh=False) as self._live:
            yield
        self._live = None

    def event(self, text: str) -> None:
        self.events.append((self._load.elapsed_s, text))
        if self._live is None:
            say(f"{self._load.elapsed_s:5.1f} s  {text}")

    def look(self) -> dict[str, Any]:
        status: dict[str, Any] = self._cluster.status()
        counted = {
            node["name"]: sum(node["name"] in each["available"] for each in status["models"])
            for node in status["nodes"]
        }
        self.placed.append((self._load.elapsed_s, counted))
        self._draw(status)
        return status

    def _draw(self, status: dict[str, Any]) -> None:
        rates = self._load.rates(SHOWN_S)
        shown = ", ".join(
            f"{host} {count / SHOWN_S:.0f}/s" for host, count in sorted(rates.items())
        )
        failed = len(self._load.failed)
        total = f"{len(self._load.answered)} answers, {failed} failed"
        if self._live is None:
            if self._load.elapsed_s - self._shown_s >= SHOWN_S:
                self._shown_s = self._load.elapsed_s
                say(f"{self._shown_s:5.1f} s  {total}; {shown}")
            return
        from rich.text import Text

        happened = [f"{at_s:5.1f} s  {text}" for at_s, text in self.events[-6:]]
        lines = [*status_lines(status), "", f"{total}; {shown}", *happened]
        self._live.update(Text("\n".join(lines), no_wrap=True), refresh=True)

    def watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            time.sleep(LOOK_S)

    def wait(self, what: str, check: Callable[[dict[str, Any]], bool]) -> None:
        begun = time.monotonic()
        while not check(self.look()):
            if time.monotonic() - begun > PATIENCE_S:
                sys.exit(f"Not within {PATIENCE_S:.0f} s: {what}")
            time.sleep(LOOK_S)
        self.event(f"{what} (after {time.monotonic() - begun:.1f} s)")


def has_replicas(status: dict[str, Any]) -> bool:
    return all(len(each["available"]) >= 2 for each in status["models"])


def play(machines: Machines, cluster: Any, show: Show, load: Load) -> None:
    """What happens."""
    load.start(HOSTS)
    show.event("three nodes, steady load")
    show.watch(8)
    killed = HOSTS[2]
    status = show.look()
    (server,) = (
        each["condition"]["server_pid"] for each in status["nodes"] if each["name"] == killed
    )
    show.event(f"{killed} is killed")
    machines.kill(killed, server)
    show.wait(
        "every model has two replicas again",
        lambda status: (
            all(each["name"] != killed for each in status["nodes"]) and has_replicas(status)
        ),
    )
    show.watch(5)
    show.event(f"{ANOTHER} is added")
    machines.start(ANOTHER)
    show.wait(
        f"{ANOTHER} is there",
        lambda status: (
            any(each["name"] == ANOTHER and each["models"] for each in status["nodes"])
            or (ANOTHER in {each["name"] for each in status["nodes"]} and status["is_settled"])
        ),
    )
    load.add(ANOTHER)
    show.watch(12)
    show.event("version 2 of line_1 is published")
    write_line((WORK / "models" / "line_1").resolve(), 2, slope=1)
    show.wait(
        "version 2 is served",
        lambda status: any(
            each["name"] == "line_1" and each["versions"] == [2] for each in status["models"]
        ),
    )
    show.watch(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself")
    is_once = parser.parse_args().once
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    say("Making a dozen models ...")
    bodies = write_models(WORK / "models")
    machines = Machines(WORK)
    cluster = None
    try:
        say(f"Starting three machines, {', '.join(HOSTS)} ...")
        machines.start(*HOSTS)
        port, grpc_port = free_port(HOSTS[0], 8501), free_port(HOSTS[0], 8500)
        path = write_files(bodies, machines.address, port, grpc_port)
        say(f"salver cluster up {path}")
        cluster = salver.cluster.up(path, wait_s=PATIENCE_S)
        load = Load(bodies, port)
        show = Show(cluster, load)
        with show.open():
            play(machines, cluster, show, load)
            while not is_once:
                show.watch(1)
    except KeyboardInterrupt:
        say()
    finally:
        if cluster is not None:
            finish(load, show)
            cluster.down()
        machines.stop()
    if is_once and load.failed:
        sys.exit(f"{len(load.failed)} requests failed: {load.failed[0].error}")


def finish(load: Load, show: Show) -> None:
    load.stop()
    picture = WORK / "cluster.png"
    draw(picture, list(load.answered), show.events, show.placed)
    say(
        f"\n{len(load.answered)} requests, {len(load.failed)} failed; {load.retried} found "
        f"no node and {load.cut_off} were cut off when it was killed, and asked again elsewhere"
    )
    for at_s, text in show.events:
        say(f"{at_s:6.1f} s  {text}")
    say(f"The picture is {picture}")


if __name__ == "__main__":
    main()
