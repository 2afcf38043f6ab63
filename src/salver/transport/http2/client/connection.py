"""A client's HTTP/2 connection: between a socket and a `ClientSession`."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from salver.transport.http2.client.session import ClientSession
from salver.transport.http2.client.stream import Loss
from salver.transport.http2.client.watch import ClientWatch
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.wire import Wire

__all__ = ["ClientConnection", "Waiter"]


class Waiter(Protocol):
    """A request that is to begin. Called on the loop, one of both, once.

    One that is given up while it waits is to be withdrawn; see `Channel`.
    """

    def begin(self, session: ClientSession) -> None:
        """There is room: send it."""

    def lost(self, loss: Loss) -> None:
        """It cannot be sent; nothing of it has begun."""


class ClientConnection(Wire[ClientSession]):
    """The protocol of one socket that we have connected. Used on the loop only.

    Attributes:
        session: to ask by; there once the connection is made.
    """

    session: ClientSession

    def __init__(
        self,
        limits: Http2Limits,
        *,
        monotonic: Callable[[], float],
        changed: "Callable[[ClientConnection], None]",
    ) -> None:
        """Make the protocol of a socket that is yet to be connected.

        Args:
            limits: on the server.
            monotonic: seconds.
            changed: called when the server's SETTINGS have come, when no request may begin any
                more, and when the connection is gone.
        """
        super().__init__(limits)
        self._monotonic = monotonic
        self._changed = changed
        self._state = (False, False)
        self._ending_since: float | None = None
        self._unsent_bytes = 0
        self._unsent_since = 0.0

    @property
    def is_gone(self) -> bool:
        """True once the socket is closed."""
        return self._is_gone

    @property
    def is_ready(self) -> bool:
        """True once the server's SETTINGS have come."""
        return self.session.is_ready

    def begin(self, waiter: "Waiter") -> None:
        """Have a request begin, for which there is room.

        It is written at once where no other is under way; else with what follows in this turn of
        the loop.
        """
        session = self._session
        if self._is_waking or session.is_reading or session.outstanding:
            waiter.begin(session)
            return
        self._is_waking = True
        try:
            waiter.begin(session)
        finally:
            self._is_waking = False
        self._flush()

    # What the loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self.session = self._session = ClientSession(
            self._limits,
            clock=self._monotonic,
            wake=self._wake,
            new_waiter=self._loop.create_future,
        )
        self._watch = ClientWatch(self._session, self._monotonic())
        channel: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if channel is not None and channel.selected_alpn_protocol() != "h2":
            self._session.lose("the server does not speak HTTP/2 over TLS")
        self._flush()

    def data_received(self, data: bytes) -> None:
        Wire.data_received(self, data)
        session = self._session
        state = (session.is_ready, session.is_leaving)
        if state != self._state:
            self._state = state
            self._changed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        self._session.lose(f"the connection is gone{f': {exc}' if exc else ''}")
        self._changed(self)

    # Ends.

    def _end(self) -> None:
        self._is_ending = True
        self._transport.close()

    def retire(self) -> None:
        """Begin no more requests; close when those there are have ended."""
        self._session.retire()
        self._flush()

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """End the connection, or requests on it, if the server was too slow."""
        if self._is_gone:
            return
        if not self._is_ending:
            self._watch.sweep(now)
            self._flush()
        if self._is_ending:
            if self._ending_since is None:
                self._ending_since = now
            elif now - self._ending_since >= self._limits.linger_s:
                self._transport.abort()
