"""Requests to peers over HTTP/1.1, on connections that are kept. Used on the loop only.

One request at a time on each connection. To give one up ends its connection, by which the peer
learns that nobody waits for the answer. A short answer is handed on whole; a long one, and one
whose length nobody knows, while it comes and no faster than the client takes it.
"""

import asyncio
import select
import socket
import ssl
import struct
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final, cast

from salver.peers.http1_answers import Answer, AnswerReader, KnownHeads, Malformed
from salver.peers.http1_fields import HeadMaker
from salver.peers.map import Peer
from salver.peers.pool import Pool, Pools
from salver.peers.transports import Fields, HopFailed, Late, Lost, NotBegun, Refused
from salver.protocols.rest_errors import PEER_REFUSED
from salver.transport.messages import HttpRequest, HttpResponse, StreamedResponse

__all__ = ["RestOverHttp1"]

_WHOLE_BYTES: Final = 1 << 18
"""Of an answer that is kept until it is whole."""
_MOST_UNREAD_BYTES: Final = 1 << 18  # of an answer that its client does not take
_JOIN_BELOW_BYTES: Final = 1 << 15  # copying is cheaper than a second buffer for the kernel
_EVENTS: Final = "text/event-stream"
_PROBE: Final = b":\n\n"  # a comment between events
_UNAUTHORIZED: Final = 401
_SAFE: Final = frozenset(("GET", "HEAD"))
_RESET: Final = struct.pack("ii", 1, 0)
_SILENT_S: Final = 5  # as over gRPC, where pings find out what the kernel does here
_GONE_S: Final = 10
_ON_SILENCE: Final = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _SILENT_S),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", _GONE_S - _SILENT_S),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 1000 * _GONE_S),
)
"""By which a machine that has gone from the network is noticed; not all systems have all."""


