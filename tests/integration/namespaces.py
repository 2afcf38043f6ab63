"""Machines that are network namespaces of this one, each with one cable to a switch of their own.

It takes root and iproute2. The switch is in a namespace too, so that nothing of the network of this
machine, and none of its firewall's rules, has a part in it.
"""

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["Network", "can_make_namespaces", "inside", "network"]

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET of <linux/sched.h>
_WITHIN: Final = "10.213.7."
_BRIDGE: Final = "switch"


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert not done.returncode, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def can_make_namespaces() -> bool:
    """Whether this process may make namespaces, and has the program for it."""
    if shutil.which("ip") is None:
        return False
    name = f"salver-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if not made.returncode:
        _ip("netns", "delete", name)
    return not made.returncode


class Network:
    """See `network`."""

    def __init__(self) -> None:
        self._prefix = f"salver-{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self._namespaces: dict[str, str] = {}
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", _BRIDGE, "type", "bridge")
        _ip("-n", self._switch, "link", "set", _BRIDGE, "up")

    def add(self) -> str:
        """A further machine; returns its address."""
        number = len(self._namespaces) + 1
        host, name, cable = f"{_WITHIN}{number}", f"{self._prefix}-{number}", f"cable{number}"
        _ip("netns", "add", name)
        self._namespaces[host] = name
        _ip("-n", self._switch, "link", "add", cable, "type", "veth", "peer", "eth0", "netns", name)
        _ip("-n", self._switch, "link", "set", cable, "master", _BRIDGE, "up")
        for link in ("lo", "eth0"):
            _ip("-n", name, "link", "set", link, "up")
        _ip("-n", name, "address", "add", f"{host}/24", "dev", "eth0")
        _ip("-n", name, "route", "add", "default", "via", f"{_WITHIN}254")  # Ray looks for one
        return host

    def namespace(self, host: str) -> str:
        """That of a machine."""
        return self._namespaces[host]

    @contextmanager
    def cut(self, host: str) -> Iterator[None]:
        """Have nothing come or go there meanwhile; nobody is told."""
        _ip("-n", self._switch, "link", "set", self._cable(host), "nomaster")
        try:
            yield
        finally:
            _ip("-n", self._switch, "link", "set", self._cable(host), "master", _BRIDGE)

    def _cable(self, host: str) -> str:
        return f"cable{host.removeprefix(_WITHIN)}"

    def processes(self, host: str) -> list[int]:
        """What runs there."""
        return [int(word) for word in _ip("netns", "pids", self._namespaces[host]).split()]

    def kill(self, host: str) -> None:
        """End all that runs there, but for this process."""
        for pid in self.processes(host):
            if pid != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """The same on all machines."""
        for host in self._namespaces:
            self.kill(host)

    def close(self) -> None:
        """End all that runs there, and take it away."""
        self.kill_all()
        for name in (*self._namespaces.values(), self._switch):
            _ip("netns", "delete", name)


@contextmanager
def network() -> Iterator[Network]:
    """A switch, to which machines are added."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Have the sockets and processes that this thread makes, and its threads, be in a namespace."""
    with open("/proc/thread-self/ns/net") as before:
        with Path("/run/netns", namespace).open() as there:
            _enter(there.fileno())
        try:
            yield
        finally:
            _enter(before.fileno())


def _enter(descriptor: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
