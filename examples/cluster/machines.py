"""Nodes of Ray on this machine, each with a loopback address, as if they were several machines."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 90.0
TRIES = 3
ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # else the servers would give way to everything else
    "PYTHONUNBUFFERED": "1",
}


class Machines:
    """Ray at several addresses. The first is the head."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port("127.0.0.2", 6379)
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        token = directory / "ray.token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        # Whoever reaches Ray's ports can run programs here: these want a token.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token.resolve())}

    @property
    def address(self) -> str:
        return f"127.0.0.2:{self._port}"

    def start(self, *hosts: str) -> None:
        """Machines come."""
        for host in hosts:  # one after the other: this is one machine after all
            for _ in range(TRIES):
                self._begin(host)
                if self._has_started(host):
                    break
                self._nodes.pop(host).kill()
            else:
                sys.exit(f"Ray does not start at {host}; see {self._directory}/ray-{host}.log")

    def _begin(self, host: str) -> None:
        role = [f"--port={self._port}", "--head", "--include-dashboard=false"]
        if self._nodes:
            role = [f"--address={self.address}"]
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            *(*role, f"--node-ip-address={host}", "--num-cpus=2", "--disable-usage-stats"),
            *("--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=80000000"),
        ]
        with (self._directory / f"ray-{host}.log").open("wb") as log:
            self._nodes[host] = subprocess.Popen(
                command,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _has_started(self, host: str) -> bool:
        until = time.monotonic() + PATIENCE_S
        log = self._directory / f"ray-{host}.log"
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if self._nodes[host].poll() is not None or time.monotonic() > until:
                return False  # on a busy machine Ray gives up after 30 s
            time.sleep(0.1)
        return True

    def kill(self, host: str, server: int) -> None:
        """A machine loses its power: Ray there, and the server of a process number."""
        node = self._nodes.pop(host)
        found = subprocess.run(
            ["ps", "-o", "pid=", "-s", str(node.pid)], capture_output=True, text=True, check=False
        )
        # Ray first: it would start the server again.
        for pid in (node.pid, *map(int, found.stdout.split()), server):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        """All machines are switched off; the head last."""
        for node in reversed(self._nodes.values()):
            node.terminate()
            try:
                node.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        self._nodes.clear()


def free_port(host: str, usual: int) -> int:
    """The usual port where it is free, else any free one."""
    for port in (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    sys.exit("No port is free.")
