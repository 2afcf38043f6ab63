"""The servers of a process: which APIs answer on which ports, by which transport."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from salver.access.limits import Limits
from salver.config.cloud import probed_paths
from salver.config.options import ServerOptions
from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument
from salver.inference.context import Interceptor
from salver.protocols.api import Api, ApiParts
from salver.protocols.methods import CallScreens, MethodTable
from salver.protocols.rest_errors import error_page, no_route, refusal_or_fault
from salver.protocols.router import Router
from salver.protocols.traced import TracedHandler, traced_screens, traced_table
from salver.rpc.errors import CannotListen
from salver.rpc.http2_arguments import transport_settings
from salver.rpc.http2_server import Http2Rpc
from salver.server.apis import make_apis, service_names
from salver.server.grpc_methods import call_screens, method_table
from salver.server.interceptors import make_interceptors
from salver.server.metering import ServerReadings
from salver.server.own_host import host_rules_of
from salver.server.ports import (
    Ports,
    admin_tls_of,
    bind_ports,
    crossing_of,
    rest_url_of,
    tcp_address,
    tell_where,
    tell_where_library,
    warn_of_taken_port,
)
from salver.transport.access_log import AccessLog
from salver.transport.in_flight import MemoryInFlight, default_bytes_in_flight
from salver.transport.limits import HttpLimits
from salver.transport.messages import Handler, HttpRequest, HttpResponse, Screen
from salver.transport.server import HttpServer
from salver.transport.tls import server_context
from salver.transport.turns import Turns
from salver.vocabulary.access import Principal

if TYPE_CHECKING:
    import ssl

    from salver.access.gate import Enter
    from salver.access.remembering import Guard
    from salver.rpc.aio_server import RpcServer, Security

__all__ = ["ApiServers", "memory_in_flight"]

_log = logging.getLogger(__name__)


class ApiServers:
    """What answers on the ports of a process. Belongs to the loop.

    Serve, or open, and then drain; each once.

    Attributes:
        rest_url: where REST clients find the server; empty for nowhere.
        grpc_addresses: where gRPC clients do; the port of the REST API is not among them.
    """

    def __init__(
        self,
        parts: ApiParts,
        *,
        rejected_runs: Callable[[], Mapping[str, int]] = dict,
        late_runs: Callable[[], Mapping[str, int]] = dict,
        limits: Limits | None = None,
        guard: "Guard | None" = None,
        memory: MemoryInFlight | None = None,
    ) -> None:
        """Build them; nobody listens yet.

        Args:
            parts: of the server.
            rejected_runs: see `ServerReadings`.
            late_runs: likewise.
            limits: of those who ask; None for new ones.
            guard: knows those who ask, and what they may; None where nobody is asked. It is the
                caller's.
            memory: of requests, where others count on it too; None for one of its own.

        Raises:
            InvalidArgument: the access log cannot be opened, TLS settings make no sense, or an API
                of another package does not.
        """
        self.rest_url = ""
        self.grpc_addresses: tuple[str, ...] = ()
        self._configuration = configuration = parts.configuration
        self._crossing = crossing_of(configuration)
        self._in_pool = parts.in_pool
        self._metrics = parts.metrics
        options, grpc = configuration.options, configuration.grpc
        self._memory = memory or memory_in_flight(options)
        self._access_log = _access_log(options.access_log) if options.access_log else None
        self._host_rules = host_rules_of(options)
        self._apis = make_apis(parts)
        self._limits = limits or Limits()
        self._is_guarded = guard is not None
        self._forwarder = parts.forwarder
        self._interceptors = make_interceptors(options, self._make_gate(guard))
        self._tracer = parts.tracer
        is_native = grpc is not None and grpc.is_native
        self._rest_tls = _context(configuration.rest_tls, has_http2=self._crossing.grpc_on_rest)
        self._admin_tls = _context(admin_tls_of(configuration))
        self._grpc_tls = _context(grpc.tls if grpc is not None and is_native else None)
        self._rpc: list[Http2Rpc] = []
        self._settings = transport_settings(
            () if grpc is None else grpc.channel_arguments,
            max_inflated_bytes=options.max_inflated_bytes,
            max_inflate_ratio=options.max_inflate_ratio,
        )
        if is_native and self._settings.warning is not None:
            _log.warning("%s", self._settings.warning)
        self._rest = self._make_rest_server()
        self._grpc = self._make_grpc_server() if is_native else None
        self._admin = self._make_admin_server() if self._crossing.is_administered_apart else None
        self._library = self._make_library_server()
        self._bound: Ports | None = None
        if options.rest_api_port != 0 or (grpc is not None and self._crossing.rest_on_grpc):
            readings = ServerReadings(
                parts.models,
                connections=self.connections,
                dropped_lines=self.dropped_lines,
                memory=self._memory,
                rejected_runs=rejected_runs,
                late_runs=late_runs,
                refused=lambda: self._limits.rejected,
            )
            parts.metrics.add_collector(readings)

    def _make_gate(self, guard: "Guard | None") -> Interceptor | None:
        if guard is None:
            return None
        from salver.access.remembering import RememberingGate  # here: few servers have one

        enter: Enter = self._limits.enter
        is_spent: Callable[[Principal], bool] = self._limits.is_spent
        if self._forwarder is not None:
            from salver.peers.guard import counted_where_it_came_in, spent_where_it_came_in

            enter = counted_where_it_came_in(enter)
            is_spent = spent_where_it_came_in(is_spent)
        count = self._metrics.principals
        return RememberingGate(
            guard, enter=enter, is_spent=is_spent, count=count, tally=count.tally
        )

    # -- building --------------------------------------------------------------------------------

    def _make_rest_server(self) -> HttpServer | None:
        if self._configuration.options.rest_api_port == 0:
            return None
        is_alone = self._configuration.grpc is None
        router = self._router(self._apis, no_route, is_administered=is_alone and not self._is_apart)
        table = None
        if self._crossing.grpc_on_rest:
            table = self._method_table(is_administered=self._crossing.is_administered)
        return self._http_server(router, table)

    def _make_grpc_server(self) -> HttpServer:
        is_administered = not self._is_apart
        if self._crossing.rest_on_grpc:
            router = self._router(self._apis, no_route, is_administered=is_administered)
        else:
            router = self._router((), _not_on_this_port)
        return self._http_server(router, self._method_table(is_administered=is_administered))

    def _make_admin_server(self) -> HttpServer:
        """For those who administer the server: everything, by both APIs."""
        router = self._router(self._apis, no_route, is_administered=True)
        return self._http_server(router, self._method_table(is_administered=True))

    @property
    def _is_apart(self) -> bool:
        return self._crossing.is_administered_apart

    def _router(
        self,
        apis: Sequence[Api],
        not_found: Callable[[HttpRequest], HttpResponse],
        *,
        is_administered: bool = False,
    ) -> Router:
        timeout_ms = self._configuration.options.rest_api_timeout_in_ms
        return Router(
            apis,
            failed=refusal_or_fault,
            not_found=not_found,
            interceptors=self._interceptors,
            timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
            is_administered=is_administered,
            is_administered_apart=self._is_apart,
            forwarder=self._forwarder,
        )

    def _method_table(self, *, is_administered: bool) -> MethodTable:
        table = method_table(
            self._apis,
            self._interceptors,
            is_administered=is_administered,
            is_guarded=self._is_guarded,
            is_administered_apart=self._is_apart,
            forwarder=self._forwarder,
        )
        return table if self._tracer is None else traced_table(table, self._tracer)

    def _call_screens(self) -> CallScreens:
        screens = call_screens(self._apis, self._interceptors) if self._is_guarded else {}
        return screens if self._tracer is None else traced_screens(screens, self._tracer)

    def _http_server(self, router: Router, table: MethodTable | None) -> HttpServer:
        options = self._configuration.options
        handler, screen = self._noted(router)
        return HttpServer(
            handler,
            screen=screen if self._is_guarded else None,
            error_page=error_page,
            limits=HttpLimits(
                max_header_bytes=options.max_header_bytes,
                max_body_bytes=options.max_request_bytes,
                max_inflated_bytes=options.max_inflated_bytes,
                max_inflate_ratio=options.max_inflate_ratio,
            ),
            memory=self._memory,
            access=self._access_log,
            clock=time.time,  # noqa: TID251 - the clock that is injected
            run_in_pool=self._in_pool,
            page_headers=router.page_headers,
            http2=None if table is None else self._http2(table),
            admit=self._host_rules,
        )

    def _noted(self, router: Router) -> tuple[Handler, Screen]:
        """The same, with notes taken of the requests where somebody wants them."""
        if self._tracer is None:
            return router, router.screen
        configuration = self._configuration
        probed = probed_paths(configuration.options.cloud_contract, os.environ)
        handler = router.__call__  # a method is called sooner than an object
        polled = configuration.monitoring.paths
        traced = TracedHandler(handler, self._tracer, polled, probed, screen=router.screen)
        return traced, traced.screen

    def _http2(self, table: MethodTable) -> Http2Rpc:
        screens = self._call_screens()
        made = Http2Rpc(table, in_pool=self._in_pool, settings=self._settings, screens=screens)
        self._rpc.append(made)
        return made

    def _make_library_server(self) -> "RpcServer | None":
        grpc = self._configuration.grpc
        if grpc is None or grpc.is_native:
            return None
        from salver.rpc.aio_server import RpcServer

        table = self._method_table(is_administered=not self._is_apart)
        screens = self._call_screens()
        return RpcServer(table, grpc.channel_arguments, memory=self._memory, screens=screens)

    # -- listening -------------------------------------------------------------------------------

    async def open(
        self, *, is_rest_needed: bool, is_grpc_needed: bool, given: Ports | None = None
    ) -> None:
        """Listen and answer: gRPC, then REST.

        Args:
            given: see `bind_ports`; so are the other two.
            is_rest_needed: for clients of REST.
            is_grpc_needed: for those of gRPC.

        Raises:
            CannotListen: a port or a socket of the gRPC API cannot be had.
            Unavailable: the REST port cannot be had.
            InvalidArgument: TLS settings or ports make no sense.
        """
        if self._library is not None:
            await self._open_library(is_needed=is_grpc_needed)
        ports = bind_ports(
            self._configuration,
            is_rest_needed=is_rest_needed,
            is_grpc_needed=is_grpc_needed,
            given=given,
        )
        self._bound = ports
        await self.serve(ports)

    async def serve(
        self,
        ports: Ports,
        *,
        is_shared: bool = False,
        turns: tuple[Turns | None, Turns | None] = (None, None),
    ) -> None:
        """Answer on ports that are bound, here or by the process that made this one.

        Args:
            ports: see there.
            is_shared: other processes answer on them too.
            turns: with these, for connections to the gRPC and to the REST port.
        """
        if self._grpc is not None:
            for port in (ports.grpc, ports.unix):
                if port is not None:
                    await self._grpc.serve(
                        port.sockets, self._grpc_tls, is_shared=is_shared, turns=turns[0]
                    )
            self.grpc_addresses = (*self.grpc_addresses, *ports.grpc_addresses)
        if self._rest is not None and ports.rest is not None:
            await self._rest.serve(
                ports.rest.sockets, self._rest_tls, is_shared=is_shared, turns=turns[1]
            )
        if self._admin is not None:
            if ports.admin is not None:
                await self._admin.serve(ports.admin.sockets, self._admin_tls, is_shared=is_shared)
            if ports.admin_unix is not None:
                await self._admin.serve(ports.admin_unix.sockets, None, is_shared=is_shared)
        self.rest_url = rest_url_of(ports, self._configuration)
        if not is_shared:  # whoever shares them tells it once
            tell_where(ports, self._configuration.options, has_profiler=self._has_profiler)

    async def _open_library(self, *, is_needed: bool) -> None:
        """Have the gRPC library listen, which binds its ports by itself."""
        config, library = self._configuration.grpc, self._library
        if config is None or library is None:
            return
        security: Security = "alts" if config.is_alts else config.tls
        found = []
        if config.port != 0:
            try:
                library.listen_tcp(config.host, config.port, security)
            except CannotListen as error:
                if is_needed:
                    raise
                warn_of_taken_port(error)
            else:
                found.append(tcp_address(config))
        if config.socket_path:
            library.listen_unix(config.socket_path, security)
            found.append(f"unix:{config.socket_path}")
        if not found:
            await library.drain(0)
            self._library = None
            return
        await library.start()
        self.grpc_addresses = tuple(found)
        tell_where_library(found, has_profiler=self._has_profiler)

    @property
    def _has_profiler(self) -> bool:
        return "tensorflow.ProfilerService" in service_names(self._apis)

    @property
    def is_open(self) -> bool:
        """Whether anybody can come in."""
        return bool(self.grpc_addresses or self.rest_url)

    # -- meanwhile, and at the end ---------------------------------------------------------------

    def connections(self) -> int:
        """How many there are now. From any thread."""
        return sum(server.connections for server in self._servers())

    @property
    def accepted(self) -> int:
        """How many connections have come on ports that are shared with other processes."""
        return sum(server.accepted for server in self._servers())

    def memory_in_flight_bytes(self) -> int:
        """What requests hold now. From any thread."""
        return self._memory.held_bytes

    def dropped_lines(self) -> int:
        """How many lines the access log has lost. From any thread."""
        return 0 if self._access_log is None else self._access_log.dropped

    def refresh_health(self) -> None:
        """Notify those who watch what the server can serve."""
        for api in self._apis:
            if api.refresh is not None:
                api.refresh()

    def end_connections(self) -> None:
        """See `HttpServer.end_connections`."""
        for server in self._servers():
            server.end_connections()

    async def drain(self, timeout_s: float, *, idle_s: float = 0.0) -> int:
        """Take no more requests, let those there are be answered, and stop.

        Args:
            timeout_s: what is unanswered by then is cut off.
            idle_s: see `HttpServer.drain`.

        Returns:
            How many were cut off.
        """
        for api in self._apis:
            if api.close is not None:
                api.close()
        for calls in self._rpc:
            calls.begin_drain()
        drains = [server.drain(timeout_s, idle_s=idle_s) for server in self._servers()]
        if self._library is not None:
            drains.append(self._library.drain(timeout_s))
        cut = sum(await asyncio.gather(*drains))
        await asyncio.gather(*(calls.ended() for calls in self._rpc))
        if self._bound is not None:
            self._bound.remove_unix()
        if self._access_log is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._access_log.close)
        return cut

    def _servers(self) -> list[HttpServer]:
        every = (self._grpc, self._rest, self._admin)
        return [server for server in every if server is not None]


def memory_in_flight(options: ServerOptions) -> MemoryInFlight:
    """What the requests of a process may hold, as its flags say."""
    return MemoryInFlight(options.max_memory_in_flight_bytes or default_bytes_in_flight())


def _not_on_this_port(_request: HttpRequest) -> HttpResponse:
    return error_page(
        404, "This port speaks gRPC", "The REST API has a port of its own: --rest_api_port"
    )


def _access_log(path: str) -> AccessLog:
    try:
        return AccessLog(path)
    except OSError as error:
        raise InvalidArgument(f"Could not open --access_log={path}: {error.strerror}") from error


def _context(tls: TlsConfig | None, *, has_http2: bool = True) -> "ssl.SSLContext | None":
    if tls is None:
        return None
    return server_context(
        server_key=tls.server_key,
        server_cert=tls.server_cert,
        custom_ca=tls.custom_ca,
        client_verify=tls.client_verify,
        protocols=("h2", "http/1.1") if has_http2 else ("http/1.1",),
    )
