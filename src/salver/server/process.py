"""A server of one process: builds the parts, opens the ports, waits, drains, stops."""

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from salver.access.start_up import read_guarded_configuration
from salver.config.models import ModelConfig
from salver.config.options import ServeMode, ServerOptions
from salver.config.start_up import Configuration
from salver.errors import Cancelled, ServingError
from salver.instruments.log_level import level_name, log_level, set_log_level
from salver.instruments.notices import NOTICE
from salver.instruments.threads import take_short_slices
from salver.management.administration import Administration
from salver.management.audit import Audit
from salver.server.activation import activated
from salver.server.announcing import Announcer
from salver.server.assembly import SWITCH_INTERVAL_S, Assembly, new_loop
from salver.server.audit_log import drop, lost_entries, open_audit_log
from salver.server.config_polling import apply_file, make_config_polling
from salver.server.first_load import apply_first, settle
from salver.server.memory import freeze_at_start
from salver.server.models import make_core
from salver.server.notifying import Notifier, serving_status, stop_seconds
from salver.server.ports import Ports

if TYPE_CHECKING:
    from salver.server.api_servers import ApiServers
    from salver.tracing.sampling import Sampling
    from salver.vocabulary.access import Actor

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

    Where a service manager is notified, SIGHUP applies the model config file as it is now.

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
    notifier = Notifier.of(os.environ)
    options, given = activated(options, os.environ)
    configuration = read_guarded_configuration(options, models)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    take_short_slices()
    loop = new_loop()
    try:
        return loop.run_until_complete(
            _serve(configuration, mode or ServeMode(), given=given, notifier=notifier)
        )
    finally:
        loop.close()
        notifier.close()


async def _serve(
    configuration: Configuration, mode: ServeMode, *, given: Ports | None, notifier: Notifier
) -> bool:
    return await _Process(configuration, mode, given=given, notifier=notifier).main()


