"""The doors of a server: what answers, on which ports, in which protocols."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from salver.config.models import ModelConfig
from salver.config.start_up import Configuration
from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument
from salver.inference.logged import CallLogs
from salver.metrics.registry import Metrics
from salver.rest.admin import AdminRoutes
from salver.rest.calls import InferenceCalls
from salver.rest.errors import error_page
from salver.rest.front import Outside, RestFront
from salver.rest.metrics_page import MetricsPage
from salver.rest.patient import PatientCalls
from salver.rpc.errors import CannotListen
from salver.rpc.http2_arguments import transport_settings
from salver.rpc.http2_server import Http2Rpc
from salver.rpc.table import MethodTable
from salver.servable import ServableId
from salver.server.lazy import is_lazy
from salver.server.metering import ServerReadings
from salver.server.own_host import host_rules_of
from salver.server.playground_page import make_playground
from salver.server.ports import (
    Ports,
    bind_ports,
    crossing_of,
    rest_url_of,
    tcp_address,
    tell_where,
    tell_where_library,
    warn_of_taken_port,
)
from salver.server.readiness import Readiness
from salver.server.rpc_services import InThread, RpcServices, Served
from salver.threads import InPool
from salver.transport.access_log import AccessLog
from salver.transport.http1 import HttpServer
from salver.transport.in_flight import MemoryInFlight, default_bytes_in_flight
from salver.transport.limits import HttpLimits
from salver.transport.messages import Handler, HttpRequest, HttpResponse
from salver.transport.tls import server_context
from salver.transport.turns import Turns

if TYPE_CHECKING:
    import ssl

    from salver.rpc.aio_server import RpcServer, Security

__all__ = ["DoorCore", "Doors", "DrawPage"]

_log = logging.getLogger(__name__)


DrawPage = Callable[[], Callable[[], bytes]]
"""Takes down what was counted, on the loop; what it returns makes the page, in any thread."""


class DoorCore(Served, Protocol):
    """What the doors ask of the models; a `ServerCore` and a worker's own have it."""

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """The present configuration."""
        ...

    @property
    def reserved(self) -> Mapping[ServableId, int]:
        """Version → the memory set aside for it in bytes."""
        ...

    def clear_quarantine(self, name: str) -> tuple[int, ...]:
        """Bring versions of a model back that workers died of; their numbers. May take long."""
        ...


