"""The connections to one server: which of them carries a request, and when there is another.

A request goes to the first connection that has room, so that one is enough until its streams are
full. Requests for which there is none wait, a bounded number of them, and never longer than it
takes to connect or to fail. A server that cannot be reached is left alone for a while, which grows;
meanwhile requests fail at once, and may be sent elsewhere: nothing of them was begun.
"""

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from salver.transport.http2.client.connection import ClientConnection, Waiter
from salver.transport.http2.client.stream import Loss
from salver.transport.http2.limits import Http2Limits

__all__ = ["Channel", "ChannelLimits", "Waiter"]

_SHORT_LIFE_S: Final = 1.0
_SPREAD: Final = 0.2  # of a back-off, so that many clients do not come back at one time
_PEER_LIMITS: Final = Http2Limits(
    max_concurrent_streams=1024,
    keepalive_time_s=5.0,
    keepalive_timeout_s=5.0,
    write_timeout_s=20.0,
    preface_timeout_s=5.0,
    linger_s=1.0,
    max_connection_idle_s=300.0,
)


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Bounds on what one server is asked.

    Attributes:
        connection: bounds on each connection.
        max_connections: at one time; those that are on their way out do not count.
        max_waiting: requests that wait for room or for a connection.
        max_wait_s: how long they do.
        connect_timeout_s: for the connection, TLS and the server's SETTINGS.
        min_backoff_s: after the first failure to connect; doubled by each that follows.
        max_backoff_s: see `min_backoff_s`.
    """

    connection: Http2Limits = field(default=_PEER_LIMITS)
    max_connections: int = 4
    max_waiting: int = 1024
    max_wait_s: float = 30.0
    connect_timeout_s: float = 3.0
    min_backoff_s: float = 0.05
    max_backoff_s: float = 5.0


class Channel:
    """The connections to one server. Belongs to the loop.

    Attributes:
        host: where it is.
        port: likewise.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        monotonic: Callable[[], float],
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        limits: ChannelLimits | None = None,
    ) -> None:
        """Make it; nothing is connected before there is a request.

        Args:
            host: a name or an address.
            port: of TCP.
            monotonic: seconds.
            tls: for TLS; offers `h2` by ALPN.
            server_name: that the server's certificate is to have; None for `host`.
            limits: see there.
        """
        self.host, self.port = host, port
        self._monotonic = monotonic
        self._tls = tls
        self._server_name = server_name
        self._limits = limits or ChannelLimits()
        self._connections: list[ClientConnection] = []
        self._made_at: dict[ClientConnection, float] = {}  # of `_connections`
        self._leaving: set[ClientConnection] = set()
        self._waiting: dict[Waiter, float] = {}  # → since when
        self._connecting: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None  # of the connection that is being made
        self._backoff_s = 0.0
        self._closed_until = 0.0
        self._failure = ""
        self._is_closed = False

    @property
    def outstanding(self) -> int:
        """Requests that were sent or wait."""
        every = (*self._connections, *self._leaving)
        return len(self._waiting) + sum(each.session.outstanding for each in every)

    @property
    def connections(self) -> int:
        """How many there are, those that are on their way out too."""
        return len(self._connections) + len(self._leaving)

    @property
    def is_idle(self) -> bool:
        """True if it keeps nothing that a new one would not have."""
        return not (self.connections or self._waiting or self._connecting or self._is_backing_off)

    def submit(self, waiter: Waiter) -> None:
        """Have a request begin, now or soon; or learn that it cannot."""
        if not self._waiting:
            for connection in self._connections:
                if connection.session.has_room:
                    connection.begin(waiter)
                    return
        self._await(waiter)

    def withdraw(self, waiter: Waiter) -> None:
        """Forget a request that waits, if it does."""
        self._waiting.pop(waiter, None)

    def sweep(self, now: float) -> None:
        """End what was too slow at this monotonic time; to be called about once a second."""
        for connection in (*self._connections, *self._leaving):
            connection.sweep(now)
            self._on_change(connection)
        for waiter, since in tuple(self._waiting.items()):
            if now - since < self._limits.max_wait_s:
                break
            del self._waiting[waiter]
            waiter.lost(Loss("it has no room for another request", has_begun=False))

    def retire(self) -> None:
        """Begin no more requests; those that were sent are answered."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        self._refuse_all("this server does not ask it any more")
        for connection in tuple(self._connections):
            connection.retire()
            self._on_change(connection)

    def close(self) -> None:
        """End everything."""
        self.retire()
        for connection in tuple(self._leaving):
            connection.abort()

    # Waiting.

    def _await(self, waiter: Waiter) -> None:
        if self._is_closed:
            waiter.lost(Loss("this server does not ask it any more", has_begun=False))
        elif len(self._waiting) >= self._limits.max_waiting:
            waiter.lost(Loss("too many requests wait for it", has_begun=False))
        elif not self._connections and self._is_backing_off:
            waiter.lost(Loss(self._failure, has_begun=False))
        else:
            self._waiting[waiter] = self._monotonic()
            self._watch_room(self._begin_waiting)
            self._grow()

    def _begin_waiting(self) -> None:
        """Begin what there is room for."""
        waiting = self._waiting
        for connection in tuple(self._connections):
            session = connection.session
            while waiting and session.has_room:
                waiter = next(iter(waiting))
                del waiting[waiter]
                connection.begin(waiter)
        if not waiting:
            self._watch_room(None)

    def _watch_room(self, notify: Callable[[], None] | None) -> None:
        for connection in self._connections:
            connection.session.when_room(notify)

    def _refuse_all(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.lost(Loss(reason, has_begun=False))

    # Connecting.

    @property
    def _is_backing_off(self) -> bool:
        return self._monotonic() < self._closed_until

    def _grow(self) -> None:
        """Connect once more, if that may help who waits."""
        if (
            self._connecting is None
            and not self._is_closed
            and len(self._connections) < self._limits.max_connections
            and not self._is_backing_off
        ):
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        """Connect, and wait for the server's SETTINGS."""
        made = ClientConnection(
            self._limits.connection, monotonic=self._monotonic, changed=self._on_change
        )
        try:
            await asyncio.wait_for(self._open(made), self._limits.connect_timeout_s)
        except asyncio.TimeoutError:
            self._fail("it does not answer in time", made)
        except (OSError, ValueError) as error:  # a name that cannot be written as IDNA, too
            self._fail(str(error), made)
        except asyncio.CancelledError:
            self._fail("the connection was given up", made)
            raise
        else:
            self._connections.append(made)
            self._made_at[made] = self._monotonic()
        finally:
            self._connecting = None
        if self._waiting:
            self._watch_room(self._begin_waiting)
            self._begin_waiting()
            self._grow_for_waiting()

    async def _open(self, made: ClientConnection) -> None:
        """Raises OSError, also where the server does not speak as it should, and ValueError."""
        loop = asyncio.get_running_loop()
        self._opened = opened = loop.create_future()
        await loop.create_connection(
            lambda: made,
            self.host,
            self.port,
            ssl=self._tls,
            server_hostname=(self._server_name or self.host) if self._tls else None,
        )
        if not made.is_ready and not made.session.is_leaving:
            await opened
        if made.session.is_leaving:
            raise ConnectionError(made.session.ending or "the server goes")

    def _fail(self, reason: str, made: ClientConnection) -> None:
        if hasattr(made, "session") and not made.is_gone:
            made.abort()
        self._back_off(reason)
        if not self._connections:
            self._refuse_all(reason)

    def _back_off(self, reason: str) -> None:
        """Leave the server alone for a while: longer, if it was not good for long."""
        limits, now = self._limits, self._monotonic()
        if now - self._closed_until > limits.max_backoff_s:
            self._backoff_s = 0.0
        self._backoff_s = min(max(2 * self._backoff_s, limits.min_backoff_s), limits.max_backoff_s)
        spread = 1 + _SPREAD * (2 * random.random() - 1)  # noqa: S311 nothing is kept secret by it
        self._closed_until = now + self._backoff_s * spread
        self._failure = reason

    def _on_change(self, connection: ClientConnection) -> None:
        """A connection is ready, takes no more requests, or is gone."""
        if connection not in self._connections and connection not in self._leaving:
            if self._opened is not None and not self._opened.done():
                self._opened.set_result(None)
            return
        if connection.is_gone:
            self._leaving.discard(connection)
        elif connection.session.is_leaving:
            self._leaving.add(connection)
        else:
            return
        if connection in self._made_at:
            self._connections.remove(connection)
            self._part(connection)

    def _part(self, connection: ClientConnection) -> None:
        """A connection takes no more requests."""
        lived_s = self._monotonic() - self._made_at.pop(connection)
        reason = connection.session.ending or "the server goes"
        if lived_s < _SHORT_LIFE_S:
            self._back_off(reason)
        if self._connections or not self._is_backing_off:
            self._grow_for_waiting()
        else:
            self._refuse_all(reason)

    def _grow_for_waiting(self) -> None:
        if self._waiting:
            self._grow()
