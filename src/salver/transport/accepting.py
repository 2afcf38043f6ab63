"""Accepting where several processes listen on one socket: one connection at a time.

A loop's own server accepts all that wait whenever it wakes up, so that one of the processes gets
them all. Here each wake-up takes one; while it is made a connection, the others are awake too, and
a process that is busy wakes up later than one that is not. And who holds more connections than
another waits a little for that one to take it.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from salver.transport.turns import Turns

__all__ = ["Acceptor"]

_log = logging.getLogger(__name__)

_PAUSE_S: Final = 0.5  # when the system has no more descriptors; as loops do
_YIELD_S: Final = 0.002  # to a process that holds fewer connections
_MOST_AFTER_YIELD: Final = 64  # connections that are taken then, one, two, four and so on


class Acceptor:
    """Takes connections from one listening socket. Belongs to the loop.

    Attributes:
        accepted: how many so far.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        ssl_context: ssl.SSLContext | None = None,
        *,
        turns: Turns | None = None,
        held: Callable[[], int] = lambda: 0,
        **tls_timeouts: Any,
    ) -> None:
        """Begin to accept, in the loop that runs.

        Args:
            listener: listens already, does not block, and becomes the acceptor's.
            make_protocol: for each connection.
            ssl_context: speak TLS.
            turns: with the other processes; without it whoever is first takes a connection.
            held: how many connections this process holds; for `turns`.
            tls_timeouts: of `loop.connect_accepted_socket`.
        """
        self.accepted = 0
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._context = ssl_context
        self._tls_timeouts = tls_timeouts
        self._turns = turns
        self._held = held
        self._credit = 0
        self._after_yield = 1
        self._pause: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more, and close the socket here; other processes may go on with theirs."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        if self._lets_others_go_first():
            self._wait(_YIELD_S)
            return
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            self._credit = 0
            return  # another process was faster, or the client has left
        except OSError as error:
            _log.error("Cannot accept connections: %s", error)
            self._wait(_PAUSE_S)
            return
        self.accepted += 1
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._connect(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lets_others_go_first(self) -> bool:
        if self._turns is None or self._turns.is_ours(self._held() + len(self._tasks)):
            self._after_yield = 1
            return False
        if self._credit == 0:
            self._credit = self._after_yield
            self._after_yield = min(2 * self._after_yield, _MOST_AFTER_YIELD)
            return True
        self._credit -= 1
        return False

    def _wait(self, pause_s: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(pause_s, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    async def _connect(self, connection: socket.socket) -> None:
        more = {"ssl": self._context, **self._tls_timeouts} if self._context is not None else {}
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection, **more)
        except (OSError, asyncio.TimeoutError):  # its handshake failed, or it has left
            connection.close()
