"""The gRPC door of a server: which services it has, and where it listens."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from salver.config.grpc import GrpcConfig
from salver.config.options import ServerOptions
from salver.inference.logged import CallLogs
from salver.metrics.registry import Metrics
from salver.rpc.aio_server import CannotListen, RpcServer, Security
from salver.rpc.counted import count_failures
from salver.rpc.health import Health
from salver.rpc.models import ModelService
from salver.rpc.prediction import PredictionService
from salver.rpc.profiler import Profiler
from salver.rpc.reflection import reflection_methods
from salver.rpc.session import SessionService
from salver.rpc.table import MethodTable
from salver.server.core import ServerCore

__all__ = ["RpcDoor"]

_log = logging.getLogger(__name__)

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in some other thread."""


class RpcDoor:
    """A gRPC server and its services. Belongs to the loop."""

    def __init__(
        self,
        core: ServerCore,
        options: ServerOptions,
        config: GrpcConfig,
        *,
        in_pool: InThread,
        in_control: InThread,
        is_serving: Callable[[], bool],
        metrics: Metrics,
        logs: CallLogs,
    ) -> None:
        """Build it; it listens nowhere yet.

        Args:
            core: the models.
            options: the flags.
            config: where to listen, and how.
            in_pool: runs a function in the run pool.
            in_control: runs a function that may wait for models.
            is_serving: what the health service says.
            metrics: count what is answered.
            logs: take the calls that are answered.
        """
        self._config = config
        self._health: Health | None = None
        table: dict[str, Any] = {
            **PredictionService(
                core,
                in_pool=in_pool,
                is_method_checked=options.enable_signature_method_name_check,
                as_content=options.enable_serialization_as_tensor_content,
                logs=logs,
                count_examples=metrics.examples_seen,
            ).methods(),
            **ModelService(core, core.apply, in_control, totals=metrics.totals).methods(),
        }
        if options.enable_session_service:
            as_content = options.enable_serialization_as_tensor_content
            sessions = SessionService(core, in_pool=in_pool, as_content=as_content, logs=logs)
            table.update(sessions.methods())
        if options.enable_grpc_healthcheck_service:
            self._health = Health(_services(table), is_serving)
            table.update(self._health.methods())
        self._profiler: Profiler | None = None
        if options.enable_profiler:
            self._profiler = Profiler(core.in_flight, now=time.time)  # noqa: TID251 - the clock
            table.update(self._profiler.methods())
        table.update(reflection_methods(_services(table)))
        self._server = RpcServer(count_failures(table, metrics.outcomes), config.channel_arguments)

    async def open(self, *, is_port_needed: bool = True) -> tuple[str, ...]:
        """Listen and answer.

        Args:
            is_port_needed: whether it is an error when the TCP port cannot be had.

        Returns:
            Where clients find it, such as `127.0.0.1:8500` and `unix:/run/salver.sock`. If
            nowhere, it is of no use any more.

        Raises:
            CannotListen: a port or a socket cannot be had.
            InvalidArgument: its TLS settings make no sense.
        """
        config = self._config
        security: Security = "alts" if config.is_alts else config.tls
        found = []
        tcp_address = f"{_in_url(config.host) or '0.0.0.0'}:{config.port}"  # noqa: S104
        if config.port != 0 and self._has_port(security, is_needed=is_port_needed):
            found.append(tcp_address)
        if config.socket_path:
            self._server.listen_unix(config.socket_path, security)
            found.append(f"unix:{config.socket_path}")
        if not found:
            await self._server.drain(0)
            return ()
        if self._profiler is not None:
            _log.info("Profiler service is enabled")
        await self._server.start()
        for address in found:
            kind, _, path = address.partition(":")
            where = f"UNIX socket {path}" if kind == "unix" else address
            _log.info("Running gRPC ModelServer at %s ...", where)
        return tuple(found)

    def _has_port(self, security: Security, *, is_needed: bool) -> bool:
        config = self._config
        try:
            self._server.listen_tcp(config.host, config.port, security)
        except CannotListen as error:
            if is_needed:
                raise
            _log.warning("gRPC is not served: %s. --port=N takes another port.", error.hint)
            return False
        return True

    def refresh_health(self) -> None:
        """Look whether those who watch the health service are to be told something."""
        if self._health is not None:
            self._health.refresh()

    async def drain(self, grace_s: float) -> int:
        """See `RpcServer.drain`."""
        if self._health is not None:
            self._health.close()
        if self._profiler is not None:
            self._profiler.close()
        return await self._server.drain(grace_s)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _services(table: MethodTable) -> list[str]:
    return sorted({path.split("/")[1] for path in table})
