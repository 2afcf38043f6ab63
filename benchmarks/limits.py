"""What one client that wants too much costs another: a greedy key beside a modest one.

    python benchmarks/limits.py [--turns 3] [--only floods,computes] [--workers 1]

A process of its own asks half_plus_two over REST with the modest key, at a fixed, low rate, and
counts each latency from when the request was due; as root it goes before other processes, and the
load steps back behind them, so that what it waits for is the server. Quiet stretches and
disturbances by a greedy key, whose role may 100 requests per second and some at a time, as batch
work, take turns:

* floods: 16 connections that ask for the same model as often as they can, whatever is answered;
* behaves: the same, by clients that come again when `Retry-After` says;
* computes: 16 calls at a time of a model that computes for 50 ms, likewise; one fewer than there
  are cores is run at a time;
* fills: the same, but as many at a time as there are cores.

For each: p99 and the longest wait of the modest key, beside the quiet p99 before it, how many of
the greedy key's requests were answered a second, and how much of a CPU the server took. Exits with
1 when one request of the modest key was not answered rightly. Needs wrk (Debian package wrk) and
TensorFlow, to make the models. Linux only.
"""

import argparse
import hashlib
import http.client
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairness import BODY, HALF, Load, percentile
from load import Server, wrk
from tasks import cache, tf1, tf2

CLIENTS = 16
QUIET_S = 3.0
BUSY_S = 6
SLOW = "/v1/models/slow:predict"
COMPUTE = b'{"instances": [50.0]}'
LONG_S = 30.0
AUTH = """\
anonymous: {{verbs: [health]}}
api_keys: {{file: keys.txt}}
roles:
  modest: {{verbs: [predict]}}
  greedy:
    verbs: [predict]
    requests_per_second: 100
    burst: 100
    max_concurrent_requests: {cores}
    priority: batch
  sparing:
    verbs: [predict]
    requests_per_second: 100
    burst: 100
    max_concurrent_requests: {others}
    priority: batch
"""
KEYS = ("modest", "greedy", "sparing")


def key(id: str) -> str:
    return f"salver_{id}_{'0' * 32}"


class World:
    """A server, and what the greedy key does to it; each returns its answers a second."""

    def __init__(self, root: Path, server: Server) -> None:
        self._root = root
        self.server = server

    def floods(self) -> float:
        return self._asked("greedy", HALF, BODY, waits=False)

    def behaves(self) -> float:
        return self._asked("greedy", HALF, BODY, waits=True)

    def computes(self) -> float:
        return self._asked("sparing", SLOW, COMPUTE, waits=True)

    def fills(self) -> float:
        return self._asked("greedy", SLOW, COMPUTE, waits=True)

    def _asked(self, id: str, path: str, body: bytes, *, waits: bool) -> float:
        place = self._root / "body.json"
        place.write_bytes(body)
        url = f"http://127.0.0.1:{self.server.rest_port}{path}"
        headers = {"Content-Type": "application/json", "x-api-key": key(id)}
        seen = wrk(url, place, CLIENTS, BUSY_S, self._root, headers, waits=waits, steps_back=True)
        return seen.rate


DISTURBANCES = ("floods", "behaves", "computes", "fills")


@contextmanager
def running(root: Path, models: Path, flags: Sequence[str]) -> Iterator[World]:
    """A server of both models, each asked by the modest key."""
    places = {"half": tf1(models) / "half_plus_two", "slow": tf2(models) / "slow"}
    config = "\n".join(
        f'config {{ name: "{name}" base_path: "{place}" model_platform: "tensorflow" }}'
        for name, place in places.items()
    )
    (root / "models.config").write_text(f"model_config_list {{\n{config}\n}}\n")
    cores = len(os.sched_getaffinity(0))
    (root / "auth.yaml").write_text(AUTH.format(cores=cores, others=max(1, cores - 1)))
    lines = [f"{id} {hashlib.sha256(key(id).encode()).hexdigest()} {id}" for id in KEYS]
    (root / "keys.txt").write_text("\n".join(lines) + "\n")
    server = Server(
        [
            f"--model_config_file={root / 'models.config'}",
            f"--auth_config_file={root / 'auth.yaml'}",
            "--rest_api_timeout_in_ms=0",
            *flags,
        ],
        root / "server.log",
    )
    try:
        _until(lambda: _ask(server, HALF, BODY) == 200)
        for _ in range(200):
            _ask(server, HALF, BODY)
        for _ in range(8):
            _ask(server, SLOW, b'{"instances": [1.0]}')
        yield World(root, server)
    finally:
        server.stop()


