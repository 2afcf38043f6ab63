"""Calls of gRPC handed on over our own HTTP/2: a `GrpcTransport`. Belongs to the loop.

One connection to a peer carries all calls until its streams are full; see `Channel`. Messages go on
as bytes, both ways, and are not compressed between servers.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from typing import Final, NoReturn

from salver.errors import Internal, WrongPeerToken
from salver.instruments.heap import joined
from salver.instruments.threads import InPool
from salver.peers.grpc_fields import BlockMaker, timeout_field
from salver.peers.hops import OWN_FIELDS
from salver.peers.map import Peer
from salver.peers.transports import Fields, Late, Lost, NotBegun, Refused
from salver.protocols.methods import Call
from salver.rpc.http2_asking import CallEnd, CallLate, CallLost, MessagesCall, UnaryAsk
from salver.rpc.http2_messages import Message
from salver.transport.http2.client.channel import Channel, ChannelLimits
from salver.transport.in_flight import UNLIMITED, MemoryInFlight

__all__ = ["Http2GrpcTransport"]

_SWEEP_S: Final = 1.0
_MOST_BYTES: Final = (1 << 31) - 1
_REFUSED: Final = (WrongPeerToken.code, WrongPeerToken().message)
"""How a peer ends a call that shows it a secret which is not its own."""


class Http2GrpcTransport:
    """See `GrpcTransport`."""

    def __init__(
        self,
        *,
        in_pool: InPool,
        tls: ssl.SSLContext | None = None,
        limits: ChannelLimits | None = None,
        most_bytes: int = _MOST_BYTES,
        memory: MemoryInFlight = UNLIMITED,
    ) -> None:
        """Make it for the loop that is running; nothing is connected yet.

        Args:
            in_pool: runs a function in some other thread: putting large answers together.
            tls: for connections to peers; must offer `h2`. None: they are plain.
            limits: on what one peer is asked.
            most_bytes: of an answer.
            memory: counts what answers hold until they are whole.
        """
        self._loop = asyncio.get_running_loop()
        self._in_pool = in_pool
        self._tls = tls
        self._limits = limits
        self._most_bytes = most_bytes
        self._memory = memory
        self._blocks = BlockMaker(b"http" if tls is None else b"https")
        self._channels: dict[str, Channel] = {}
        self._leaving: set[Channel] = set()  # to peers that are no more
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def unary(
        self,
        peer: Peer,
        method: str,
        data: bytes,
        call: Call,
        fields: Fields,
        timeout_s: float | None,
    ) -> bytes:
        """See `GrpcTransport`."""
        ask = UnaryAsk(
            self._channel(peer),
            self._block(peer, method, call, fields, timeout_s),
            data,
            self._most_bytes,
            self._memory,
        )
        try:
            message, end = await ask.answer(timeout_s)
            if end.code or message is None or end.fields:
                self._end(call, end)
                if message is None:
                    raise Internal("It has answered without a message")
            body = message.body
            if type(body) is bytes and not message.is_compressed:
                return body
            return await self._whole(message)
        except CallLost as lost:
            _fail(lost)
        except CallLate:
            raise Late("it has not answered in time") from None

    async def messages(
        self,
        peer: Peer,
        method: str,
        data: bytes,
        call: Call,
        fields: Fields,
        timeout_s: float | None,
    ) -> "AsyncGenerator[bytes, None]":
        """See `GrpcTransport`."""
        ask = MessagesCall(
            self._channel(peer),
            self._block(peer, method, call, fields, timeout_s),
            data,
            self._most_bytes,
            self._memory,
        )
        ask.start(timeout_s)
        has_begun = False
        try:
            while isinstance(found := await ask.next(), Message):
                has_begun = True
                yield await self._whole(found)
            self._end(call, found)
        except CallLost as lost:
            if has_begun:
                raise Lost(lost.loss.reason) from None
            _fail(lost)
        except CallLate:
            raise Late("it has not answered in time") from None
        finally:
            ask.give_up()

    async def close(self) -> None:
        """See `GrpcTransport`."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for channel in (*self._channels.values(), *self._leaving):
            channel.close()
        self._channels.clear()
        self._leaving.clear()

    def connections(self) -> dict[str, int]:
        """See `GrpcTransport`."""
        return {address: each.connections for address, each in tuple(self._channels.items())}

    def keep(self, addresses: frozenset[str]) -> None:
        """See `GrpcTransport`. What was asked elsewhere is still answered."""
        for address in self._channels.keys() - addresses:
            self._channels[address].retire()
            self._leaving.add(self._channels.pop(address))

    def _block(
        self, peer: Peer, method: str, call: Call, fields: Fields, timeout_s: float | None
    ) -> bytes:
        block = self._blocks.block(peer.grpc, method, call.all_headers, tuple(fields))
        if timeout_s is None:
            return block
        if timeout_s <= 0:
            raise Late("its time was over before it was asked")
        return block + timeout_field(timeout_s)

    async def _whole(self, message: Message) -> bytes:
        if message.is_compressed:
            raise Internal("It has compressed what it was to send as it is")
        body = message.body
        if isinstance(body, bytes):
            return body
        made: bytes = await self._in_pool(lambda: joined(body), sum(map(len, body)))
        return made

    @staticmethod
    def _end(call: Call, end: CallEnd) -> None:
        """Pass on what ends a call.

        Raises:
            Refused: see there.
            ServingError: the peer has failed the call.
        """
        if (end.code, end.message) == _REFUSED:
            raise Refused("it does not take our peer token")
        for name, value in end.fields:
            if name not in OWN_FIELDS:
                call.add_trailer(name, value)
        if end.code:
            raise end.error()

    # -- connections -----------------------------------------------------------------------------

    def _channel(self, peer: Peer) -> Channel:
        channel = self._channels.get(peer.grpc)
        if channel is None:
            if self._is_closed:
                raise NotBegun("this server is stopping")
            if not peer.grpc:
                raise NotBegun("it has no port for gRPC")
            host, _, port = peer.grpc.rpartition(":")
            channel = self._channels[peer.grpc] = Channel(
                host.strip("[]"),
                int(port),
                monotonic=self._loop.time,
                tls=self._tls,
                limits=self._limits,
            )
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)
        return channel

    def _sweep(self) -> None:
        now = self._loop.time()
        for address, channel in tuple(self._channels.items()):
            channel.sweep(now)
            if channel.is_idle:
                del self._channels[address]
        for channel in tuple(self._leaving):
            channel.sweep(now)
            if not channel.connections:
                self._leaving.discard(channel)
        has_any = self._channels or self._leaving
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep) if has_any else None


def _fail(lost: CallLost) -> NoReturn:
    kind = Lost if lost.loss.has_begun else NotBegun
    raise kind(lost.loss.reason) from None
