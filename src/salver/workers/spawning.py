"""Starts workers: each a fresh program that inherits the sockets and one end of a pair."""

import os
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from salver.config.start_up import Configuration
from salver.server.ports import Port, Ports
from salver.workers.channel import encode
from salver.workers.marks import make_memory
from salver.workers.member import HandleAsked, Member
from salver.workers.messages import Begin, InheritedPort

__all__ = ["Preparation", "Prepared", "Spawner", "inherited_ports"]

Preparation = tuple[tuple[str, ...], bool]
"""What a worker is told before it has imported anything: base paths, whether TFLite is preferred;
see `backends.registry.prepare`."""


class Spawner:
    """Starts the workers of one server.

    Attributes:
        configuration: of the workers that are started from now on.
    """

    def __init__(
        self,
        command: Sequence[str],
        configuration: Configuration,
        ports: Ports,
        *,
        num_workers: int,
        board: int,
        handle: HandleAsked,
    ) -> None:
        """Start nothing yet.

        Args:
            command: what runs a worker, but for its last arguments: the descriptor of its end of
                the pair, and its number.
            configuration: see there.
            ports: that are bound; workers inherit them.
            num_workers: how many there are.
            board: see `Begin`; it stays the caller's.
            handle: see there.
        """
        self.configuration = configuration
        self._command = tuple(command)
        self._ports = inherited_ports(ports)
        self._num_workers = num_workers
        self._board = board
        self._handle = handle

    def __call__(
        self,
        slot: int,
        preparation: Preparation,
        *,
        on_end: Callable[[Member], None] = lambda _member: None,
        prepared: "Prepared | None" = None,
    ) -> Member:
        """Start one.

        Args:
            slot: see `Member`.
            preparation: see there.
            on_end: see `Member`.
            prepared: a process that waits to become one; None for a new one.

        Raises:
            OSError: the system gives no process.
        """
        found = prepared or self.prepare(preparation, str(slot))
        begin = Begin(
            slot, self._num_workers, self.configuration, self._ports, self._board, found.memory
        )
        with suppress(OSError):  # it has ended already, as the member will find
            found.connection.send_bytes(encode(begin))
        return Member(
            *(slot, found.process, found.connection, self._handle),
            on_end=on_end,
            memory=found.memory,
        )

    def prepare(self, preparation: Preparation, name: str) -> "Prepared":
        """Start a process that imports and opens what a worker needs, and waits.

        Args:
            preparation: see there.
            name: of the process, in its command line and its log.

        Raises:
            OSError: the system gives no process.
        """
        ours, theirs = socket.socketpair()
        memory = make_memory()
        inherited = [fd for port in self._ports.values() for fd in port.descriptors]
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*self._command, str(theirs.fileno()), name],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._board, *memory, *inherited),
            )
        except OSError:
            ours.close()
            for descriptor in memory:
                os.close(descriptor)
            raise
        finally:
            theirs.close()
        connection = Connection(ours.detach())
        with suppress(OSError):
            connection.send_bytes(encode(preparation))
        return Prepared(process, connection, memory)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A process that waits to become a worker.

    Attributes:
        process: of it.
        connection: to it.
        memory: see `marks.make_memory`.
    """

    process: "subprocess.Popen[bytes]"
    connection: "Connection[Any, Any]"
    memory: tuple[int, int]

    @property
    def has_ended(self) -> bool:
        """Whether it waits no more."""
        return self.process.poll() is not None

    def dismiss(self) -> None:
        """End it, which takes it no time, and wait until it has ended."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        for descriptor in self.memory:
            os.close(descriptor)


def inherited_ports(ports: Ports) -> Mapping[str, InheritedPort]:
    """The same, in words that another process understands."""
    named: Mapping[str, Port | None] = {"rest": ports.rest, "grpc": ports.grpc, "unix": ports.unix}
    return {
        name: InheritedPort(port.address, tuple(each.fileno() for each in port.sockets))
        for name, port in named.items()
        if port is not None
    }
