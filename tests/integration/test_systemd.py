"""The server as a service of systemd: a test plays systemd, which cannot run everywhere."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.integration.serving import PATIENCE_S, Server, start

_UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"

# What systemd does between fork and exec: the descriptors from 3 on, and whom they are for.
_ACTIVATE = """
import os
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.dup2({0}, 3)
os.close({0}) if {0} != 3 else None
"""


class Manager:
    """Holds the socket that clients connect to, and hears what the server says of itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self.listener.getsockname()[1])
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._heard.bind(str(directory / "notify"))
        self._heard.settimeout(PATIENCE_S)
        self.models = directory / "models.yaml"

    def configure(self, *models: Path, text: str = "") -> None:
        lines = "".join(f"- {{name: {m.name}, base_path: {m}}}\n" for m in models)
        self.models.write_text(text or f"models:\n{lines}")

    @contextmanager
    def service(self, *flags: str) -> Iterator[Server]:
        descriptor = self.listener.fileno()
        server = start(
            *(f"--model_config_file={self.models}", *flags),
            prelude=_ACTIVATE.format(descriptor),
            descriptors=[descriptor],
            environment={
                "NOTIFY_SOCKET": str(self.directory / "notify"),
                "WATCHDOG_USEC": "1000000",
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "rest",
            },
        )
        server.url = f"http://127.0.0.1:{self.port}"
        try:
            yield server
        finally:
            server.dispose()

    def wait_for(self, part: str) -> str:
        """The next message that has a part."""
        while part not in (message := self._heard.recv(4096).decode()):
            pass
        return message

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def close(self) -> None:
        self.listener.close()
        self._heard.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def _ask(connection: socket.socket) -> None:
    connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


def _names(answer: bytes) -> list[str]:
    return [word for word in ("half_plus_two", "half_plus_three") if word.encode() in answer]


def _answer(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(4096):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_says_how_it_is_and_answers_on_the_socket_of_the_manager(
    workers: int, manager: Manager, model_path: Callable[[str], Path]
) -> None:
    half, third = model_path("half_plus_two"), model_path("half_plus_three")
    manager.configure(half)
    with manager.service(f"--workers={workers}") as server:
        with manager.connect() as early:  # before it serves: it waits, and is not refused
            _ask(early)
            assert "Serving 1 model on http://127.0.0.1" in manager.wait_for("READY=1")
            assert _names(_answer(early)) == ["half_plus_two"]
        manager.wait_for("WATCHDOG=1")
        for pid in server.workers():  # what is for the server alone
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()

        manager.configure(half, third)
        server.process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1\nMONOTONIC_USEC=")
        assert "Serving 2 models" in manager.wait_for("READY=1")
        server.wait_until("half_plus_three", 123)

        manager.configure(text="models: [")
        server.process.send_signal(signal.SIGHUP)
        assert "could not reload" in manager.wait_for("READY=1")
        assert server.predict("half_plus_two", [1.0]).json() == {"predictions": [2.5]}

        server.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1\nEXTEND_TIMEOUT_USEC=")
        assert server.wait() == 0
    assert server.err.text().count("Traceback") == 0


def test_who_connects_while_it_restarts_is_answered_by_the_next(
    manager: Manager, model_path: Callable[[str], Path]
) -> None:
    manager.configure(model_path("half_plus_two"))
    with manager.service() as first:
        manager.wait_for("READY=1")
        assert first.stop() == 0
    with manager.connect() as waiting:
        _ask(waiting)
        with manager.service() as second:
            assert _names(_answer(waiting)) == ["half_plus_two"]
            with pytest.raises(requests.ConnectionError):  # it listens nowhere else
                requests.get(f"http://127.0.0.1:{second.port}/", timeout=PATIENCE_S)


def test_a_service_that_cannot_load_its_model_is_never_ready(
    manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_text("none")
    manager.configure(tmp_path / "broken")
    with manager.service("--max_num_load_retries=0") as server:
        assert server.wait() == 255
    manager._heard.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.wait_for("READY=1")


@pytest.mark.skipif(
    not shutil.which("systemd-analyze") and not os.environ.get("SALVER_CI"),
    reason="systemd-analyze is not installed",
)
def test_the_units_are_such_as_systemd_takes(tmp_path: Path) -> None:
    program = shutil.which("true")
    for unit in _UNITS.iterdir():
        text = unit.read_text().replace("/opt/salver/bin/salver", str(program))
        (tmp_path / unit.name).write_text(text)
    units = [str(tmp_path / unit.name) for unit in _UNITS.iterdir()]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
