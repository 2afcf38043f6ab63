"""The server of a node: started so that it outlives whoever starts it, and found again.

Its record, `server.json` in the node's directory, says which process it is (see `processes`), at
which addresses it listens and by which command line it was started. Whoever finds a record whose
process runs takes the server over as it is; a process that is not of the record is left alone.
"""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from salver.cluster.launcher import LOG
from salver.cluster.processes import ProcessId, is_alive, send_signal, wait_end
from salver.errors import FailedPrecondition, Internal

__all__ = ["Launch", "RunningServer", "find_server", "log_tail", "start_server"]

_RECORD: Final = "server.json"
_LAUNCH_S: Final = 30.0  # a busy machine takes its time to start an interpreter
_SCHEMA: Final = 1
_SOURCES: Final = str(Path(__file__).parents[2])
_LAUNCHER: Final = (
    f"import sys; sys.path.append({_SOURCES!r});from salver.cluster.launcher import main; main()"
)
_SERVER: Final = (
    f"import sys; sys.path.append({_SOURCES!r});"
    "from salver.cli.salver import main; sys.exit(main(['salver', *sys.argv[1:]]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is to be started.

    Attributes:
        directory: of the node, which is the server's current directory too.
        arguments: of `salver serve`.
        rest: host and port of its REST APIs.
        grpc: likewise of gRPC; empty for none.
        socket: a Unix socket on which it answers REST.
        environment: of its process.
    """

    directory: Path
    arguments: tuple[str, ...]
    rest: str
    grpc: str
    socket: Path
    environment: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Another one for another command line, or another release of Salver."""
        import salver

        words = (salver.__version__, sys.executable, *self.arguments)
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that was started here, by this process or another one.

    Attributes:
        process: what it is.
        rest: see `Launch`, like `grpc`, `socket` and `digest`.
        incarnation: another one for each start.
    """

    process: ProcessId
    rest: str
    grpc: str
    socket: str
    digest: str
    incarnation: str

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return is_alive(self.process)

    def end(self) -> None:
        """Have it answer what it has begun and end."""
        send_signal(self.process, signal.SIGTERM)

    def wait(self, within_s: float) -> bool:
        """Wait for its end; whether that came in time."""
        return wait_end(self.process, within_s)

    def kill(self) -> None:
        """End it at once."""
        send_signal(self.process, signal.SIGKILL)
        wait_end(self.process, _LAUNCH_S)


def find_server(directory: Path) -> RunningServer | None:
    """The server of a node's directory, if it runs; None where there is none."""
    try:
        found = json.loads((directory / _RECORD).read_text())
        server = _server_of(found)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or not ours
    return server if server.is_alive else None


def _server_of(found: Mapping[str, Any]) -> RunningServer:
    if found["schema"] != _SCHEMA:
        raise ValueError("of another release")
    texts = {name: str(found[name]) for name in ("rest", "grpc", "socket", "digest", "incarnation")}
    return RunningServer(process=ProcessId(int(found["pid"]), str(found["started"])), **texts)


def start_server(launch: Launch) -> RunningServer:
    """Start a server; it is not ready yet.

    Raises:
        FailedPrecondition: one runs there already.
        Internal: its process cannot be made.
    """
    if find_server(launch.directory) is not None:
        raise FailedPrecondition(f"A server runs in {launch.directory} already")
    with suppress(OSError):
        launch.socket.unlink()
    about = {
        "rest": launch.rest,
        "grpc": launch.grpc,
        "socket": str(launch.socket),
        "digest": launch.digest,
        "incarnation": secrets.token_hex(8),
    }
    request = {
        "command": [sys.executable, "-c", _SERVER, "serve", *launch.arguments],
        "directory": str(launch.directory),
        "record": str(launch.directory / _RECORD),
        "about": about,
    }
    _launch(request, launch.environment)
    server = find_server(launch.directory)
    if server is None:
        raise Internal(_why(launch.directory))
    return server


def _launch(request: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, our own program
            [sys.executable, "-c", _LAUNCHER],
            input=json.dumps(request).encode(),
            env=dict(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_LAUNCH_S,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Internal(f"The server's process cannot be made: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise Internal(f"The server's process cannot be made: {said}")


def _why(directory: Path) -> str:
    tail = log_tail(directory, 5).strip()
    return f"The server ended at once: {tail}" if tail else "The server ended at once"


def log_tail(directory: Path, lines: int) -> str:
    """The last lines that the server of a directory has written."""
    most = lines * 4096
    try:
        with (directory / LOG).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - most))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "".join(_last(text.splitlines(keepends=True), lines))


def _last(found: Sequence[str], count: int) -> Sequence[str]:
    return found[-count:] if count > 0 else ()
