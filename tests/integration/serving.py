"""Servers as users start them: the console commands, in child processes, on free ports."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import requests

__all__ = ["PATIENCE_S", "Lines", "Server", "eventually", "free_port", "run_command", "running"]

PATIENCE_S = 60.0  # longest wait for anything; only a broken server is waited for so long
SOURCES = Path(__file__).resolve().parents[2] / "src"

# Below the range from which systems take ports for outgoing connections, apart for each process.
_ports = itertools.cycle(range(20000 + os.getpid() % 100 * 100, 20100 + os.getpid() % 100 * 100))

_COMMANDS = {
    "tensorflow_model_server": "salver.cli.model_server",
    "salver": "salver.cli.salver",
}


def free_port() -> int:
    """A port nobody listens on."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError("the range of ports never ends")


def eventually(what: str, check: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    """The first true value of `check`, asked again and again; fails when the time is over."""
    until = time.monotonic() + within_s
    pause = threading.Event()
    while not (value := check()):
        assert time.monotonic() < until, f"not within {within_s:g} s: {what}"
        pause.wait(0.02)
    return value


class Lines:
    """What a child writes to one of its streams, collected by a thread as it comes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._collect, name="child-output", daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        for line in self._stream:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def text(self) -> str:
        """All so far."""
        with self._changed:
            return "\n".join(self._lines)

    def wait_for(self, part: str, *, within_s: float = PATIENCE_S) -> str:
        """The first line that contains `part`, waited for."""

        def find() -> str | None:
            return next((line for line in self._lines if part in line), None)

        with self._changed:
            self._changed.wait_for(lambda: find() is not None or self._is_over, within_s)
            line = find()
            assert line is not None, f"{part!r} is not in:\n" + "\n".join(self._lines)
            return line

    def finish(self) -> None:
        """Wait until the child has closed the stream."""
        self._thread.join(PATIENCE_S)
        self._stream.close()


@dataclass
class Server:
    """A running server and how to talk to it."""

    process: "subprocess.Popen[str]"
    url: str
    port: int
    grpc_port: int
    out: Lines
    err: Lines
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def grpc_target(self) -> str:
        """What a gRPC client connects to."""
        return f"127.0.0.1:{self.grpc_port}"

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=PATIENCE_S, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.session.post(self.url + path, json=body, timeout=PATIENCE_S, **more)

    def predict(self, model: str, instances: Any, version: int | None = None) -> requests.Response:
        which = "" if version is None else f"/versions/{version}"
        return self.post(f"/v1/models/{model}{which}:predict", {"instances": instances})

    def states(self, model: str) -> dict[int, str]:
        """Version → state of a model; empty when it is unknown."""
        status = self.get(f"/v1/models/{model}")
        if status.status_code != 200:
            return {}
        return {int(v["version"]): v["state"] for v in status.json()["model_version_status"]}

    def wait_until(self, model: str, version: int, state: str = "AVAILABLE") -> None:
        eventually(
            f"{model} {version} is {state}", lambda: self.states(model).get(version) == state
        )

    def connect(self) -> socket.socket:
        """A plain connection, of which a `with` disposes."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def resident_bytes(self) -> int:
        """The memory the process holds, from /proc."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def workers(self) -> list[int]:
        """The processes that answer, but for one that waits to become such."""
        found: set[int] = set()
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                found.update(map(int, (thread / "children").read_text().split()))
        return sorted(filter(_is_worker, found))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; gives the exit status."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self, within_s: float = PATIENCE_S) -> int:
        """The exit status, waited for."""
        return self.process.wait(within_s)

    def dispose(self) -> None:
        """End the process whatever it does, and close all that was open."""
        self.session.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.out.finish()
        self.err.finish()


def _is_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("salver-worker")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(command: str, arguments: Sequence[str], prelude: str = "") -> list[str]:
    main = (
        f"{prelude}\nimport sys; sys.argv[0] = {command!r};"
        f"from {_COMMANDS[command]} import main; sys.exit(main())"
    )
    return [sys.executable, "-c", main, *arguments]


def _environment(packages: Path | None = None) -> dict[str, str]:
    paths = os.pathsep.join(map(str, filter(None, (SOURCES, packages))))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def run_command(
    command: str, *arguments: str, within_s: float = PATIENCE_S, packages: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command that ends by itself; `packages` is a directory of further packages."""
    return subprocess.run(
        _command(command, arguments),
        env=_environment(packages),
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def start(
    *flags: str,
    command: str = "tensorflow_model_server",
    port: int | None = None,
    grpc_port: int | None = None,
    prelude: str = "",
    is_quiet: bool = False,
    packages: Path | None = None,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Server:
    """Start a server on free ports of the loopback; does not wait for anything.

    Port 0 is none. `prelude` is Python that runs first. `is_quiet` leaves `salver serve` as quiet
    as it is; else it logs as `tensorflow_model_server` does. `packages` is a directory of further
    packages. `environment` has further variables, and `descriptors` are inherited.
    """
    port = free_port() if port is None else port
    grpc_port = free_port() if grpc_port is None else grpc_port
    arguments = [*flags, "--host=127.0.0.1", f"--rest_api_port={port}", f"--port={grpc_port}"]
    if command == "salver":
        arguments[:0] = ["serve"] if is_quiet else ["serve", "--verbose"]
    process = subprocess.Popen(
        _command(command, arguments, prelude),
        env={**_environment(packages), **(environment or {})},
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    url = f"http://127.0.0.1:{port}"
    return Server(process, url, port, grpc_port, Lines(process.stdout), Lines(process.stderr))


def _answers(server: Server) -> bool:
    assert server.process.poll() is None, (
        f"the server ended with {server.process.returncode}:\n"
        f"{server.out.text()}\n{server.err.text()}"
    )
    try:
        return server.get("/healthz/ready").status_code == 200
    except requests.ConnectionError:
        return False


@contextmanager
def running(*flags: str, **more: Any) -> Iterator[Server]:
    """A server that is ready; it is ended by its process id when the block ends."""
    server = start(*flags, **more)
    try:
        eventually("the server is ready", lambda: _answers(server))
        yield server
    finally:
        server.dispose()
