"""All that one server has of its peers, put together. Made on the loop, as its flags say."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from salver.access.guard import Guard
from salver.config.peers import PeerConfig
from salver.instruments.threads import InPool
from salver.metrics.text import Family
from salver.peers.api import MapApi
from salver.peers.choice import Choice
from salver.peers.files import PeerFiles
from salver.peers.forwarder import LocalModels, PeerForwarder
from salver.peers.grpc_transport import Http2GrpcTransport
from salver.peers.guard import PeerGuard
from salver.peers.hops import Hops
from salver.peers.http1 import RestOverHttp1
from salver.peers.map import PeerMap, text
from salver.protocols.api import Api, IsShown
from salver.tracing.tracer import Tracer
from salver.transport.http2.client.channel import ChannelLimits
from salver.transport.in_flight import UNLIMITED, MemoryInFlight
from salver.transport.tls import client_context

__all__ = ["Peers"]

_CLOSE_S: Final = 1.0
_HANDSHAKES: Final = 3  # of TCP, of TLS and of HTTP/2


class Peers:
    """What hands requests on, believes peers, and tells of the map.

    Attributes:
        forwarder: hands requests on.
    """

    def __init__(
        self,
        config: PeerConfig,
        models: LocalModels,
        *,
        in_pool: InPool,
        memory: MemoryInFlight = UNLIMITED,
        tracer: Tracer | None = None,
    ) -> None:
        """Read the files, and begin to hand requests on as they say.

        Args:
            config: what the flags say.
            models: that are here.
            in_pool: runs a function in some other thread: putting large answers together.
            memory: counts what answers hold.
            tracer: see `PeerForwarder`.

        Raises:
            InvalidArgument: the TLS settings make no sense.
        """
        self._loop = asyncio.get_running_loop()
        self._hops = Hops(config.name, certificate_names=config.certificate_names)
        self.forwarder = PeerForwarder(
            models,
            self._hops,
            Choice(most_outstanding=config.max_outstanding, monotonic=time.monotonic),
            name=config.name,
            rest=RestOverHttp1(
                most_connections=config.max_connections,
                connect_timeout_s=config.connect_timeout_s,
                tls=_context(config, "http/1.1"),
            ),
            grpc=Http2GrpcTransport(
                in_pool=in_pool,
                tls=_context(config, "h2"),
                limits=ChannelLimits(
                    max_connections=config.max_connections,
                    max_waiting=config.max_outstanding,
                    connect_timeout_s=_HANDSHAKES * config.connect_timeout_s,
                ),
                memory=memory,
            ),
            tracer=tracer,
        )
        self._written = text(self.forwarder.map).encode()
        self._put: Callable[[PeerMap, bytes], None] = self._put_now
        self._put_tokens: Callable[[Sequence[bytes]], None] = self._hops.put_tokens
        self._files = PeerFiles(
            config.map_file,
            config.token_file,
            put_map=lambda map: self._put(map, text(map).encode()),
            put_tokens=lambda tokens: self._put_tokens(tokens),
        )
        self._put = self._put_soon
        self._put_tokens = self._put_tokens_soon

    def start(self) -> None:
        """Read the files again when they change, in a thread."""
        self._files.start()

    async def close(self) -> None:
        """End the thread and the connections to peers."""
        await self.forwarder.close()
        self._files.stop()
        await self._loop.run_in_executor(None, self._files.close, _CLOSE_S)

    def guarded(self, guard: Guard) -> PeerGuard:
        """A guard that believes what peers say of whom a request is from."""
        return PeerGuard(guard, self._hops)

    def api(self, is_shown: IsShown, in_pool: InPool, *, is_guarded: bool) -> Api:
        """What tells clients of the map; arguments as of `MapApi`."""
        return MapApi(
            lambda: (self.forwarder.map, self._written), is_shown, in_pool, is_guarded=is_guarded
        ).api()

    def families(self) -> Iterable[Family]:
        """What is counted of requests that are handed on. From any thread."""
        return self.forwarder.families()

    def _put_now(self, map: PeerMap, written: bytes) -> None:
        self._written = written
        self.forwarder.put(map)

    def _put_soon(self, map: PeerMap, written: bytes) -> None:
        self._loop.call_soon_threadsafe(self._put_now, map, written)

    def _put_tokens_soon(self, tokens: Sequence[bytes]) -> None:
        self._loop.call_soon_threadsafe(self._hops.put_tokens, tokens)


def _context(config: PeerConfig, protocol: str) -> ssl.SSLContext | None:
    """What secures connections to peers; None where nothing does."""
    if config.tls is None:
        return None
    return client_context(
        key=config.tls.server_key,
        cert=config.tls.server_cert,
        custom_ca=config.tls.custom_ca,
        protocols=(protocol,),
    )
