"""A server of one process: builds the parts, opens the ports, waits, drains, stops."""

import asyncio
import logging
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from salver.config.models import ModelConfig
from salver.config.options import ServeMode, ServerOptions
from salver.config.start_up import Configuration, read_configuration
from salver.errors import Cancelled
from salver.notices import NOTICE
from salver.server.announcing import ANNOUNCE_AFTER_S, Announcer
from salver.server.assembly import SWITCH_INTERVAL_S, Assembly, new_loop
from salver.server.config_polling import make_config_polling
from salver.server.memory import freeze_at_start
from salver.server.models import make_core
from salver.server.waits import Superseded
from salver.threads import take_short_slices

if TYPE_CHECKING:
    from salver.server.doors import Doors

__all__ = ["run"]

_log = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_END_S: Final = 1.0  # for what has nothing left to wait for
_LOG_S: Final = 2.0  # request logs get this long to write what is queued


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
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    take_short_slices()
    loop = new_loop()
    try:
        return loop.run_until_complete(_serve(configuration, mode or ServeMode()))
    finally:
        loop.close()


async def _serve(configuration: Configuration, mode: ServeMode) -> bool:
    return await _Process(configuration, mode).main()


class _Process:
    """One life of the server."""

    def __init__(self, configuration: Configuration, mode: ServeMode) -> None:
        self._configuration = configuration
        self._options = configuration.options
        self._mode = mode
        self._loop = asyncio.get_running_loop()
        self._parts = parts = Assembly(configuration)
        self._core = make_core(
            configuration,
            parts.loader,
            after_change=parts.after_change,
            update_logs=parts.logs.update,
            on_status=lambda name: self._announcer.changed(name),
        )
        self._announcer = Announcer(self._core, configuration, mode)
        parts.attach(self._core)
        if self._core.lazy is not None:
            parts.metrics.add_collector(self._core.lazy.families)
        self._polling = make_config_polling(self._options, self._core)
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
        parts = self._parts
        parts.metrics.loop_lag.start(self._loop)
        self._announcer.start()
        is_open_first = self._options.open_ports_before_load
        if is_open_first:
            await self._open_doors(parts.make_doors(self._core))
        applying = parts.in_thread("salver-apply", self._apply)
        # Imported while TensorFlow is loaded.
        doors = parts.doors or parts.make_doors(self._core)
        await applying
        if self._mode.tolerate_failed_models:
            await parts.in_thread("salver-settle", self._settle)
        parts.readiness.is_started = True
        freeze_at_start()
        if not is_open_first:
            await self._open_doors(doors)
        if self._polling is not None:
            self._polling.start()
        self._announcer.opened(doors.rest_url, doors.grpc_addresses)

    def _apply(self) -> None:
        # Where failures are tolerated there is nothing to wait for, and a model that never comes
        # must not keep the next configuration waiting.
        is_awaited = not self._mode.tolerate_failed_models
        with suppress(Superseded):  # by a reload, where the ports are open first
            self._core.apply(self._configuration.models, is_awaited=is_awaited)

    def _settle(self) -> None:
        """Wait until each model is up, or has failed once, or takes its time.

        Raises:
            ServingError: nothing is left to serve, and no other configuration can come.
        """
        self._core.wait_until_settled(self._core.model_names(), ANNOUNCE_AFTER_S)
        self._core.end_initial_load()
        if self._polling is None and (error := self._core.hopeless(ANNOUNCE_AFTER_S)) is not None:
            raise error

    async def _open_doors(self, doors: "Doors") -> None:
        await doors.open(
            is_rest_needed=self._mode.exit_on_bind_failure,
            is_grpc_needed=not self._mode.tolerate_taken_grpc_port,
        )

    # -- stop ------------------------------------------------------------------------------------

    def _hear(self, number: signal.Signals) -> None:
        """The first signal drains; a second ends the process at once."""
        _log.log(NOTICE, "%s: draining. A second signal ends at once.", signal.Signals(number).name)
        for each in _SIGNALS:
            self._loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        if self._polling is not None:
            self._polling.stop()
        self._core.interrupt()
        self._parts.give_up()
        self._told_to_stop.set()

    async def _stop(self) -> bool:
        parts = self._parts
        self._announcer.stop()
        parts.give_up()  # a start that fails ends without having been told to
        parts.readiness.is_draining = True
        parts.refresh_health()
        is_open = parts.doors is not None and parts.doors.is_open
        if is_open and self._options.drain_delay_seconds > 0:
            await asyncio.sleep(self._options.drain_delay_seconds)
        _, has_ended = await parts.drain(self._close_models)
        return has_ended

    def _close_models(self, timeout_s: float) -> bool:
        has_ended = self._core.close(timeout_s)  # which ends what the polling may be applying
        if self._polling is not None:
            has_ended &= self._polling.close(_END_S)
        return self._parts.logs.close(_LOG_S) and has_ended
