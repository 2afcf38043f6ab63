"""The composition root: builds the parts, opens the ports, waits, drains, stops."""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from salver.batching.runner import RunPool
from salver.config.models import ModelConfig
from salver.config.options import Announcement, ServeMode, ServerOptions, schedulable_cpus
from salver.config.start_up import Configuration, read_configuration
from salver.errors import Cancelled
from salver.metrics.registry import Metrics
from salver.request_log.loggers import RequestLogs
from salver.request_log.options import options_of
from salver.server.announcing import served_models
from salver.server.config_polling import make_config_polling
from salver.server.loading import Loader
from salver.server.memory import freeze_at_start, settle_memory
from salver.server.metering import ServerReadings
from salver.server.models import make_core, run_threads
from salver.server.readiness import Readiness
from salver.server.rest_door import RestDoor
from salver.server.warming import Warming, service_maker

if TYPE_CHECKING:
    from salver.server.rpc_door import RpcDoor

__all__ = ["run"]

_log = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_SWITCH_INTERVAL_S: Final = 0.0002
"""How long a thread that computes in Python may keep the loop waiting for the GIL. One small run
beside one busy thread took 86 µs with the default of 5 ms and 26 µs with this."""

_ANNOUNCE_AFTER_S: Final = 5.0  # what still loads by then is announced as loading
_LONG_TO_RENDER_BYTES: Final = 1 << 14  # of signatures; 2 ms as JSON
_END_S: Final = 1.0  # for what has nothing left to wait for
_LOG_S: Final = 2.0  # request logs get this long to write what is queued
_UNLOAD_S: Final = 2.0  # models get this long to unload though the drain has used up its time

