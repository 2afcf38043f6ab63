"""The composition root: builds the parts, opens the ports, waits, drains, stops."""

import asyncio
import logging
import signal
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from salver.backends.registry import PLATFORMS, BackendOptions, open_backend
from salver.batching.runner import MeasuredProgram, RunPool
from salver.config.checks import rest_port_refusal
from salver.config.models import ModelConfig
from salver.config.options import (
    Announcement,
    ServedModel,
    ServeMode,
    ServerOptions,
    schedulable_cpus,
)
from salver.config.start_up import Configuration, read_configuration
from salver.config.tls import TlsConfig
from salver.errors import Cancelled, InvalidArgument, ServingError, Unavailable
from salver.inference.servable import Servable
from salver.lifecycle.loader import LoadOptions
from salver.requests import ServableRequest
from salver.rest.calls import InferenceCalls
from salver.rest.errors import error_page
from salver.rest.front import RestFront
from salver.servable import ServableId
from salver.server.core import CoreOptions, ServerCore
from salver.server.memory import freeze_at_start, settle_memory
from salver.server.readiness import Readiness
from salver.transport.access_log import AccessLog
from salver.transport.http1 import HttpServer
from salver.transport.limits import HttpLimits
from salver.transport.tls import server_context

__all__ = ["run"]

_log = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_SWITCH_INTERVAL_S: Final = 0.0002
"""How long a thread that computes in Python may keep the loop waiting for the GIL. One small run
beside one busy thread took 86 µs with the default of 5 ms and 26 µs with this."""

R = TypeVar("R")


def _core_options(options: ServerOptions) -> CoreOptions:
    return CoreOptions(
        load=LoadOptions(
            num_load_threads=options.num_load_threads,
            num_initial_load_threads=4 * schedulable_cpus(),
            num_unload_threads=options.num_unload_threads,
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval_micros=options.load_retry_interval_micros,
        ),
        file_system_poll_wait_seconds=options.file_system_poll_wait_seconds,
        allow_version_labels_for_unavailable_models=(
            options.allow_version_labels_for_unavailable_models
        ),
    )


def run(
    options: ServerOptions,
    models: tuple[ModelConfig, ...] | None = None,
    *,
    mode: ServeMode | None = None,
) -> bool:
    """Serve until told to stop by SIGTERM or SIGINT.

    Args:
        options: the flags.
        models: what to serve when that was said without flags.
        mode: how the command wants it.

    Returns:
        Whether everything has ended. If not, a run of a model outlived the drain and holds a
        thread: the caller should end the process without waiting for it.

    Raises:
        ServingError: the server could not start.
    """
    configuration = read_configuration(options, models)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    loop = _new_loop()
    try:
        return loop.run_until_complete(_Process(configuration, mode or ServeMode()).main())
    finally:
        loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    with suppress(ImportError):  # not for every platform
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()


def _access_log(path: str) -> AccessLog:
    try:
        return AccessLog(path)
    except OSError as error:
        raise InvalidArgument(f"Could not open --access_log={path}: {error.strerror}") from error


def _tls_context(tls: TlsConfig) -> ssl.SSLContext:
    return server_context(
        server_key=tls.server_key,
        server_cert=tls.server_cert,
        custom_ca=tls.custom_ca,
        client_verify=tls.client_verify,
    )


