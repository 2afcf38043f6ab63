"""gRPC as a part of an `HttpServer`: makes the protocols of its HTTP/2 connections."""

import asyncio
from typing import Final

from salver.errors import STOPPING, Unavailable
from salver.instruments.threads import InPool
from salver.protocols.methods import CallScreens, MethodTable
from salver.rpc.http2_arguments import TransportSettings, transport_settings
from salver.rpc.http2_blocks import refusal_of
from salver.rpc.http2_service import NO_SCREENS, GrpcService
from salver.transport.http2.connection import Http2Connection
from salver.transport.http2.requests import HttpRequests
from salver.transport.service import Service

__all__ = ["Http2Rpc"]

_PARTING_S: Final = 0.5  # for messages on their way when the server drains
_STOPPED: Final = refusal_of(Unavailable(STOPPING))


class Http2Rpc:
    """Makes the protocol of a connection; belongs to one server, and the loop it is made in."""

    def __init__(
        self,
        table: MethodTable,
        *,
        in_pool: InPool,
        settings: TransportSettings | None = None,
        has_requests: bool = True,
        screens: CallScreens = NO_SCREENS,
    ) -> None:
        """Make it.

        Args:
            table: what is served. Other methods are UNIMPLEMENTED.
            in_pool: runs a function in some other thread: inflating and deflating.
            settings: of the transport.
            has_requests: the server's handler answers what is not gRPC; else that gets a 415.
            screens: asked before the messages of calls are taken.
        """
        self._screens = screens
        self._table = table
        self._in_pool = in_pool
        self._settings = settings or transport_settings(())
        self._has_requests = has_requests
        self._service: Service | None = None
        self._is_draining = False
        self._grpc: GrpcService | None = None

    def __call__(self, service: Service, accepted_s: float) -> Http2Connection:
        """The protocol of a connection of that server; see `MakeProtocol`."""
        if self._grpc is None:
            self._service = service
            self._grpc = GrpcService(
                self._table,
                in_pool=self._in_pool,
                limits=self._settings.messages,
                requests=HttpRequests(service) if self._has_requests else None,
                memory=service.memory,
                screens=self._screens,
            )
            if self._is_draining:
                self._grpc.begin_drain()
        return Http2Connection(service, self._grpc, self._settings.limits, accepted_s=accepted_s)

    @property
    def in_flight(self) -> int:
        """How many calls have brought their message and are not answered yet; streams too."""
        return 0 if self._grpc is None else self._grpc.in_flight

    def begin_drain(self) -> None:
        """End the streams, and soon those calls whose clients do not send their message.

        To be called before the server drains.
        """
        self._is_draining = True
        if self._grpc is not None:
            self._grpc.begin_drain()
        asyncio.get_running_loop().call_later(_PARTING_S, self._part)

    async def ended(self) -> None:
        """Wait until no call is in flight, after its connections have gone."""
        if self._grpc is not None:
            await self._grpc.ended()

    def _part(self) -> None:
        """Refuse the calls that nobody can answer, as long as there are connections."""
        if self._service is None or self._grpc is None:
            return
        for connection in tuple(self._service.connections):
            if isinstance(connection, Http2Connection):
                for stream in connection.streams:
                    if self._grpc.is_silent(stream):
                        stream.refuse(_STOPPED)
        if self._service.connections:
            asyncio.get_running_loop().call_later(_PARTING_S, self._part)
