"""Which protocol a connection speaks, told from its first bytes.

An HTTP/2 client that knows what it talks to begins with a preface that can begin no HTTP/1.1
request (RFC 9113 §3.4); with TLS it has agreed on `h2` before, and begins with it all the same.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from salver.transport.http2.frames import PREFACE
from salver.transport.service import Service

__all__ = ["FirstBytes", "MakeProtocol"]

MakeProtocol = Callable[[Service, float], asyncio.Protocol]
"""Makes the protocol of one connection of a server, accepted at a monotonic time."""


class FirstBytes(asyncio.Protocol):
    """The protocol of an accepted socket until it is known what it speaks; on the loop only."""

    __slots__ = ("_accepted_s", "_make_http1", "_make_http2", "_seen", "_service", "_transport")

    def __init__(self, service: Service, http1: MakeProtocol, http2: MakeProtocol) -> None:
        """Wait for the first bytes.

        Args:
            service: of which the connection is one.
            http1: makes the protocol of a connection that begins in any other way.
            http2: makes that of one which begins with the preface.
        """
        self._service = service
        self._make_http1 = http1
        self._make_http2 = http2
        self._seen = b""
        self._accepted_s = service.monotonic()  # a TLS handshake is yet to come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._service.connections.add(self)
        self._service.on_connection()

    def data_received(self, data: bytes) -> None:
        seen = self._seen + data if self._seen else data
        if seen.startswith(PREFACE):
            self._become(self._make_http2, seen)
        elif PREFACE.startswith(seen):
            self._seen = seen
        else:
            self._become(self._make_http1, seen)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        if not self._service.connections:
            self._service.on_empty()

    def _become(self, make: MakeProtocol, seen: bytes) -> None:
        protocol = make(self._service, self._accepted_s)
        self._transport.set_protocol(protocol)
        self._forget()
        protocol.connection_made(self._transport)
        protocol.data_received(seen)

    def _forget(self) -> None:
        self._service.connections.discard(self)

    # What the server asks.

    @property
    def is_unanswered(self) -> bool:
        return bool(self._seen)

    def sweep(self, now: float) -> None:
        if now - self._accepted_s >= self._service.limits.read_timeout_s:
            self._transport.close()

    def drain(self) -> None:
        if not self._seen:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