class Doors:
    """What answers on the ports of a server. Belongs to the loop.

    Serve, or open, and then drain; each once.

    Attributes:
        rest_url: where REST clients find the server; empty for nowhere.
        grpc_addresses: where gRPC clients do; the port of the REST API is not among them.
    """

    def __init__(
        self,
        core: DoorCore,
        configuration: Configuration,
        *,
        in_pool: InPool,
        in_control: InThread,
        readiness: Readiness,
        is_serving: Callable[[], bool],
        metrics: Metrics,
        logs: CallLogs,
        draw: "DrawPage | None" = None,
        rejected_runs: Callable[[], Mapping[str, int]] = dict,
        draw_history: "DrawPage | None" = None,
    ) -> None:
        """Build them; nobody listens yet.

        Args:
            core: the models.
            configuration: the flags.
            in_pool: runs a function that takes long for the loop: decoding, encoding, inflating.
            in_control: runs a function that may wait for models.
            readiness: what `/healthz/ready` says.
            is_serving: what gRPC's health service says.
            metrics: count what is answered, and are read here.
            logs: take the calls that are answered.
            draw: makes the metrics page; by default of these `metrics`.
            rejected_runs: see `ServerReadings`.
            draw_history: makes what the dashboard is told of the past; None where that is kept
                nowhere.

        Raises:
            InvalidArgument: the access log cannot be opened, or TLS settings make no sense.
        """
        self.rest_url = ""
        self.grpc_addresses: tuple[str, ...] = ()
        self._configuration = configuration
        self._crossing = crossing_of(configuration)
        self._in_pool = in_pool
        most_bytes = configuration.options.max_memory_in_flight_bytes
        self._memory = MemoryInFlight(most_bytes or default_bytes_in_flight())
        options, grpc = configuration.options, configuration.grpc
        self._access_log = _access_log(options.access_log) if options.access_log else None
        self._host_rules = host_rules_of(options)
        self._front: RestFront | None = None
        self._admin = self._make_admin(core, in_control, is_open=True)
        if options.rest_api_port != 0 or (grpc is not None and self._crossing.rest_on_grpc):
            self._front = self._make_front(
                core, readiness, metrics, logs, draw, draw_history, in_control
            )
        self._services: RpcServices | None = None
        if grpc is not None or self._crossing.grpc_on_rest:
            self._services = RpcServices(
                core,
                options,
                in_pool=in_pool,
                in_control=in_control,
                is_serving=is_serving,
                metrics=metrics,
                logs=logs,
            )
        is_native = grpc is not None and grpc.is_native
        self._rest_tls = _context(configuration.rest_tls, has_http2=self._crossing.grpc_on_rest)
        self._grpc_tls = _context(grpc.tls if grpc is not None and is_native else None)
        self._is_rest_crossing = self._front is not None and self._crossing.rest_on_grpc
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
        self._library = self._make_library_server()
        self._bound: Ports | None = None
        if self._front is not None:
            readings = ServerReadings(
                core,
                connections=self.connections,
                dropped_lines=self.dropped_lines,
                memory=self._memory,
                rejected_runs=rejected_runs,
            )
            metrics.add_collector(readings)

    # -- building --------------------------------------------------------------------------------

    def _make_front(
        self,
        core: DoorCore,
        readiness: Readiness,
        metrics: Metrics,
        logs: CallLogs,
        draw: "DrawPage | None",
        draw_history: "DrawPage | None",
        in_control: InThread,
    ) -> RestFront:
        options = self._configuration.options
        timeout_ms = options.rest_api_timeout_in_ms
        make_calls = PatientCalls if is_lazy(options) else InferenceCalls
        metrics_paths = self._configuration.monitoring.paths
        return RestFront(
            core,
            make_calls(
                core,
                in_pool=self._in_pool,
                timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
                is_method_checked=options.enable_signature_method_name_check,
                logs=logs,
            ),
            unready=readiness.problem,
            is_cors_enabled=options.rest_api_enable_cors_support,
            outcomes=metrics.outcomes,
            page=MetricsPage(metrics_paths, draw or metrics.draw, self._in_pool),
            outside=_first_of(
                self._make_admin(core, in_control, is_open=self._configuration.grpc is None),
                make_playground(
                    core,
                    options,
                    metrics_paths=metrics_paths,
                    in_thread=self._in_pool,
                    draw_history=draw_history,
                ),
            ),
        )

    @staticmethod
    def _make_admin(core: DoorCore, in_control: InThread, *, is_open: bool) -> AdminRoutes:
        def clear_quarantine(name: str) -> Awaitable[tuple[int, ...]]:
            return in_control(lambda: core.clear_quarantine(name))

        return AdminRoutes(core.model_names, clear_quarantine, is_open=is_open)

    def _make_rest_server(self) -> HttpServer | None:
        options = self._configuration.options
        if options.rest_api_port == 0 or self._front is None:
            return None
        table = None
        if self._crossing.grpc_on_rest and self._services is not None:
            is_all = self._crossing.is_administered
            table = self._services.table if is_all else self._services.open_table()
        return self._http_server(self._front, table)

    def _make_grpc_server(self) -> HttpServer | None:
        if self._services is None:
            return None
        if self._front is None or not self._is_rest_crossing:
            return self._http_server(_not_here, self._services.table)
        return self._http_server(_administered(self._admin, self._front), self._services.table)

    def _http_server(self, handler: Handler, table: MethodTable | None) -> HttpServer:
        options = self._configuration.options
        return HttpServer(
            handler,
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
            page_headers=None if self._front is None else self._front.page_headers,
            http2=None if table is None else self._http2(table),
            admit=self._host_rules,
        )

    def _http2(self, table: MethodTable) -> Http2Rpc:
        made = Http2Rpc(table, in_pool=self._in_pool, settings=self._settings)
        self._rpc.append(made)
        return made

    def _make_library_server(self) -> "RpcServer | None":
        grpc = self._configuration.grpc
        if grpc is None or grpc.is_native or self._services is None:
            return None
        from salver.rpc.aio_server import RpcServer

        return RpcServer(self._services.table, grpc.channel_arguments, memory=self._memory)

    # -- listening -------------------------------------------------------------------------------

    async def open(self, *, is_rest_needed: bool, is_grpc_needed: bool) -> None:
        """Listen and answer: gRPC, then REST.

        Args:
            is_rest_needed: see `bind_ports`.
            is_grpc_needed: see `bind_ports`.

        Raises:
            CannotListen: a port or a socket of the gRPC API cannot be had.
            Unavailable: the REST port cannot be had.
            InvalidArgument: TLS settings or ports make no sense.
        """
        if self._library is not None:
            await self._open_library(is_needed=is_grpc_needed)
        ports = bind_ports(
            self._configuration, is_rest_needed=is_rest_needed, is_grpc_needed=is_grpc_needed
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
        return self._services is not None and self._services.has_profiler

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
        """Look whether those who watch the health service are to be told something."""
        if self._services is not None:
            self._services.refresh_health()

    async def drain(self, timeout_s: float, *, idle_s: float = 0.0) -> int:
        """Take no more requests, let those there are be answered, and stop.

        Args:
            timeout_s: what is unanswered by then is cut off.
            idle_s: see `HttpServer.drain`.

        Returns:
            How many were cut off.
        """
        if self._services is not None:
            self._services.close()
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
        return [server for server in (self._grpc, self._rest) if server is not None]


def _first_of(first: Outside, second: Outside | None) -> Outside:
    """What asks the second where the first knows nothing."""
    if second is None:
        return first
    return lambda request: first(request) or second(request)


def _administered(admin: AdminRoutes, front: Handler) -> Handler:
    """What administers the server, beside the API."""
    return lambda request: admin(request) or front(request)


def _not_here(_request: HttpRequest) -> HttpResponse:
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