class RestOverHttp1:
    """A `RestTransport`."""

    def __init__(
        self,
        *,
        most_connections: int,
        connect_timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Be connected to nobody.

        Args:
            most_connections: to one peer.
            connect_timeout_s: for a connection to be made.
            tls: secures connections; None: they are not.
        """
        self._heads = HeadMaker()
        known: KnownHeads = {}
        self._pools: Pools[_Connection] = Pools(
            partial(_connect, known), most=most_connections, timeout_s=connect_timeout_s, tls=tls
        )

    async def __call__(
        self, peer: Peer, request: HttpRequest, fields: Fields, timeout_s: float | None
    ) -> HttpResponse:
        """See `RestTransport`."""
        loop = asyncio.get_running_loop()
        expires_s = None if timeout_s is None else loop.time() + timeout_s
        try:
            head = self._heads.head(peer.rest, request, tuple(fields))
        except ValueError as error:
            raise NotBegun(str(error)) from None
        pool = self._pools.of(peer.rest)
        connection = pool.idle() or await pool.connected(expires_s)
        try:
            answer = await connection.ask(
                head, request.body, expires_s, is_safe=request.method in _SAFE
            )
        except BaseException:
            connection.abort()
            raise
        return _response(answer, connection, timeout_s)

    def connections(self) -> dict[str, int]:
        """Address of a peer → how many there are. From any thread."""
        return self._pools.sizes()

    def keep(self, addresses: "frozenset[str]") -> None:
        """End idle connections to all others."""
        self._pools.keep(addresses)

    async def close(self) -> None:
        """See `RestTransport`."""
        self._pools.close()


def _response(answer: Answer, connection: "_Connection", timeout_s: float | None) -> HttpResponse:
    head = answer.head
    kind, headers = head.content_type, head.headers
    if head.status == _UNAUTHORIZED and any(name == PEER_REFUSED for name, _ in headers):
        connection.abort()
        raise Refused("it does not take our peer token")
    if answer.is_complete:
        body = answer.take()
        connection.release()
        return HttpResponse(head.status, body, kind, headers)
    parts = cast("AsyncGenerator[bytes, None]", _Parts(answer, connection, timeout_s))
    is_events = kind is not None and kind.startswith(_EVENTS)
    return StreamedResponse(
        head.status,
        parts,
        kind,
        headers,
        probe=_PROBE if is_events else b"",
        length=head.length,
    )


class _Parts:
    """The body of an answer while it comes. To close it early gives the answer up."""

    def __init__(self, answer: Answer, connection: "_Connection", timeout_s: float | None) -> None:
        self._answer = answer
        self._connection = connection
        self._timeout_s = timeout_s

    def __aiter__(self) -> "_Parts":
        return self

    async def __anext__(self) -> bytes:
        answer, connection = self._answer, self._connection
        while not answer.unread:
            if answer.is_complete:
                connection.release()
                raise StopAsyncIteration
            await connection.more(self._timeout_s)
        part = answer.take()
        connection.go_on()
        return part

    async def aclose(self) -> None:
        if not self._answer.is_complete:
            self._connection.abort()
        else:
            self._connection.release()


class _Connection(asyncio.Protocol):
    """One connection, which is idle or has one request."""

    def __init__(self, pool: "Pool[_Connection]", known: KnownHeads) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._reader = AnswerReader(known)
        self._asked: asyncio.Future[Answer] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_unwritten = False
        self._is_safe = False
        self._is_busy = False
        self._is_paused = False
        self._is_gone = False
        self._error: HopFailed | None = None

    # What the pool asks.

    def is_alive(self) -> bool:
        """Whether the peer has neither closed it nor said anything unasked, as far as is known."""
        return not self._is_gone and not self._poll.poll(0)

    def close(self) -> None:
        """End it; it is idle."""
        self._transport.close()

    # What requests ask.

    def ask(
        self, head: bytes, body: bytes, expires_s: float | None, *, is_safe: bool
    ) -> "asyncio.Future[Answer]":
        """Send a request. The answer is whole where it is short, else what has come of it."""
        self._is_busy = True
        self._is_safe = is_safe
        self._asked = asked = self._loop.create_future()
        if expires_s is not None:
            self._timer = self._loop.call_at(expires_s, self._expire)
        if self._is_gone:
            self._fail(NotBegun("it has closed the connection"))
        elif len(body) < _JOIN_BELOW_BYTES:
            self._transport.write(head + body)
        else:
            # Not by `writelines`, after which asyncio of some releases of 3.12 and 3.13 never says
            # that it is behind: `_is_unwritten` would be wrong.
            self._transport.write(head)
            self._transport.write(body)
        return asked

    async def more(self, timeout_s: float | None) -> None:
        """Wait for more of the answer.

        Raises:
            Lost: there will be none.
        """
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        timer = None
        if timeout_s is not None:
            timer = self._loop.call_later(timeout_s, self._expire)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        if self._error is not None:
            raise self._error

    def go_on(self) -> None:
        """What has come of the answer was taken."""
        if self._is_paused and not self._is_gone:
            self._is_paused = False
            self._transport.resume_reading()

    def release(self) -> None:
        """The answer was taken: the connection is free for another request, if it can be kept."""
        if not self._is_busy:
            return
        answer = self._reader.answer
        if self._is_gone or answer is None or not answer.head.keeps_alive or self._is_unwritten:
            self.abort()
            return
        self._is_busy = False
        self.go_on()
        self._reader.next()
        self._pool.give(self)

    def abort(self) -> None:
        """End it now: nobody waits for the answer."""
        self._is_busy = True
        self._stop_timer()
        if self._is_gone:
            return
        # A reset, which is seen at once: after an orderly end the peer might think that we still
        # read.
        end = self._transport.get_extra_info("socket")
        if end is not None:
            _set_linger(end)
        self._transport.abort()

    # What the loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pool.joined()
        # So that `resume_writing` says that the kernel has all of a request. With 0 that of TLS
        # never would: it pauses from so many bytes on, where others do beyond.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._poll = select.poll()
        end: Any = transport.get_extra_info("socket")
        _notice_silence(end)
        self._poll.register(end.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)

    def pause_writing(self) -> None:
        self._is_unwritten = True

    def resume_writing(self) -> None:
        self._is_unwritten = False

    def data_received(self, data: bytes) -> None:
        if not self._is_busy:
            self._transport.abort()  # nobody has asked
            return
        try:
            self._reader.feed(data)
        except Malformed as error:
            self._fail(Lost(f"it has answered what cannot be read: {error}"))
            return
        answer = self._reader.answer
        if answer is None:
            return
        if self._asked is not None:
            length = answer.head.length
            is_short = length is not None and length <= _WHOLE_BYTES
            if answer.is_complete or not is_short:
                self._answered(answer)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if answer.unread > _MOST_UNREAD_BYTES and not (self._is_paused or answer.is_complete):
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        if self._is_busy:
            why = "" if exc is None else f": {exc}"
            if self._reader.has_begun:
                self._fail(Lost(f"it has broken off its answer{why}"))
            elif self._is_unwritten or self._is_safe:
                self._fail(NotBegun(f"it has closed the connection{why}"))
            else:
                self._fail(Lost(f"it has closed the connection without an answer{why}"))
        self._stop_timer()
        self._pool.gone(self)

    # Within.

    def _answered(self, answer: Answer) -> None:
        asked, self._asked = self._asked, None
        self._stop_timer()
        if asked is not None and not asked.done():
            asked.set_result(answer)

    def _expire(self) -> None:
        self._fail(Late("its time was over"))

    def _fail(self, error: HopFailed) -> None:
        answer = self._reader.answer
        if self._asked is None and answer is not None and answer.is_complete:
            return  # all that anybody waits for is here
        self._error = self._error or error
        asked, self._asked = self._asked, None
        self._stop_timer()
        if asked is not None and not asked.done():
            asked.set_exception(error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if not self._is_gone:
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _notice_silence(end: Any) -> None:
    for level, name, value in _ON_SILENCE:
        if (option := getattr(socket, name, None)) is not None:
            end.setsockopt(level, option, value)


def _set_linger(end: Any) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _connect(
    known: KnownHeads, pool: "Pool[_Connection]", host: str, port: int, tls: ssl.SSLContext | None
) -> _Connection:
    loop = asyncio.get_running_loop()
    name = None if tls is None else host
    _, connection = await loop.create_connection(
        lambda: _Connection(pool, known), host, port, ssl=tls, server_hostname=name
    )
    return connection
