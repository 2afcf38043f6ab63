"""What the benchmarks of whole servers share: a server, its figures in /proc, load, statistics."""

import http.client
import math
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

START = "import sys; from salver.cli.model_server import main; sys.exit(main())"
CLOCK_TICKS = 100  # USER_HZ, on every Linux
H2LOAD_HEADERS = (
    *("-H", "content-type: application/grpc"),
    *("-H", "te: trailers"),  # codespell:ignore te
)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, each another."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass
class Server:
    """A `tensorflow_model_server` of our own, in a child process, on ports of its own.

    Attributes:
        log: what it writes, both streams.
    """

    flags: Sequence[str]
    log: Path
    rest_port: int = 0
    grpc_port: int = 0
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        if not self.rest_port:
            self.rest_port, self.grpc_port = free_ports(2)
        ports = (f"--rest_api_port={self.rest_port}", f"--port={self.grpc_port}")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, "--host=127.0.0.1", *ports, *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends the server
            )

    def post(self, path: str, body: bytes, timeout_s: float = 30.0) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=timeout_s)
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def until_answered(self, path: str, body: bytes, within_s: float = 120.0) -> bytes:
        """The first good answer; ports open when all first models are there."""
        until_s = time.monotonic() + within_s
        said = "nothing"
        while time.monotonic() < until_s and self.process.poll() is None:
            try:
                status, content = self.post(path, body)
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            else:
                if status == 200:
                    return content
                said = f"{status} {content[:300]!r}"
            time.sleep(0.01)
        tail = self.log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"no good answer, last {said}; its log ends:\n{tail}")

    def _status(self, key: str) -> int:
        found = re.search(rf"^{key}:\s+(\d+)", self._proc("status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.pid}/{name}")

    def resident_mib(self) -> float:
        return self._status("VmRSS") / 1024

    def threads(self) -> int:
        return self._status("Threads")

    def open_files(self) -> int:
        return sum(1 for _ in self._proc("fd").iterdir())

    def cpu_s(self) -> float:
        """User and system time of the process, all threads, so far."""
        fields = self._proc("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def stop(self, within_s: float = 40.0) -> int:
        """Let it drain; gives its exit status, negative when it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


@dataclass(frozen=True)
class Measured:
    """What one run of a load generator saw; a refused answer is one that is no success."""

    rate: float
    p50_ms: float
    p99_ms: float
    answers: int
    refused: int


def wrk(url: str, body: Path, clients: int, seconds: int, scratch: Path) -> Measured:
    """Load over REST: each client has one connection and one request under way."""
    script = scratch / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nlocal file = io.open("{body}", "rb")\n'
        'wrk.body = file:read("*a")\nwrk.headers["Content-Type"] = "application/json"\n'
        "done = function(summary, latency, requests)\n"
        '  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,\n'
        "    summary.errors.status + summary.errors.read + summary.errors.write\n"
        "    + summary.errors.timeout + summary.errors.connect,\n"
        "    latency:percentile(50), latency:percentile(99)))\nend\n"
    )
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s"]
    said = subprocess.run(
        [*command, str(script), url], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", said)
    assert found is not None, said
    answers, micros, refused, p50, p99 = map(int, found.groups())
    good = answers - refused
    return Measured(good / (micros / 1e6), p50 / 1e3, p99 / 1e3, answers, refused)


def h2load(
    url: str, message: bytes, answer_bytes: int, clients: int, seconds: int, scratch: Path
) -> Measured:
    """Load over gRPC: each client has one connection and one call under way.

    An answer shorter than it should be counts as refused: gRPC says so in a trailer, which h2load
    does not read.
    """
    body, log = scratch / "body.grpc", scratch / "h2load.log"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    log.unlink(missing_ok=True)
    said = subprocess.run(
        [
            *("h2load", "-t1", f"-c{clients}", "-m1", f"-D{seconds}", f"--log-file={log}"),
            *("-d", str(body), *H2LOAD_HEADERS, url),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    data = re.search(r"\((\d+)\) data", said)
    assert data is not None, said
    lines = (line.split("\t") for line in log.read_text().splitlines())
    micros = sorted(int(line[2]) for line in lines if line[1] == "200")
    good = min(len(micros), int(data[1]) // (answer_bytes + 5))
    return Measured(
        good / seconds,
        percentile(micros, 50) / 1e3,
        percentile(micros, 99) / 1e3,
        len(micros),
        len(micros) - good,
    )


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
