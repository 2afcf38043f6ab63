"""A request to the wrong server of two beside the same request to the right one.

    python benchmarks/peers_hop.py [rest] [grpc] [--turns 7] [--seconds 2] [--haproxy]

Two servers know of each other by a map of peers, with a token. half_plus_two is at the second one
alone; the first one has another model and hands requests on. Both are asked in turns, in an order
that is drawn anew:

* one: one client that asks again when it has its answer: p50;
* 16: sixteen requests at a time: CPU of both servers per request, and rate.

The further CPU is what the wrong server takes and the right one takes more, in microseconds. With
`--haproxy` a proxy that does nothing else, written in C, stands before the right server too: what a
hop costs on this machine at least. Needs TensorFlow, to make the model, wrk and h2load (Debian
packages, as haproxy is). Linux only.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc
import tasks
from figures import Result, most, table
from load import Measured, Server, h2load, wrk
from processes import Child, free_ports, until_answered
from tasks import NAME, PREDICT, REST_PATH, Task
from turns import Lane, Race, Sample, take_turns

TOKEN = "a-secret-of-both-servers"
MOST_P50 = 2.2
MOST_CPU_US = 120.0
APIS = ("rest", "grpc")


def started(name: str, model: str, task: Task, place: Path) -> Server:
    config = place / f"{name}.json"
    config.write_text(json.dumps({"models": [{"name": model, "base_path": str(task.base_path)}]}))
    flags = (
        f"--model_config_file={config}",
        f"--peer_map_file={place / 'map.json'}",
        f"--peer_name={name}",
        f"--peer_token_file={place / 'token'}",
    )
    return Server(flags, place / f"{name}.log")


HAPROXY = """
global
  nbthread 1
defaults
  mode http
  http-reuse always
  timeout connect 10s
  timeout client 60s
  timeout server 60s
frontend rest_in
  bind 127.0.0.1:{rest}
  default_backend rest
backend rest
  server right 127.0.0.1:{right_rest}
frontend grpc_in
  bind 127.0.0.1:{grpc} proto h2
  default_backend grpc
backend grpc
  server right 127.0.0.1:{right_grpc} proto h2
