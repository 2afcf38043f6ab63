"""What one client's calls cost another: a small model beside slow models and hostile bodies.

    python benchmarks/fairness.py [--turns 3] [--only waits,computes,...] [--workers 1]

A process of its own asks half_plus_two over REST at a fixed, low rate and counts each latency from
when the request was due; as root it goes before other processes, so that what it waits for is the
server. Quiet stretches and disturbances take turns:

* waits: 64 calls at a time of a model that waits two seconds in each run, for a file to be written;
* computes: 64 calls at a time of one that computes for half a second;
* leaves: 64 such calls, whose clients leave after 50 ms, again and again;
* bodies: 8 requests at a time of 100 kB that inflate to 90 MB of JSON, each of another kind;
* strings: 4 requests at a time with three million empty strings.

For each: p99 and the longest wait of the small model, beside the quiet p99 before it. Exits with 1
when one request of the small model was not answered rightly. Needs TensorFlow, to make the models.
Linux only.
"""

import argparse
import gzip
import http.client
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import Server
from tasks import cache, tf1, tf2

HERE = Path(__file__).resolve().parent
HALF = "/v1/models/half:predict"
BODY = b'{"instances": [1.0, 2.0, 5.0]}'
RATE = 200.0  # requests of the small model a second
CONNECTIONS = 16
CALLS = 64  # of a slow model at a time
QUIET_S = 3.0
BUSY_S = 8.0
WAIT_S = 2.0
COMPUTE_MS = 500.0
MIB = 1 << 20
INFLATED_BYTES = 90 * MIB
LONG_S = 120.0


def post(
    port: int, path: str, body: bytes, timeout_s: float = LONG_S, **headers: str
) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        client.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def inflating(begin: bytes, unit: bytes, end: bytes) -> bytes:
    """A body that inflates to much, and is no repetition that a ratio would show."""
    salt = os.urandom(1 << 10).hex().encode()
    middle = unit * ((INFLATED_BYTES - len(salt) * 8) // len(unit))
    return gzip.compress(b" " * 8 + begin + middle + end + b" " + salt, 6)


def bodies() -> list[bytes]:
    return [
        inflating(b'{"instances": [', b"1.5,", b"1.5]}"),
        inflating(b'{"instances": ["', b"a", b'"]}'),
        inflating(b'{"instances": [', b"[],", b"[]]}"),
        inflating(b'{"instances": ', b" ", b"[1.0]}"),
        inflating(b'{"instances": ', b"[", b"}"),
        inflating(b'{"instances": [', b"7", b"]}"),
        inflating(b'{"instances": [1.0],', b'"key": 1,', b'"key": 1}'),
        inflating(b'{"instances": ["', rb"\u0041", b'"]}'),
    ]


@dataclass
class World:
    """A server, and what is done to it."""

    root: Path
    models: Path
    flags: Sequence[str]
    server: Server

    # -- the disturbances ------------------------------------------------------------------------

    def waits(self) -> "Disturbance":
        return Disturbance(CALLS, self._wait)

    def computes(self) -> "Disturbance":
        body = json.dumps({"instances": [COMPUTE_MS]}).encode()
        return Disturbance(
            CALLS, lambda _: post(self.server.rest_port, "/v1/models/slow:predict", body)
        )

    def leaves(self) -> "Disturbance":
        body = json.dumps({"instances": [COMPUTE_MS]}).encode()

        def call(_: int) -> None:
            with suppress(TimeoutError):
                post(self.server.rest_port, "/v1/models/slow:predict", body, timeout_s=0.05)

        return Disturbance(CALLS, call)

    def bodies(self) -> "Disturbance":
        made = bodies()
        return Disturbance(
            len(made),
            lambda number: post(self.server.rest_port, HALF, made[number], Content_Encoding="gzip"),
        )

    def strings(self) -> "Disturbance":
        body = b'{"instances": [' + b'"",' * 3_000_000 + b'""]}'
        path = "/v1/models/strings:predict"
        return Disturbance(4, lambda _: post(self.server.rest_port, path, body))

    def _wait(self, number: int) -> None:
        """A run that waits, in the kernel, until somebody writes to a pipe."""
        fifo = self.root / f"pipe-{number}"
        if not fifo.exists():
            os.mkfifo(fifo)

        def release() -> None:
            time.sleep(WAIT_S)
            os.close(os.open(fifo, os.O_WRONLY))

        thread = threading.Thread(target=release, daemon=True)
        thread.start()
        body = json.dumps({"signature_name": "read_file", "instances": [str(fifo)]}).encode()
        _, said = post(self.server.rest_port, "/v1/models/failing:predict", body)
        if b"Illegal seek" not in said:  # what TensorFlow says of a pipe once it could be opened
            raise RuntimeError(f"the model that waits answered {said[:200]!r}")
        thread.join()


class Disturbance:
    """Calls that are made again and again by a number of threads."""

    def __init__(self, count: int, call: Callable[[int], object]) -> None:
        self._call = call
        self._is_over = False
        self.made = 0
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(count)
        ]

    def _work(self, number: int) -> None:
        while not self._is_over:
            try:
                self._call(number)
            except Exception as error:  # noqa: BLE001
                self.failures.append(repr(error))
                time.sleep(0.1)
            self.made += 1

    def __enter__(self) -> "Disturbance":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join(LONG_S)