def _ask(server: Server, path: str, body: bytes) -> int:
    client = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=LONG_S)
    try:
        client.request("POST", path, body, {"x-api-key": key("modest")})
        return client.getresponse().status
    except ConnectionError:
        return 0
    finally:
        client.close()


def _until(check: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 4 * LONG_S
    while not check():
        if time.monotonic() > until_s:
            raise RuntimeError("the server does not answer")
        time.sleep(0.1)


def measure(
    models: Path, root: Path, *, turns: int, names: Sequence[str], flags: Sequence[str] = ()
) -> dict[str, Any]:
    """Quiet and disturbed stretches in turn.

    Returns:
        `requests`, `failed` and, by disturbance, lists of one value a turn: `ratio` of its p99 to
        the quiet one before it, `p99_ms`, `longest_ms`, `quiet_ms`, `greedy_rate`, `cpus`.
    """
    stretches: list[tuple[str, float, float, float, float]] = []
    with running(root, models, flags) as world:
        load = Load(world.server.rest_port, key("modest"))
        try:
            for name in [*names] * turns:
                begin_s = time.monotonic()
                time.sleep(QUIET_S)
                stretches.append(("", begin_s, time.monotonic(), 0.0, 0.0))
                begin_s, cpu_s = time.monotonic(), world.server.cpu_s()
                rate = getattr(world, name)()
                end_s = time.monotonic()
                cpus = (world.server.cpu_s() - cpu_s) / (end_s - begin_s)
                stretches.append((name, begin_s, end_s, rate, cpus))
                time.sleep(0.5)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"wrk: {error.stderr}") from error
        finally:
            seen = load.stop()
    found: dict[str, Any] = {"requests": len(seen), "failed": sum(not ok for *_, ok in seen)}
    found["disturbances"] = {name: {} for name in names}
    quiet_s = math.nan
    for what, begin_s, end_s, rate, cpus in stretches:
        taken = [latency for due, latency, _ in seen if begin_s <= due < end_s]
        p99_s = percentile(taken, 0.99)
        if not what:
            quiet_s = p99_s
            continue
        for name, value in (
            ("ratio", p99_s / quiet_s),
            ("p99_ms", p99_s * 1e3),
            ("longest_ms", max(taken) * 1e3),
            ("quiet_ms", quiet_s * 1e3),
            ("greedy_rate", rate),
            ("cpus", cpus),
        ):
            found["disturbances"][what].setdefault(name, []).append(value)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", help="comma list of disturbances")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--models", type=Path, default=cache() / "models")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    names = chosen.only.split(",") if chosen.only else DISTURBANCES
    with tempfile.TemporaryDirectory(prefix="limits-") as root:
        found = measure(
            chosen.models,
            Path(root),
            turns=chosen.turns,
            names=names,
            flags=[f"--workers={chosen.workers}"],
        )
    for name, of in found["disturbances"].items():
        told = {key: statistics.median(values) for key, values in of.items()}
        print(
            f"{name:9} p99 {told['p99_ms']:7.2f} ms, {told['ratio']:5.2f} of the quiet "
            f"{told['quiet_ms']:.2f} ms; longest {max(of['longest_ms']):7.1f} ms; "
            f"greedy {told['greedy_rate']:.0f}/s; server {told['cpus']:.2f} CPUs"
        )
    print(f"{found['failed']} of {found['requests']:,} requests failed")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