"""


class Haproxy(Child):
    """A proxy before a server, with ports of its own for both APIs."""

    def __init__(self, right: Server, place: Path) -> None:
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise SystemExit("haproxy is not installed: apt-get install haproxy")
        self.rest_port, self.grpc_port = free_ports(2)
        config = place / "haproxy.cfg"
        config.write_text(
            HAPROXY.format(
                rest=self.rest_port,
                grpc=self.grpc_port,
                right_rest=right.rest_port,
                right_grpc=right.grpc_port,
            )
        )
        super().__init__([program, "-db", "-f", str(config)], place / "haproxy.log")


Asked = Server | Haproxy


def write_map(place: Path, servers: dict[str, Server]) -> None:
    peers = {
        name: {"rest": f"127.0.0.1:{one.rest_port}", "grpc": f"127.0.0.1:{one.grpc_port}"}
        for name, one in servers.items()
    }
    models = {NAME: {"nodes": ["right"]}} if servers else {}
    new = place / "map.new"
    new.write_text(json.dumps({"schema": 1, "generation": 1, "peers": peers, "models": models}))
    new.rename(place / "map.json")


def lane_of(
    load: Callable[[Asked, float], Measured], asked: Asked, servers: Sequence[Asked]
) -> Lane:
    def run(seconds: float) -> Sample:
        before_s = sum(server.cpu_s() for server in servers)
        seen = load(asked, seconds)
        if seen.refused > 1 or not seen.answers:  # one may be cut off by the end
            raise RuntimeError(f"{seen.refused} of {seen.answers} were refused")
        cpu_s = sum(server.cpu_s() for server in servers) - before_s
        return Sample(seen.rate, 1e3 * cpu_s / seen.answers, seen.p50_ms, seen.p99_ms)

    return run


def rest(task: Task, place: Path, calls: int) -> Callable[[Asked, float], Measured]:
    body = place / "body.json"
    body.write_bytes(task.body)

    def load(server: Asked, seconds: float) -> Measured:
        url = f"http://127.0.0.1:{server.rest_port}{REST_PATH}"
        return wrk(url, body, calls, max(1, round(seconds)), place)

    return load


def rpc(task: Task, place: Path, calls: int, size: int) -> Callable[[Asked, float], Measured]:
    def load(server: Asked, seconds: float) -> Measured:
        connections = min(calls, 4)
        return h2load(
            f"http://127.0.0.1:{server.grpc_port}{PREDICT}",
            task.message,
            size,
            connections,
            max(1, round(seconds)),
            place,
            calls_each=calls // connections,
            is_timed=calls == 1,
        )

    return load


def answer_bytes(server: Server, task: Task) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return len(channel.unary_unary(PREDICT)(task.message, 60))


def raced(chosen: argparse.Namespace, place: Path, stack: ExitStack) -> dict[str, Race]:
    task = tasks.small(chosen.models)
    (place / "token").write_text(TOKEN)
    write_map(place, {})
    servers = {
        name: started(name, of, task, place) for name, of in (("right", NAME), ("wrong", "n"))
    }
    for server in servers.values():
        stack.callback(server.stop)
    write_map(place, servers)
    for server in servers.values():
        until_answered(server, f"http://127.0.0.1:{server.rest_port}{REST_PATH}", task.body)
    sizes = {answer_bytes(server, task) for server in servers.values()}
    if len(sizes) != 1:
        raise RuntimeError(f"the answers differ in size: {sizes}")
    asked: dict[str, Asked] = dict(servers)
    if chosen.haproxy:
        asked["haproxy"] = Haproxy(servers["right"], place)
        stack.callback(asked["haproxy"].stop)
        url = f"http://127.0.0.1:{asked['haproxy'].rest_port}{REST_PATH}"
        until_answered(asked["haproxy"], url, task.body)
    loads: dict[str, Callable[[Asked, float], Measured]] = {}
    for calls, name in ((1, "one"), (16, "16")):
        if "rest" in chosen.apis:
            loads[f"REST, {name}"] = rest(task, place, calls)
        if "grpc" in chosen.apis:
            loads[f"gRPC, {name}"] = rpc(task, place, calls, min(sizes))
    every = tuple(asked.values())
    return {
        case: take_turns(
            {name: lane_of(load, server, every) for name, server in asked.items()},
            chosen.turns,
            chosen.seconds,
        )
        for case, load in loads.items()
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("apis", nargs="*", default=APIS, metavar="|".join(APIS))
    arguments.add_argument("--turns", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--haproxy", action="store_true", help="beside a proxy before the right")
    arguments.add_argument("--models", type=Path, default=tasks.cache() / "models")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        races = raced(chosen, Path(made), stack)
    result = Result("peers_hop")
    for case, race in races.items():
        for name in sorted(race.samples.keys() - {"right"}):
            goals = (most(MOST_P50), most(MOST_CPU_US)) if name == "wrong" else (None, None)
            cpu = zip(race.of(name, "cpu_ms"), race.of("right", "cpu_ms"), strict=True)
            further = tuple(1e3 * (more - less) for more, less in cpu)
            if case.endswith("one"):
                ratio = race.ratio(name, "right", "p50_ms")
                result.add(f"{case}: p50, {name} beside right", ratio, goal=goals[0])
            result.add(f"{case}: further CPU per request, {name}", further, "µs", goal=goals[1])
            result.add(f"{case}: rate, {name} beside right", race.ratio(name, "right"))
        if case.endswith("one"):
            result.add(f"{case}: p50 at the right one", race.of("right", "p50_ms"), "ms")
    print(table(result.figures))


if __name__ == "__main__":
    main()
