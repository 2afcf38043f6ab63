"""Starts workers: each a fresh program that inherits the sockets and one end of a pair."""

import os
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from typing import Any

from salver.config.model_options import run_here
from salver.config.options import settings_of
from salver.config.start_up import Configuration
from salver.server.ports import Port, Ports
from salver.workers.channel import encode
from salver.workers.limit_columns import LimitColumn
from salver.workers.marks import make_memory
from salver.workers.member import HandleRequest, Member
from salver.workers.messages import Begin, InheritedPort

__all__ = ["Prepared", "Spawner", "inherited_ports"]

Preparation = tuple[tuple[tuple[str, str], ...], dict[str, object]]
"""What a worker is told before it has imported anything: see `backends.selection.prepare`."""


class Spawner:
    """Starts the processes of one server.

    Attributes:
        configuration: of the workers that are started from now on.
        ports: that they inherit.
    """

    def __init__(
        self,
        command: Sequence[str],
        configuration: Configuration,
        *,
        num_workers: int,
        board: int,
        handle: HandleRequest,
        limits: int | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            command: what runs a worker, but for its last arguments: the descriptor of its end of
                the pair, and its number.
            configuration: see there.
            num_workers: how many there are.
            board: see `Begin`; it stays the caller's.
            handle: see there.
            limits: descriptor of what clients use of their limits; it stays the caller's.
        """
        self.configuration = configuration
        self.ports: Mapping[str, InheritedPort] = {}
        self._command = tuple(command)
        self._num_workers = num_workers
        self._board = board
        self._handle = handle
        self._shared = (board,) if limits is None else (board, limits)

    def __call__(
        self,
        slot: int,
        *,
        on_end: Callable[[Member], None] = lambda _member: None,
        prepared: "Prepared | None" = None,
        limits: LimitColumn | None = None,
    ) -> Member:
        """Start one.

        Args:
            slot: see `Member`.
            on_end: see `Member`.
            prepared: a process that waits to become one; None for a new one.
            limits: see `Begin`.

        Raises:
            OSError: the system gives no process.
        """
        found = prepared or self.prepare(str(slot))
        begin = Begin(
            *(slot, self._num_workers, self.configuration, self.ports, self._board),
            *(found.memory, limits),
        )
        with suppress(OSError):  # it has ended already, as the member will find
            found.connection.send_bytes(encode(begin))
        return Member(
            *(slot, found.process, found.connection, self._handle),
            on_end=on_end,
            memory=found.memory,
        )

    def prepare(self, name: str) -> "Prepared":
        """Start a process that imports and opens what a worker needs, and waits.

        Args:
            name: of the process, in its command line and its log.

        Raises:
            OSError: the system gives no process.
        """
        ours, theirs = socket.socketpair()
        memory = make_memory()
        inherited = [fd for port in self.ports.values() for fd in port.descriptors]
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*self._command, str(theirs.fileno()), name],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *self._shared, *memory, *inherited),
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
            connection.send_bytes(encode(self._preparation()))
        return Prepared(process, connection, memory)

    def _preparation(self) -> Preparation:
        options, models = self.configuration.options, self.configuration.models or ()
        here = run_here(models, options.isolation)
        settings = settings_of(options)
        if models and not here:
            settings["isolation"] = "process"
        return tuple((model.model_platform, model.base_path) for model in here), settings


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
    """The same, as another process can be sent it."""
    named = {each.name: getattr(ports, each.name) for each in fields(ports)}
    return {
        name: InheritedPort(port.address, tuple(each.fileno() for each in port.sockets))
        for name, port in named.items()
        if isinstance(port, Port)
    }
