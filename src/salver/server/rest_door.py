"""The REST door of a server: its handler, and where it listens."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from salver.config.checks import rest_port_refusal
from salver.config.options import ServerOptions
from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument, Unavailable
from salver.inference.logged import CallLogs
from salver.metrics.registry import Metrics
from salver.rest.calls import InferenceCalls
from salver.rest.errors import error_page
from salver.rest.front import RestFront
from salver.rest.metrics_page import MetricsPage
from salver.server.core import ServerCore
from salver.server.playground_page import make_playground
from salver.server.readiness import Readiness
from salver.transport.access_log import AccessLog
from salver.transport.http1 import HttpServer
from salver.transport.limits import HttpLimits
from salver.transport.tls import server_context

__all__ = ["RestDoor"]

_log = logging.getLogger(__name__)

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class RestDoor:
    """An HTTP server and what answers on it. Belongs to the loop."""

    def __init__(
        self,
        core: ServerCore,
        options: ServerOptions,
        tls: TlsConfig | None,
        *,
        in_pool: InThread,
        readiness: Readiness,
        metrics: Metrics,
        metrics_paths: Sequence[str],
        logs: CallLogs,
    ) -> None:
        """Build it; it listens nowhere yet.

        Args:
            core: the models.
            options: the flags.
            tls: of the port; None for plain HTTP.
            in_pool: runs a function that takes long for the loop: decoding, encoding, inflating.
            readiness: what `/healthz/ready` says.
            metrics: count what is answered, and are read here.
            metrics_paths: where.
            logs: take the calls that are answered.

        Raises:
            InvalidArgument: the access log cannot be opened, or TLS settings make no sense.
        """
        self._options = options
        self._context = None if tls is None else _context(tls)
        self._access_log = _access_log(options.access_log) if options.access_log else None
        timeout_ms = options.rest_api_timeout_in_ms
        front = RestFront(
            core,
            InferenceCalls(
                core,
                in_pool=in_pool,
                timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
                is_method_checked=options.enable_signature_method_name_check,
                logs=logs,
            ),
            unready=readiness.problem,
            is_cors_enabled=options.rest_api_enable_cors_support,
            outcomes=metrics.outcomes,
            page=MetricsPage(metrics_paths, metrics.draw, in_pool),
            outside=make_playground(core, options, metrics_paths=metrics_paths, in_thread=in_pool),
        )
        self._server = HttpServer(
            front,
            error_page=error_page,
            limits=HttpLimits(
                max_header_bytes=options.max_header_bytes,
                max_body_bytes=options.max_request_bytes,
                max_inflated_bytes=options.max_inflated_bytes,
            ),
            access=self._access_log,
            clock=time.time,  # noqa: TID251 - the clock that is injected
            run_in_pool=in_pool,
            page_headers=front.page_headers,
        )

    async def open(self, *, is_port_needed: bool) -> str:
        """Listen and answer.

        Args:
            is_port_needed: whether it is an error when the port cannot be had; the reference
                logs it and goes on.

        Returns:
            The URL, such as `http://127.0.0.1:8501`; empty when it does not listen.

        Raises:
            Unavailable: the port cannot be had.
        """
        options = self._options
        if (refusal := rest_port_refusal(options)) is not None:
            if is_port_needed:
                raise InvalidArgument(refusal)
            _log.error("%s", refusal)
            return ""
        try:
            await self._server.listen(options.host, options.rest_api_port, self._context)
        except (OSError, UnicodeError) as error:
            text = f"Failed to start HTTP Server at localhost:{options.rest_api_port}"
            reason = getattr(error, "strerror", None) or error
            if is_port_needed:
                raise Unavailable(f"{text}: {reason}") from error
            _log.error("%s: %s", text, reason)
            return ""
        _log.info("Exporting HTTP/REST API at:localhost:%d ...", options.rest_api_port)
        _log.info("[evhttp_server.cc : 245] NET_LOG: Entering the event loop ...")
        scheme = "http" if self._context is None else "https"
        host = options.host or "localhost"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{options.rest_api_port}"

    def connections(self) -> int:
        """How many there are now. From any thread."""
        return self._server.connections

    def dropped_lines(self) -> int:
        """How many lines the access log has lost. From any thread."""
        return 0 if self._access_log is None else self._access_log.dropped

    async def drain(self, timeout_s: float) -> int:
        """See `HttpServer.drain`; ends the access log too."""
        cut = await self._server.drain(timeout_s)
        if self._access_log is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._access_log.close)
        return cut


def _access_log(path: str) -> AccessLog:
    try:
        return AccessLog(path)
    except OSError as error:
        raise InvalidArgument(f"Could not open --access_log={path}: {error.strerror}") from error


def _context(tls: TlsConfig) -> ssl.SSLContext:
    return server_context(
        server_key=tls.server_key,
        server_cert=tls.server_cert,
        custom_ca=tls.custom_ca,
        client_verify=tls.client_verify,
    )