class _Process:
    """One life of the server."""

    def __init__(
        self,
        configuration: Configuration,
        mode: ServeMode,
        *,
        given: Ports | None,
        notifier: Notifier,
    ) -> None:
        self._given = given
        self._notifier = notifier
        self._ticking: asyncio.TimerHandle | None = None
        self._reloading: asyncio.Future[None] | None = None
        self._is_to_reload_again = False
        self._configuration = configuration
        self._options = configuration.options
        self._mode = mode
        self._loop = asyncio.get_running_loop()
        self._audit_log = open_audit_log(self._options)
        self._audit = audit = Audit(self._audit_log or drop)
        self._parts = parts = Assembly(configuration)
        self._core = make_core(
            configuration,
            parts.loader,
            after_change=parts.after_change,
            update_logs=parts.logs.update,
            fetches=parts.metrics.fetches,
            on_status=lambda name: self._announcer.changed(name),
            on_applied=audit.applied,
        )
        self._core.look_ahead(configuration.models or ())
        self._administer = Administration(self._core, configuration, audit)
        self._announcer = Announcer(self._core, configuration, mode)
        parts.attach(self._core)
        parts.metrics.add_collector(lambda: lost_entries(self._audit_log))
        if self._core.lazy is not None:
            parts.metrics.add_collector(self._core.lazy.families)
        self._polling = make_config_polling(configuration, self._core)
        self._told_to_stop = asyncio.Event()

    async def main(self) -> bool:
        """Start, serve, stop; see `run`."""
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._hear, number)
        if self._notifier.is_active:
            self._loop.add_signal_handler(signal.SIGHUP, self._reload)
            self._tick()
        try:
            await self._start()
            self._notifier.ready(self._status())
            await self._told_to_stop.wait()
        except Cancelled:  # told to stop while it started
            _log.info("Stopped before the models were loaded")
        finally:
            has_ended = await self._stop()
            if self._ticking is not None:
                self._ticking.cancel()
        return has_ended

    # -- start -----------------------------------------------------------------------------------

    async def _start(self) -> None:
        parts = self._parts
        parts.metrics.loop_lag.start(self._loop)
        self._announcer.start()
        is_open_first = self._options.open_ports_before_load
        if is_open_first:
            await self._open_ports(self._make_servers())
        applying = parts.in_thread("salver-apply", self._apply)
        # Imported while TensorFlow is loaded.
        servers = parts.servers or self._make_servers()
        await applying
        if self._mode.tolerate_failed_models:
            await parts.in_thread("salver-settle", self._settle)
        parts.readiness.start()  # before a file that is polled brings further models
        freeze_at_start()
        if not is_open_first:
            await self._open_ports(servers)
        if self._polling is not None:
            self._polling.start()
        self._announcer.opened(servers.rest_url, servers.grpc_addresses)

    def _make_servers(self) -> "ApiServers":
        return self._parts.make_servers(
            self._core,
            administer=self._administer,
            set_log_level=self._set_log_level,
            set_sampling=self._set_sampling,
        )

    def _set_log_level(self, level: int, actor: "Actor") -> None:
        before = level_name(log_level())
        set_log_level(level)
        self._audit.adjusted(actor, "log_level", before, level_name(level))

    def _set_sampling(self, sampling: "Sampling", actor: "Actor") -> None:
        self._parts.sample(sampling)
        self._audit.adjusted(actor, "trace_ratio", None, sampling.ratio)

    def _apply(self) -> None:
        apply_first(self._core, self._configuration, self._mode)

    def _settle(self) -> None:
        settle(self._core, is_polled=self._polling is not None)

    async def _open_ports(self, servers: "ApiServers") -> None:
        await servers.open(
            is_rest_needed=self._mode.exit_on_bind_failure,
            is_grpc_needed=not self._mode.tolerate_taken_grpc_port,
            given=self._given,
        )

    # -- the service manager ---------------------------------------------------------------------

    def _tick(self) -> None:
        self._notifier.tick()
        self._ticking = self._loop.call_later(self._notifier.tick_s, self._tick)

    def _status(self) -> str:
        servers = self._parts.servers
        assert servers is not None
        return serving_status(self._core.model_names(), servers.rest_url, servers.grpc_addresses)

    def _reload(self) -> None:
        """Apply the model config file as it is now; what is wrong with it changes nothing."""
        if self._told_to_stop.is_set() or not self._parts.readiness.is_started:
            _log.info("SIGHUP: not while the server starts or stops")
            return
        if self._reloading is not None:
            self._is_to_reload_again = True
            return
        self._notifier.reloading()
        path = self._options.model_config_file
        self._reloading = self._parts.in_thread(
            "salver-reload", lambda: apply_file(path, self._core)
        )
        self._reloading.add_done_callback(self._reloaded)

    def _reloaded(self, done: "asyncio.Future[None]") -> None:
        self._reloading = None
        if self._told_to_stop.is_set():
            return
        status = self._status()
        error = done.exception()
        if isinstance(error, ServingError):
            _log.error("SIGHUP: could not reload: %s", error.message)
            status = f"{status}; could not reload: {error.message}"
        elif error is not None:
            _log.error("SIGHUP: the reload failed", exc_info=error)
        self._notifier.ready(status)
        if self._is_to_reload_again:
            self._is_to_reload_again = False
            self._reload()

    # -- stop ------------------------------------------------------------------------------------

    def _hear(self, number: signal.Signals) -> None:
        """The first signal drains; a second ends the process at once."""
        _log.log(NOTICE, "%s: draining. A second signal ends at once.", signal.Signals(number).name)
        for each in _SIGNALS:
            self._loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        self._notifier.stopping(stop_seconds(self._options))
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
        if parts.servers is not None and parts.servers.is_open:
            parts.servers.end_connections()
            await asyncio.sleep(self._options.drain_delay_seconds)
        _, has_ended = await parts.drain(self._close_models)
        return has_ended

    def _close_models(self, timeout_s: float) -> bool:
        has_ended = self._core.close(timeout_s)  # which ends what the polling may be applying
        if self._polling is not None:
            has_ended &= self._polling.close(_END_S)
        if self._audit_log is not None:
            self._audit_log.close(_LOG_S)
        return self._parts.logs.close(_LOG_S) and has_ended