R = TypeVar("R")


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
        Whether everything has ended. If not, a run or a load outlived the drain and holds a
        thread: the caller should end the process without waiting for it.

    Raises:
        ServingError: the server could not start.
    """
    configuration = read_configuration(options, models)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    loop = _new_loop()
    try:
        return loop.run_until_complete(_serve(configuration, mode or ServeMode()))
    finally:
        loop.close()


async def _serve(configuration: Configuration, mode: ServeMode) -> bool:
    return await _Process(configuration, mode).main()


def _new_loop() -> asyncio.AbstractEventLoop:
    with suppress(ImportError):  # not for every platform
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()


class _Process:
    """One life of the server."""

    def __init__(self, configuration: Configuration, mode: ServeMode) -> None:
        self._configuration = configuration
        self._options = configuration.options
        self._mode = mode
        self._loop = asyncio.get_running_loop()
        self._runs = RunPool(run_threads(configuration))
        # Of its own, so that a model that hangs keeps nobody else's bodies from being read.
        self._codecs = RunPool(max(2, schedulable_cpus()), name="salver-codec")
        self._metrics = Metrics(self._is_configured)
        self._logs = RequestLogs(
            options_of(self._options, configuration.saved_model_tags), self._metrics.logs
        )
        make_service = service_maker(
            self._options, self._in_codecs, count_examples=self._metrics.examples_seen
        )
        self._warming = Warming(make_service, self._loop)
        self._loader = Loader(
            configuration,
            self._runs,
            warming=self._warming,
            metrics=self._metrics,
            describe=self._describe,
        )
        self._core = make_core(
            configuration,
            self._loader,
            after_change=self._after_change,
            update_logs=self._logs.update,
        )
        self._polling = make_config_polling(self._options, self._core)
        self._readiness = Readiness(self._core)
        self._rpc: RpcDoor | None = None
        self._rest: RestDoor | None = None
        self._rpc_addresses: tuple[str, ...] = ()
        self._rest_url = ""
        self._told_to_stop = asyncio.Event()

    async def main(self) -> bool:
        """Start, serve, stop; see `run`."""
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._hear, number)
        try:
            await self._start()
            await self._told_to_stop.wait()
        except Cancelled:  # told to stop while it started
            _log.info("Stopped before the models were loaded")
        finally:
            has_ended = await self._stop()
        return has_ended

    # -- start -----------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._metrics.loop_lag.start(self._loop)
        is_open_first = self._options.open_ports_before_load
        if is_open_first:
            self._make_doors()
            await self._open_doors()
        applying = self._in_thread("salver-apply", self._apply)
        if not is_open_first:
            self._make_doors()  # the gRPC library is imported meanwhile, which takes 30 ms
        await applying
        if self._mode.tolerate_failed_models:
            await self._in_thread("salver-settle", self._settle)
        self._readiness.is_started = True
        freeze_at_start()
        if not is_open_first:
            await self._open_doors()
        if self._polling is not None:
            self._polling.start()
        self._announce()

    def _apply(self) -> None:
        # Where failures are tolerated there is nothing to wait for, and a model that never comes
        # must not keep the next configuration waiting.
        is_awaited = not self._mode.tolerate_failed_models
        self._core.apply(self._configuration.models, is_awaited=is_awaited)

    def _settle(self) -> None:
        """Wait until each model is up, or has failed once, or takes its time."""
        self._core.wait_until_settled(self._core.model_names(), _ANNOUNCE_AFTER_S)
        self._core.end_initial_load()

    def _announce(self) -> None:
        if self._mode.announce is None:
            return
        models = served_models(self._core, self._configuration.models or ())
        grpc_address = next(iter(self._rpc_addresses), "")
        has_page = self._options.enable_playground and self._rest_url
        self._mode.announce(
            Announcement(
                rest_url=self._rest_url,
                grpc_address=grpc_address,
                playground_url=f"{self._rest_url}/" if has_page else "",
                models=models,
            )
        )

    def _make_doors(self) -> None:
        """Import and make what serves; it does not listen yet."""
        configuration = self._configuration
        if self._options.rest_api_port != 0:
            self._rest = RestDoor(
                self._core,
                self._options,
                configuration.rest_tls,
                in_pool=self._in_codecs,
                readiness=self._readiness,
                metrics=self._metrics,
                metrics_paths=configuration.monitoring.paths,
                logs=self._logs,
            )
            self._metrics.add_collector(
                ServerReadings(
                    self._core,
                    connections=self._rest.connections,
                    dropped_lines=self._rest.dropped_lines,
                )
            )
        if configuration.grpc is not None:  # last: its compiled module waits for TensorFlow's
            from salver.server.rpc_door import RpcDoor

            self._rpc = RpcDoor(
                self._core,
                self._options,
                configuration.grpc,
                in_pool=self._in_codecs,
                in_control=lambda call: self._in_thread("salver-reload", call),
                is_serving=self._is_serving,
                metrics=self._metrics,
                logs=self._logs,
            )

    async def _open_doors(self) -> None:
        """Listen: gRPC, then REST."""
        if self._rpc is not None:
            is_needed = not self._mode.tolerate_taken_grpc_port
            self._rpc_addresses = await self._rpc.open(is_port_needed=is_needed)
            if not self._rpc_addresses:
                self._rpc = None
        if self._rest is not None:
            is_needed = self._mode.exit_on_bind_failure
            self._rest_url = await self._rest.open(is_port_needed=is_needed)

    def _is_configured(self, name: str) -> bool:
        return name in self._core.model_names()

    def _is_serving(self) -> bool:
        """What gRPC's health service says.

        The reference's ports are open only while it serves, so there only the drain says no.
        """
        if self._options.open_ports_before_load:
            return self._readiness.problem() is None
        return not self._readiness.is_draining

    def _describe(self, signature_def_map: bytes) -> None:
        """Render what is long to render before the version answers, so that no request waits."""
        if self._options.rest_api_port != 0 and len(signature_def_map) > _LONG_TO_RENDER_BYTES:
            from salver.rest.reports import signature_text

            signature_text(signature_def_map)

    # -- meanwhile -------------------------------------------------------------------------------

    def _after_change(self) -> None:
        if self._readiness.is_started:
            settle_memory()
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._refresh_health)

    def _refresh_health(self) -> None:
        if self._rpc is not None:
            self._rpc.refresh_health()

    async def _in_codecs(self, call: Callable[[], R]) -> R:
        return await asyncio.wrap_future(self._codecs.submit(call))

    def _in_thread(self, name: str, call: Callable[[], R]) -> "asyncio.Future[R]":
        """Run what may wait for models or for the disk, in a thread made for it."""
        future: Future[R] = Future()

        def work() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name=name, daemon=True).start()
        answer = asyncio.wrap_future(future)
        # A start that fails elsewhere waits for this no more, and its failure is no news then.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    def _hear(self, number: signal.Signals) -> None:
        """The first signal drains; a second ends the process at once."""
        _log.info("%s: draining. A second signal ends at once.", signal.Signals(number).name)
        for each in _SIGNALS:
            self._loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        if self._polling is not None:
            self._polling.stop()
        self._core.interrupt()
        self._loader.stop()
        self._warming.stop()
        self._told_to_stop.set()

    # -- stop ------------------------------------------------------------------------------------

    async def _stop(self) -> bool:
        options = self._options
        self._loader.stop()
        self._warming.stop()  # a start that fails ends without having been told to
        self._readiness.is_draining = True
        self._refresh_health()
        doors = [door for door in (self._rpc, self._rest) if door is not None]
        if (self._rpc_addresses or self._rest_url) and options.drain_delay_seconds > 0:
            await asyncio.sleep(options.drain_delay_seconds)
        limit_s = options.drain_timeout_seconds
        deadline_s = self._loop.time() + limit_s
        cut = sum(await asyncio.gather(*(door.drain(limit_s) for door in doors)))
        if cut:
            _log.warning("%d requests were cut off after %g s", cut, limit_s)
        left_s = max(_UNLOAD_S, deadline_s - self._loop.time())
        has_ended = await self._in_thread("salver-close", lambda: self._close_models(left_s))
        self._metrics.loop_lag.stop()
        await self._loop.shutdown_default_executor()
        if self._runs.running or self._codecs.running:
            has_ended = False
        for each in (self._loader, self._runs, self._codecs):
            each.close() if has_ended else each.abandon()
        if not has_ended:
            _log.warning("Ending with runs or loads of models still going on")
        return has_ended

    def _close_models(self, timeout_s: float) -> bool:
        has_ended = self._core.close(timeout_s)  # which ends what the polling may be applying
        if self._polling is not None:
            has_ended &= self._polling.close(_END_S)
        return self._logs.close(_LOG_S) and has_ended
