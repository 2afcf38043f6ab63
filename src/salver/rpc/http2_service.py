"""gRPC over HTTP/2: what a connection asks for each of its streams."""

import asyncio
from typing import Final

from salver.instruments.threads import InPool
from salver.protocols.methods import CallScreens, MethodTable
from salver.protocols.methods import Stream as StreamMethods
from salver.rpc.http2_calls import UnaryCall
from salver.rpc.http2_route import NO_LIMITS, MessageLimits, Route, route_of
from salver.rpc.http2_running import Running
from salver.rpc.http2_streams import StreamCall
from salver.transport.http2.stream import Http2Service, Stream
from salver.transport.in_flight import UNLIMITED, MemoryInFlight

__all__ = ["NO_SCREENS", "GrpcService"]

NO_SCREENS: Final[CallScreens] = {}


class GrpcService:
    """Serves a table of methods; an `Http2Service`. Belongs to the loop it is made in."""

    def __init__(
        self,
        table: MethodTable,
        *,
        in_pool: InPool,
        limits: MessageLimits = NO_LIMITS,
        requests: Http2Service | None = None,
        memory: MemoryInFlight = UNLIMITED,
        screens: CallScreens = NO_SCREENS,
    ) -> None:
        """Make it.

        Args:
            table: what is served. Other methods are UNIMPLEMENTED.
            in_pool: runs a function in some other thread: inflating and deflating.
            limits: on messages.
            requests: answers what is not gRPC; without it, that is refused with 415.
            memory: counts what the calls hold.
            screens: asked before the messages of calls are taken.
        """
        self._table = table
        self._screens = screens
        self._encoding = limits.encoding
        self._requests = requests
        self._running = Running(limits, in_pool, memory)

    @property
    def in_flight(self) -> int:
        """How many calls have brought their message and are not answered yet; streams too."""
        return len(self._running.tasks)

    def begin_drain(self) -> None:
        """End the streams, by an end of what their clients send; calls are still taken."""
        if not self._running.draining.done():
            self._running.draining.set_result(None)

    def is_silent(self, stream: Stream) -> bool:
        """Whether a stream is a call whose message has not come."""
        return isinstance(stream.answerer, UnaryCall | StreamCall) and stream.answerer.is_silent

    async def ended(self) -> None:
        """Wait until no call is in flight."""
        while self._running.tasks:
            await asyncio.wait(self._running.tasks)

    # What the connections say.

    def opened(self, stream: Stream, is_last: bool) -> None:
        """See `Http2Service`."""
        headers = stream.headers
        route = headers.memo
        if type(route) is not Route:
            if route is None:
                route = route_of(headers, self._table, self._encoding, self._screens)
            if not isinstance(route, Route) or not (route.is_grpc or self._requests is None):
                self._pass_on(stream, is_last)
                return
            headers.memo = route
        if route.refusal is not None:
            stream.refuse(route.refusal)
            return
        method = route.method
        call: UnaryCall | StreamCall
        if isinstance(method, StreamMethods):
            call = StreamCall(self._running, stream, route, method)
        else:
            call = UnaryCall(self._running, stream, route)
        stream.answerer = call
        if is_last:
            call.received(b"", True)
        elif headers.admission is None and route.screen is not None:
            # Nobody with these fields has been let in yet. The message is there by the next turn
            # of the loop if it came together with them; then the method itself is asked.
            self._running.loop.call_soon(call.screen)

    def _pass_on(self, stream: Stream, is_last: bool) -> None:
        assert self._requests is not None
        self._requests.opened(stream, is_last)
