"""What the benchmarks of whole servers share: our server, load generators, statistics."""

import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import Child, free_ports, post, until_answered

START = "import sys; from salver.cli.model_server import main; sys.exit(main())"
H2LOAD_HEADERS = (
    *("-H", "content-type: application/grpc"),
    *("-H", "te: trailers"),  # codespell:ignore te
)
JSON_HEADERS = {"Content-Type": "application/json"}
WAITS = """\
local wait = 0
response = function(status, headers)
  local after = headers["Retry-After"] or headers["retry-after"]
  if after then wait = 1000 * tonumber(after) end
end
delay = function()
  local taken = wait
  wait = 0
  return taken
end
"""
"""For wrk's script: it asks for the delay of a connection right after its answer."""
FRAME_BYTES = 5  # a byte of flags and the length, before each message of gRPC


class Server(Child):
    """A `tensorflow_model_server` of our own, in a child process, on ports of its own."""

    def __init__(
        self,
        flags: Sequence[str],
        log: Path,
        rest_port: int = 0,
        grpc_port: int = 0,
        more: Mapping[str, str] | None = None,
    ) -> None:
        if not rest_port:
            rest_port, grpc_port = free_ports(2)
        self.flags, self.rest_port, self.grpc_port = flags, rest_port, grpc_port
        ports = (f"--rest_api_port={rest_port}", f"--port={grpc_port}")
        command = [sys.executable, "-c", START, "--host=127.0.0.1", *ports, *flags]
        super().__init__(command, log, more)

    def post(self, path: str, body: bytes, timeout_s: float = 30.0) -> tuple[int, bytes]:
        return post(f"http://127.0.0.1:{self.rest_port}{path}", body, timeout_s)

    def until_answered(self, path: str, body: bytes, within_s: float = 120.0) -> bytes:
        """The first good answer; ports open when all first models are there."""
        return until_answered(self, f"http://127.0.0.1:{self.rest_port}{path}", body, within_s)


@dataclass(frozen=True)
class Measured:
    """What one run of a load generator saw; a refused answer is one that is no success."""

    rate: float
    p50_ms: float
    p99_ms: float
    answers: int
    refused: int


def wrk(
    url: str,
    body: Path,
    clients: int,
    seconds: int,
    scratch: Path,
    headers: Mapping[str, str] = JSON_HEADERS,
    *,
    waits: bool = False,
    steps_back: bool = False,
) -> Measured:
    """Load over REST: each client has one connection and one request under way.

    With `waits` a client that is told `Retry-After` comes again when that time is over. With
    `steps_back` it gets of the processors what the server leaves: in truth it has its own.
    """
    script = scratch / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nlocal file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\n'
        + "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in headers.items())
        + (WAITS if waits else "")
        + "done = function(summary, latency, requests)\n"
        '  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,\n'
        "    summary.errors.status + summary.errors.read + summary.errors.write\n"
        "    + summary.errors.timeout + summary.errors.connect,\n"
        "    latency:percentile(50), latency:percentile(99)))\nend\n"
    )
    before = ["nice", "-n19"] if steps_back else []
    command = [*before, "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s"]
    said = subprocess.run(
        [*command, str(script), url], capture_output=True, text=True, check=True
    ).stdout
    return wrk_said(said)


def wrk_said(said: str) -> Measured:
    """What the script above has written."""
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", said)
    if found is None:
        raise RuntimeError(f"wrk said: {said}")
    answers, micros, refused, p50, p99 = map(int, found.groups())
    good = answers - refused
    return Measured(good / (micros / 1e6), p50 / 1e3, p99 / 1e3, answers, refused)


def h2load(
    url: str,
    message: bytes,
    answer_bytes: int,
    clients: int,
    seconds: float,
    scratch: Path,
    *,
    calls_each: int = 1,
    is_timed: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Measured:
    """Load over gRPC: each client has one connection and so many calls under way.

    An answer shorter than it should be counts as refused: gRPC says so in a trailer, which h2load
    does not read. Without `is_timed` there are no percentiles: h2load then need not write down
    each call, which at tens of thousands per second costs the server its share of the machine.
    """
    body, log = scratch / "body.grpc", scratch / "h2load.log"
    body.write_bytes(framed(message))
    log.unlink(missing_ok=True)
    said = subprocess.run(
        [
            *("h2load", "-t1", f"-c{clients}", f"-m{calls_each}", f"-D{seconds}"),
            *((f"--log-file={log}",) if is_timed else ()),
            *(f"--header={name}: {value}" for name, value in (headers or {}).items()),
            *("-d", str(body), *H2LOAD_HEADERS, url),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return h2load_said(said, answer_bytes, seconds, log.read_text() if is_timed else "")


def h2load_said(said: str, answer_bytes: int, seconds: float, log: str = "") -> Measured:
    """What h2load has printed, and what it logged of each call.

    Args:
        answer_bytes: of the message of a good answer.
        log: lines of begin, status and microseconds; empty where there is none.
    """
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", said)
    data = re.search(r"\((\d+)\) data", said)
    if counts is None or data is None:
        raise RuntimeError(f"h2load said: {said}")
    succeeded, failed, errored = map(int, counts.groups())
    lines = (line.split("\t") for line in log.splitlines())
    micros = sorted(int(line[2]) for line in lines if line[1] == "200")
    good = min(succeeded, int(data[1]) // (answer_bytes + FRAME_BYTES))
    return Measured(
        good / seconds,
        percentile(micros, 50) / 1e3,
        percentile(micros, 99) / 1e3,
        succeeded + failed + errored,
        succeeded + failed + errored - good,
    )


def framed(message: bytes) -> bytes:
    """One message as gRPC sends it: not compressed, its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of sorted values; nan where there is none."""
    if not ordered:
        return math.nan
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Growth of y per unit of x, by least squares; 0 for fewer than two different x."""
    if not points:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def floors(points: Sequence[tuple[float, float]], width: float) -> list[tuple[float, float]]:
    """The lowest point of each stretch of `width`.

    A leak lifts the floor; what comes and goes, such as the moment in which two versions are
    loaded, does not.
    """
    lowest: dict[int, tuple[float, float]] = {}
    for x, y in points:
        stretch = int(x // width)
        if stretch not in lowest or y < lowest[stretch][1]:
            lowest[stretch] = (x, y)
    return [lowest[stretch] for stretch in sorted(lowest)]