DISTURBANCES = ("waits", "computes", "leaves", "bodies", "strings")


@contextmanager
def running(root: Path, models: Path, flags: Sequence[str]) -> Iterator[World]:
    """A server of all models, each asked once."""
    places = {
        "half": tf1(models) / "half_plus_two",
        "slow": tf2(models) / "slow",
        "failing": tf2(models) / "failing",
        "strings": tf2(models) / "strings",
    }
    config = "\n".join(
        f'config {{ name: "{name}" base_path: "{place}" model_platform: "tensorflow" }}'
        for name, place in places.items()
    )
    (root / "models.config").write_text(f"model_config_list {{\n{config}\n}}\n")
    server = Server(
        [
            f"--model_config_file={root / 'models.config'}",
            "--rest_api_timeout_in_ms=0",
            *flags,
        ],
        root / "server.log",
    )
    try:
        server.until_answered(HALF, BODY)
        for _ in range(200):
            server.post(HALF, BODY)
        server.post("/v1/models/slow:predict", b'{"instances": [1.0]}')
        yield World(root, models, flags, server)
    finally:
        server.stop()


class Load:
    """The small model, asked at a fixed rate by `swaps_load.py` from here to `stop`."""

    def __init__(self, port: int, key: str = "") -> None:
        command = [sys.executable, str(HERE / "swaps_load.py"), str(port), str(RATE)]
        self._process = subprocess.Popen(
            [*command, str(CONNECTIONS), key], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        # Where it may, it goes before all others: its waits for a processor are not the server's.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, -10)
        self._chunks: list[bytes] = []
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._chunks.append(self._process.stdout.read())

    def stop(self) -> list[tuple[float, float, bool]]:
        """Per request: when it was due, its latency in seconds, and whether it was right."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join(LONG_S)
        self._process.wait(LONG_S)
        seen = array("d")
        seen.frombytes(b"".join(self._chunks))
        return [(seen[at], seen[at + 1], seen[at + 2] > 0) for at in range(0, len(seen), 3)]


def percentile(latencies: Sequence[float], share: float) -> float:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def measure(
    models: Path, root: Path, *, turns: int, names: Sequence[str], flags: Sequence[str] = ()
) -> dict[str, Any]:
    """Quiet and disturbed stretches in turn.

    Returns:
        `requests`, `failed` and, by disturbance, lists of one value a turn: `ratio` of its p99 to
        the quiet one before it, `p99_ms`, `longest_ms`, `quiet_ms`.
    """
    stretches: list[tuple[str, float, float]] = []
    failures: list[str] = []
    with running(root, models, flags) as world:
        load = Load(world.server.rest_port)
        try:
            for name in itertools.chain.from_iterable([names] * turns):
                begin_s = time.monotonic()
                time.sleep(QUIET_S)
                stretches.append(("quiet", begin_s, time.monotonic()))
                with getattr(world, name)() as disturbance:
                    begin_s = time.monotonic()
                    time.sleep(BUSY_S)
                    stretches.append((name, begin_s, time.monotonic()))
                failures += [f"{name}: {each}" for each in disturbance.failures]
                time.sleep(0.5)
        finally:
            seen = load.stop()
    found: dict[str, Any] = {"requests": len(seen), "failed": sum(not ok for *_, ok in seen)}
    found["failures"] = sorted(set(failures))[:5]
    found["disturbances"] = {name: {} for name in names}
    quiet_s = math.nan
    for what, begin_s, end_s in stretches:
        taken = [latency for due, latency, _ in seen if begin_s <= due < end_s]
        p99_s = percentile(taken, 0.99)
        if what == "quiet":
            quiet_s = p99_s
            continue
        of = found["disturbances"][what]
        for key, value in (
            ("ratio", p99_s / quiet_s),
            ("p99_ms", p99_s * 1e3),
            ("longest_ms", max(taken) * 1e3),
            ("quiet_ms", quiet_s * 1e3),
        ):
            of.setdefault(key, []).append(value)
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
    with tempfile.TemporaryDirectory(prefix="fairness-") as root:
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
            f"{told['quiet_ms']:.2f} ms; longest {max(of['longest_ms']):7.1f} ms"
        )
    print(f"{found['failed']} of {found['requests']:,} requests failed")
    for text in found["failures"]:
        print(f"  a disturbance failed: {text}")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
