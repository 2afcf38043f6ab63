"""A head of Ray that `salver cluster up` has started where there was none, and stops again.

It is for this machine alone: Ray's ports execute what whoever reaches them sends. So they are bound
to the loopback interface, want a token besides, and the dashboard is off. Whoever wants more
machines starts Ray as Ray's documentation says, behind the firewall that is right there.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from salver.cluster.on_ray.library import LOOPBACK, ONE_MACHINE, token_path
from salver.cluster.processes import ProcessId, identify, is_alive, send_signal, wait_end
from salver.cluster.whole_files import make_private, replace_file
from salver.errors import FailedPrecondition

__all__ = ["Head", "find_head", "reaches", "start_head", "stop_head"]

_RECORD: Final = "ray.json"
_LOG: Final = "ray.log"
_START_S: Final = 90.0
_STOP_S: Final = 60.0
_PROBE_S: Final = 2.0
_LINES: Final = 15


class Head:
    """A head that was started here.

    Attributes:
        process: `ray start --block`, which ends all of its node with it.
        address: of its control service.
    """

    def __init__(self, process: ProcessId, address: str) -> None:
        self.process = process
        self.address = address


def reaches(address: str, within_s: float = _PROBE_S) -> bool:
    """Whether somebody listens at an address, HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=within_s):
            return True
    except (OSError, ValueError):
        return False


def find_head(directory: Path) -> Head | None:
    """The head that was started for a cluster, if it runs."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((directory / _RECORD).read_text())
        head = Head(ProcessId(int(found["pid"]), str(found["started"])), str(found["address"]))
        if is_alive(head.process):
            return head
    return None


def start_head(
    directory: Path, environment: Mapping[str, str], wait: Callable[[float], None]
) -> Head:
    """Start Ray on this machine, for nobody else.

    Args:
        directory: of the cluster; its log goes there.
        environment: of this process.
        wait: waits for so many seconds.

    Raises:
        FailedPrecondition: it does not start.
    """
    make_private(directory)
    port = _free_port()
    address = f"{LOOPBACK}:{port}"
    own = _environment(environment)
    _make_token(token_path(own))
    # `--block` alone has one process whose end is that of the whole node.
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--node-ip-address={LOOPBACK}", f"--port={port}"),
        *("--include-dashboard=false", "--disable-usage-stats"),
    ]
    with (directory / _LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our own arguments
            command,
            cwd=directory,
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    found = identify(process.pid)
    waited_s = 0.0
    while found is None or process.poll() is not None or not reaches(address):
        if found is None or process.poll() is not None or waited_s > _START_S:
            process.kill()
            raise FailedPrecondition("Ray does not start", hint=_tail(directory / _LOG))
        wait(0.1)
        waited_s += 0.1
    head = Head(found, address)
    record = {"schema": 1, "pid": found.pid, "started": found.started, "address": address}
    replace_file(directory / _RECORD, json.dumps(record) + "\n")
    return head


def stop_head(directory: Path) -> bool:
    """Stop the head that was started for a cluster; whether there was one."""
    head = find_head(directory)
    if head is None:
        return False
    send_signal(head.process, signal.SIGTERM)
    if not wait_end(head.process, _STOP_S):
        send_signal(head.process, signal.SIGKILL)
    with suppress(OSError):
        (directory / _RECORD).unlink()
    return True


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    return {
        **own,
        ONE_MACHINE: "0",  # else it listens on all interfaces
        "RAY_AUTH_MODE": "token",
        # Its workers would give way to everything else, and the servers with them.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _make_token(path: Path) -> None:
    if path.exists() or "RAY_AUTH_TOKEN" in os.environ:
        return
    make_private(path.parent)
    replace_file(path, secrets.token_hex(32))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(path: Path) -> str:
    with suppress(OSError):
        lines = path.read_text(errors="replace").splitlines()[-_LINES:]
        return "Its log ends with:\n" + "\n".join(lines)
    return "It has no log"