class _Process:
    """One life of the server."""

    def __init__(self, configuration: Configuration, mode: ServeMode) -> None:
        options = configuration.options
        self._configuration = configuration
        self._options = options
        self._mode = mode
        self._pool = RunPool(max(1, options.rest_api_num_threads))
        self._core = ServerCore(
            self._loader(),
            PLATFORMS.keys(),
            _core_options(options),
            after_change=self._after_change,
        )
        # The one thread that may wait for models; the run pool must not.
        self._control = ThreadPoolExecutor(1, thread_name_prefix="salver-control")
        self._readiness = Readiness(self._core)
        self._access_log = _access_log(options.access_log) if options.access_log else None
        self._rest: HttpServer | None = None
        self._told_to_stop = asyncio.Event()

    async def main(self) -> bool:
        """Start, serve, stop; see `run`."""
        self._catch_signals()
        try:
            if await self._start():
                await self._told_to_stop.wait()
        finally:
            has_ended = await self._stop()
        return has_ended

    # -- start -----------------------------------------------------------------------------------

    async def _start(self) -> bool:
        """Load, listen, announce; False when told to stop meanwhile."""
        if self._options.open_ports_before_load:
            await self._listen()
        try:
            await self._load()
        except Cancelled:
            return False
        self._readiness.is_started = True
        freeze_at_start()
        if not self._options.open_ports_before_load:
            await self._listen()
        if self._mode.announce is not None:
            self._mode.announce(self._announcement())
        return True

    async def _load(self) -> None:
        models = self._configuration.models
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._control, self._core.apply, models)
        except Cancelled:
            raise
        except ServingError as error:
            if not self._mode.tolerate_failed_models:
                raise
            _log.error("%s", error.message)

    def _after_change(self) -> None:
        if self._readiness.is_started:
            settle_memory()

    def _loader(self) -> Callable[[str, ServableId, str], Servable]:
        session = self._configuration.session
        backend_options = BackendOptions(
            saved_model_tags=session.saved_model_tags,
            session_config=session.config_proto,
            custom_op_libraries=session.custom_op_libraries,
        )
        backends = {platform: open_backend(platform, backend_options) for platform in PLATFORMS}

        def load(platform: str, _id: ServableId, directory: str) -> Servable:
            model = backends[platform].load(directory)
            return Servable(model, lambda program: MeasuredProgram(program, self._pool))

        return load

    async def _listen(self) -> None:
        options = self._options
        if options.rest_api_port == 0:
            _log.warning("No --rest_api_port: nothing is served, because gRPC is not served yet")
            return
        if (refusal := rest_port_refusal(options)) is not None:
            _log.error("%s", refusal)
            return
        server = self._rest_server()
        tls = self._configuration.rest_tls
        try:
            context = None if tls is None else _tls_context(tls)
            await server.listen(options.host, options.rest_api_port, context)
        except OSError as error:
            text = f"Failed to start HTTP Server at localhost:{options.rest_api_port}"
            if self._mode.exit_on_bind_failure:
                raise Unavailable(f"{text}: {error.strerror or error}") from error
            _log.error("%s: %s", text, error)
            return
        self._rest = server
        _log.info("Exporting HTTP/REST API at:localhost:%d ...", options.rest_api_port)
        _log.info("[evhttp_server.cc : 245] NET_LOG: Entering the event loop ...")

    def _rest_server(self) -> HttpServer:
        options = self._options
        timeout_ms = options.rest_api_timeout_in_ms
        front = RestFront(
            self._core,
            InferenceCalls(
                self._core,
                in_pool=self._in_pool,
                timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
                is_method_checked=options.enable_signature_method_name_check,
            ),
            unready=self._readiness.problem,
            is_cors_enabled=options.rest_api_enable_cors_support,
        )
        return HttpServer(
            front,
            error_page=error_page,
            limits=HttpLimits(
                max_header_bytes=options.max_header_bytes, max_body_bytes=options.max_request_bytes
            ),
            access=self._access_log,
            clock=time.time,  # noqa: TID251 - the clock that is injected
            run_in_pool=self._in_pool,
        )

    async def _in_pool(self, call: Callable[[], R]) -> R:
        return await asyncio.wrap_future(self._pool.submit(call))

    def _announcement(self) -> Announcement:
        options = self._options
        scheme = "http" if self._configuration.rest_tls is None else "https"
        host = options.host or "localhost"
        return Announcement(
            rest_url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{options.rest_api_port}",
            models=tuple(self._served(model) for model in self._configuration.models or ()),
        )

    def _served(self, model: ModelConfig) -> ServedModel:
        try:
            handle = self._core.acquire(ServableRequest(model.name))
        except ServingError:
            error = self._readiness.error_of(model.name)
            return ServedModel(name=model.name, base_path=model.base_path, error=error)
        try:
            return ServedModel(
                name=model.name,
                base_path=model.base_path,
                versions=self._readiness.available(model.name),
                signatures=handle.model.signatures,
            )
        finally:
            handle.release()

    # -- stop ------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._hear, number)

    def _hear(self, number: signal.Signals) -> None:
        """The first signal drains; a second ends the process at once."""
        _log.info("%s: draining. A second signal ends at once.", signal.Signals(number).name)
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        self._core.interrupt()
        self._told_to_stop.set()

    async def _stop(self) -> bool:
        options = self._options
        self._readiness.is_draining = True
        loop = asyncio.get_running_loop()
        if self._rest is not None:
            if options.drain_delay_seconds > 0:
                await asyncio.sleep(options.drain_delay_seconds)
            deadline_s = loop.time() + options.drain_timeout_seconds
            cut = await self._rest.drain(options.drain_timeout_seconds)
            if cut:
                _log.warning(
                    "%d requests were cut off after %g s", cut, options.drain_timeout_seconds
                )
            await self._rest.close()
        else:
            deadline_s = loop.time() + options.drain_timeout_seconds
        left_s = max(0.0, deadline_s - loop.time())
        has_ended = await loop.run_in_executor(self._control, self._core.close, left_s)
        self._control.shutdown()
        if has_ended and self._pool.running == 0:
            self._pool.close()
        else:
            has_ended = False
            self._pool.abandon()
            _log.warning("Ending with runs of models still going on")
        if self._access_log is not None:
            self._access_log.close()
        return has_ended
