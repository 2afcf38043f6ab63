"""Child processes: started, asked, watched in /proc and ended, each with all that it started."""

import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

CLOCK_TICKS = 100  # USER_HZ, on every Linux
RESIDENT = re.compile(r"^(Rss\w+):\s+(\d+) kB", re.MULTILINE)
_JSON: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})
REFUSALS = (400, 405, 413, 422)  # which no waiting changes


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


class Child:
    """A process in a session of its own, with what it starts.

    Attributes:
        log: what it writes, both streams.
    """

    def __init__(
        self, command: Sequence[str], log: Path, more: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **(more or {})},
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends the server
            )

    def _status(self, key: str) -> int:
        found = re.search(rf"^{key}:\s+(\d+)", self._proc("status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.pid}/{name}")

    def resident_mib(self) -> float:
        """Of the process alone."""
        return self._status("VmRSS") / 1024

    def threads(self) -> int:
        return self._status("Threads")

    def open_files(self) -> int:
        return sum(1 for _ in self._proc("fd").iterdir())

    def cpu_s(self) -> float:
        """User and system time so far, of all threads and of all processes it started."""
        return sum(cpu_of(pid) for pid in self.family())

    def whole_mib(self) -> float:
        """Resident memory of all its processes; the files that they map count once.

        Private to each is what it has written to; what other programs map too, such as the library
        of TensorFlow, counts in full, whoever else runs.
        """
        anonymous = shared = files = 0
        for pid in self.family():
            with suppress(OSError):  # it has just ended
                status = Path(f"/proc/{pid}/status").read_text()
                sizes = {key: int(kib) for key, kib in RESIDENT.findall(status)}
                anonymous += sizes.get("RssAnon", 0)
                shared = max(shared, sizes.get("RssShmem", 0))
                files = max(files, sizes.get("RssFile", 0))
        return (anonymous + shared + files) / 1024

    def family(self) -> list[int]:
        """Its own process id, then those of its descendants."""
        return family_of(self.process.pid, parents())

    def stop(self, within_s: float = 40.0) -> int:
        """Let it drain; gives its exit status, negative when it had to be killed."""
        family = self.family() if self.process.poll() is None else []
        if family:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for pid in family[1:]:  # what it left behind
            with suppress(OSError):
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
        return self.process.wait()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


def family_of(pid: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """A process and its descendants, of pairs of a process and the one that started it."""
    children: dict[int, list[int]] = {}
    for one, parent in pairs:
        children.setdefault(parent, []).append(one)
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def parents() -> Iterator[tuple[int, int]]:
    """Every process there is, with the one that started it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(fields[1])


def cpu_of(pid: int) -> float:
    """Seconds of one process, and of those of its children that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return sum(map(int, fields[11:15])) / CLOCK_TICKS


def post(
    url: str,
    body: bytes,
    timeout_s: float = 30.0,
    headers: Mapping[str, str] = _JSON,
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s
    )
    try:
        connection.request("POST", parts.path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until_answered(
    child: Child,
    url: str,
    body: bytes,
    within_s: float = 120.0,
    headers: Mapping[str, str] = _JSON,
) -> bytes:
    """The first good answer of a server that is starting."""
    until_s = time.monotonic() + within_s
    said = "nothing"
    while time.monotonic() < until_s and child.process.poll() is None:
        try:
            status, content = post(url, body, headers=headers)
        except (OSError, http.client.HTTPException) as error:
            said = repr(error)
        else:
            if status == 200:
                return content
            said = f"{status} {content[:300]!r}"
            if status in REFUSALS:
                break
        time.sleep(0.005)
    raise RuntimeError(f"no good answer, last {said}; its log ends:\n{child.tail()}")
