"""HAProxy in front of servers, which come and go: connections, or requests, go round among them."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.serving import Server, eventually, free_port

__all__ = ["KINDS", "Balancer", "balancing"]

_SLOTS = 8
KINDS = ("rest_by_request", "grpc_by_request", "rest_by_connection", "grpc_by_connection")
"""By request as an Ingress does, by connection as a Service does."""

# Nothing is tried again: what a server loses is lost to the client.
_HEAD = """\
global
  stats socket {admin} mode 600 level admin
defaults
  retries 0
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  balance roundrobin
"""
_KIND = """\
frontend in_{kind}
  mode {mode}
  bind 127.0.0.1:{port}{proto}
  default_backend {kind}
backend {kind}
  mode {mode}
  server-template pod {slots} 127.0.0.1:1{proto} disabled
"""


class Balancer:
    """A running HAProxy.

    Attributes:
        ports: by kind, where clients connect.
    """

    def __init__(self, admin: Path, ports: dict[str, int]) -> None:
        self.ports = ports
        self._admin = admin
        self._slots: dict[int, int] = {}  # port of a server → its place

    def add(self, server: Server) -> None:
        """Send it what comes from now on."""
        slot = next(n for n in range(1, _SLOTS + 1) if n not in self._slots.values())
        self._slots[server.port] = slot
        for kind in KINDS:
            port = server.port if kind.startswith("rest") else server.grpc_port
            self._tell(f"set server {kind}/pod{slot} addr 127.0.0.1 port {port}")
            self._tell(f"set server {kind}/pod{slot} state ready")

    def remove(self, server: Server) -> None:
        """Send it nothing new; what is under way goes on."""
        slot = self._slots.pop(server.port)
        for kind in KINDS:
            self._tell(f"set server {kind}/pod{slot} state maint")

    def _tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self._admin))
            admin.sendall(f"{command}\n".encode())
            said = b"".join(iter(lambda: admin.recv(4096), b"")).decode().strip()
        assert not said or said.startswith(("IP changed", "port changed", "no need")), said
        return said


@contextmanager
def balancing(directory: Path) -> Iterator[Balancer]:
    """One that runs, with no servers yet.

    Args:
        directory: of its files; its path must be short, for that of a socket.
    """
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        assert not os.environ.get("SALVER_CI"), "haproxy is not installed"
        pytest.skip("haproxy is not installed")
    admin, config = directory / "admin.sock", directory / "haproxy.cfg"
    ports = {kind: free_port() for kind in KINDS}
    text = _HEAD.format(admin=admin)
    for kind in KINDS:
        by_request = kind.endswith("by_request")
        text += _KIND.format(
            kind=kind,
            mode="http" if by_request else "tcp",
            port=ports[kind],
            proto=" proto h2" if by_request and kind.startswith("grpc") else "",
            slots=_SLOTS,
        )
    config.write_text(text)
    process = subprocess.Popen(
        [program, "-db", "-q", "-f", str(config)], stderr=subprocess.PIPE, text=True
    )
    try:
        eventually("HAProxy listens", lambda: _has_begun(process, admin))
        yield Balancer(admin, ports)
    finally:
        process.terminate()
        process.wait(20)
        assert process.stderr is not None
        process.stderr.close()


def _has_begun(process: "subprocess.Popen[str]", admin: Path) -> bool:
    if process.poll() is not None:
        assert process.stderr is not None
        raise AssertionError(process.stderr.read())
    return admin.exists()
