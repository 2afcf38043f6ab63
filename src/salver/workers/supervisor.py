"""The process above the workers: binds the ports, decides about models, keeps workers alive.

It loads no model itself. The main thread waits for events and works them off one by one: signals
above all.
"""

import logging
import os
import queue
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from salver.access.start_up import read_guarded_configuration
from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig
from salver.config.options import ServeMode, ServerOptions, schedulable_cpus
from salver.config.start_up import Configuration
from salver.errors import Cancelled, ServingError, Unavailable
from salver.instruments.machine import resident_bytes
from salver.instruments.notices import NOTICE
from salver.management.administration import Administration
from salver.management.audit import Audit
from salver.management.core import CoreOptions, ServerCore
from salver.management.lazy import is_lazy
from salver.management.platforms import Platforms
from salver.metrics.fetches import FetchMetrics
from salver.metrics.merged import Report, report_of
from salver.request_log.loggers import check_logs
from salver.server.activation import activated
from salver.server.announcing import Announcer
from salver.server.audit_log import drop, lost_entries, open_audit_log
from salver.server.config_polling import make_config_polling
from salver.server.first_load import apply_first, settle
from salver.server.history import make_history
from salver.server.models import core_options, make_sources
from salver.server.notifying import Notifier, serving_status, stop_seconds
from salver.server.ports import Port, Ports, bind_ports, rest_url_of, tell_where
from salver.server.tracing import make_tracing
from salver.transport.listeners import BACKLOG
from salver.transport.turns import make_board, open_board, take_off
from salver.vocabulary.servable import ServableId
from salver.workers import messages
from salver.workers.deaths import Deaths
from salver.workers.fetches import WorkerFetches
from salver.workers.futures import in_thread
from salver.workers.group import WorkerGroup
from salver.workers.isolation import Isolation
from salver.workers.limit_columns import LimitColumns
from salver.workers.member import Member
from salver.workers.messages import SetNames, SetPhase, SetStates
from salver.workers.notes import Notes
from salver.workers.reloads import Reloads
from salver.workers.renewal import Renewal
from salver.workers.replicated import ReplicatedMap, load_replicated
from salver.workers.reports import ReportStore, WorkerFacts, supervisor_report
from salver.workers.requests import WorkerRequests
from salver.workers.server_metrics import ServerMetrics
from salver.workers.shares import share_of_worker
from salver.workers.slots import Slots
from salver.workers.solo import SoloProcesses
from salver.workers.spare import Spare
from salver.workers.spawning import Spawner, inherited_ports
from salver.workers.watchdog import Watchdog

__all__ = ["run"]

_log = logging.getLogger(__name__)

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_POLL_S: Final = 1.0
_END_S: Final = 1.0  # for what has nothing left to wait for
_WORKER_END_S: Final = 8.0  # of a worker, beside its drain: models, logs, the process
_KILL_S: Final = 2.0

Event = Callable[[], object]


def run(
    options: ServerOptions,
    models: tuple[ModelConfig, ...] | None = None,
    *,
    mode: ServeMode | None = None,
    command: Sequence[str],
) -> bool:
    """Serve by several processes until told to stop by SIGTERM or SIGINT.

    SIGHUP replaces the workers one by one, with what the files that flags name say by then. Where a
    service manager is notified, it applies the model config file too.

    Args:
        options: the flags; `workers` is not 1.
        models: what to serve when that was said without flags.
        mode: how the command wants it.
        command: what runs a worker; see `Spawner`.

    Returns:
        True: whatever outlives the drain was in a worker, and ends with it.

    Raises:
        ServingError: the server could not start.
    """
    count = options.workers or schedulable_cpus()
    notifier = Notifier.of(os.environ)
    options, given = activated(options, os.environ)

    def read() -> Configuration:
        return read_guarded_configuration(share_of_worker(options, count), models)

    try:
        _Supervisor(read, count, mode or ServeMode(), command, options, given, notifier).main()
    finally:
        notifier.close()
    return True


class _Supervisor:
    """One run of the server."""

    def __init__(
        self,
        read: Callable[[], Configuration],
        count: int,
        mode: ServeMode,
        command: Sequence[str],
        flags: ServerOptions,
        given: Ports | None,
        notifier: Notifier,
    ) -> None:
        self._read = read
        self._given = given
        self._notifier = notifier
        self._event_wait_s = min(_POLL_S, notifier.tick_s)
        self._configuration = configuration = read()
        self._options = configuration.options
        self._count = count
        self._mode = mode
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._has_stop_signal = False
        self._is_started = self._is_settled = self._is_stopping = False
        self._ports = Ports()
        self._board_fd = make_board(2 * count)
        self._board = open_board(self._board_fd)
        self._limits = LimitColumns(count)
        self._solo = SoloProcesses(self._spawn_alone)
        self._reports = ReportStore()
        self._group = WorkerGroup(
            self._solo.try_load, load_timeout_s=self._options.load_timeout_seconds
        )
        self._serving = ReplicatedMap(self._group)
        self._fetches = FetchMetrics()
        self._audit_log = open_audit_log(self._options)
        self._audit = Audit(self._audit_log or drop)
        sources = make_sources(configuration.options, self._fetches)
        self._worker_fetches = WorkerFetches(sources)
        self._tracing = make_tracing(self._options, who="supervisor")
        self._fetches.on_fetch = self._tracing.fetched
        self._core = ServerCore(
            self._load,
            Platforms(configuration.platforms),
            _core_options(configuration, count),
            sources,
            serving=self._serving,
            on_status=self._status_changed,
            on_configured=self._share_names,
            update_logs=self._group.set_logs,
            check_logs=check_logs,
            abandon=self._abandon,
            on_applied=self._audit.applied,
            is_fetched_first=self._is_fetched_first if is_lazy(self._options) else None,
            bring_in=self._bring_in if is_lazy(self._options) else None,
        )
        self._core.look_ahead(configuration.models or ())
        self._notes = Notes(self._core.note)
        administer = Administration(
            *(self._core, replace(configuration, options=flags), self._audit),
            clear_quarantine=self._clear,
        )
        self._reloads = Reloads(self._core, administer, self._reloaded)
        self._announcer = Announcer(self._core, configuration, mode)
        self._polling = make_config_polling(configuration, self._core)
        self._isolation = Isolation(
            self._group, self._core, self._solo.start, is_complete=self._is_complete
        )
        self._deaths = Deaths(self._group, self._reports, self._isolation.died)
        self._slots = Slots(self._group, self._spawn, count, self._lose)
        self._watchdog = Watchdog(self._slots.present)
        self._spare = Spare(lambda: self._spawner.prepare("spare"), self._wants_spare)
        self._metrics = ServerMetrics(
            self._reports, self._slots.present, self._own_report, make_history(configuration)
        )
        requests = WorkerRequests(
            self._group,
            reports=self._reports,
            metrics=self._metrics,
            notes=self._notes,
            isolation=self._isolation,
            reloads=self._reloads,
            fetches=self._worker_fetches,
            audit=self._audit,
            on_settled=self._settled,
        )
        self._spawner = Spawner(
            *(command, configuration),
            num_workers=count,
            board=self._board_fd,
            handle=requests.handle,
            limits=self._limits.descriptor,
        )
        self._renewal = Renewal(
            self._options,
            read,
            spawner=self._spawner,
            slots=self._slots,
            isolation=self._isolation,
            core=self._core,
            notifier=notifier,
            post=self._events.put,
            status=self._status,
        )

    def main(self) -> None:
        """Start, serve, stop; see `run`."""
        before = {number: signal.getsignal(number) for number in (*_STOP_SIGNALS, signal.SIGHUP)}
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGHUP, lambda *_: self._events.put(self._renewal.begin))
        try:
            self._start()
            self._notifier.ready(self._status())
            while not self._is_stopping:
                self._run_event()
        except Cancelled:  # by a signal while it started
            _log.info("Stopped before the models were loaded")
        finally:
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- start -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self._ports = bind_ports(
            self._configuration,
            given=self._given,
            is_rest_needed=self._mode.exit_on_bind_failure,
            is_grpc_needed=not self._mode.tolerate_taken_grpc_port,
            is_listening=False,
        )
        self._spawner.ports = inherited_ports(self._ports)
        self._announcer.start()
        for each in (self._slots, self._watchdog, self._metrics):
            each.start()
        is_open_first = self._options.open_ports_before_load
        self._wait_for(self._slots.wait_until_up)
        if is_open_first:
            self._open()
        self._wait_for(lambda: apply_first(self._core, self._configuration, self._mode))
        if self._mode.tolerate_failed_models:
            self._wait_for(lambda: settle(self._core, is_polled=self._polling is not None))
        self._group.is_careful = True
        self._is_started = True
        self._group.broadcast(self._phase)
        if not is_open_first:
            self._open()
        if self._polling is not None:
            self._polling.start()
        self._spare.start()
        _log.info("%d workers serve", self._count)
        url = rest_url_of(self._ports, self._configuration)
        self._announcer.opened(url, self._ports.grpc_addresses)

    def _open(self) -> None:
        for port in self._ports.all:
            _listen(port)
        tell_where(self._ports, self._options, has_profiler=self._options.enable_profiler)
        self._group.open()

    def _wait_for(self, call: Callable[[], None]) -> None:
        """Make a call that waits in another thread, while this thread works off events."""
        done = in_thread("salver-start", call)
        done.add_done_callback(lambda _done: self._events.put(lambda: None))
        while not done.done():
            self._run_event()
            if self._is_stopping:
                raise Cancelled("The server was told to stop while it started")
        done.result()

    def _run_event(self) -> None:
        """Work off the next event, if one comes within a while.

        No longer, since the system may hand a signal to another thread, which does not wake this
        one; and only this one runs Python's handlers.
        """
        with suppress(queue.Empty):
            self._events.get(timeout=self._event_wait_s)()
        self._notifier.tick()

    # -- signals ---------------------------------------------------------------------------------

    def _on_stop_signal(self, number: int, _frame: object) -> None:
        if self._has_stop_signal:
            self._end_at_once(number)
        self._has_stop_signal = True
        self._events.put(lambda: self._begin_stop(signal.Signals(number)))

    def _begin_stop(self, number: signal.Signals) -> None:
        _log.log(NOTICE, "%s: draining. A second signal ends at once.", number.name)
        self._notifier.stopping(stop_seconds(self._options))
        self._is_stopping = True
        self._renewal.stop()

    def _end_at_once(self, number: int) -> None:
        for member in (*self._slots.present(), *self._solo.present):
            with suppress(OSError):
                member.kill()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _status(self) -> str:
        url = rest_url_of(self._ports, self._configuration)
        return serving_status(self._core.model_names(), url, self._ports.grpc_addresses)

    # -- models ----------------------------------------------------------------------------------

    def _load(self, settings: LoadSettings, id: ServableId, path: str) -> Any:
        return load_replicated(self._group, settings, id, path, self._reports.forget)

    def _is_fetched_first(self, id: ServableId) -> bool:
        """Whether a version that is loaded on demand replaces one that some worker has now."""
        return self._group.is_in_use(id.name)

    def _abandon(self, id: ServableId) -> None:
        """Give up a load that does not return: its thread ends with its process alone."""
        stuck = self._group.abandon(id)
        self._solo.abandon(id)
        if stuck and self._options.load_timeout_seconds:  # else nobody has asked for it
            self._renewal.replace_stuck(id, stuck)

    def _lose(self, id: ServableId, error: ServingError) -> bool:
        if not self._group.lose(id):
            return False
        self._serving.lose(id)
        self._core.lost(id, error)
        return True

    def _status_changed(self, name: str) -> None:
        self._group.broadcast(lambda: SetStates(name, *self._core.states(name)))
        self._announcer.changed(name)

    def _share_names(self) -> None:
        core = self._core
        self._group.broadcast(
            lambda: SetNames(core.model_names(), core.applied, core.unloaded, core.configured)
        )

    def _reloaded(self) -> None:
        """A configuration whose models do not load is in effect all the same."""
        self._share_names()
        self._group.sync()

    # -- processes -------------------------------------------------------------------------------

    def _spawn(self, slot: int) -> Member:
        limits = self._limits.next()
        try:
            member = self._spawner(
                slot, on_end=self._ended, prepared=self._spare.take(), limits=limits
            )
        except BaseException:
            self._limits.give_back(limits)
            raise
        self._limits.opened(member, limits)
        self._reports.opened(member)
        return member

    def _spawn_alone(self, on_end: Callable[[Member], None]) -> Member:
        def ended(member: Member) -> None:
            self._worker_fetches.ended(member)
            on_end(member)

        return self._spawner(self._count, on_end=ended)

    def _is_complete(self) -> bool:
        return len(self._group.members) >= self._count

    def _wants_spare(self) -> bool:
        """Whether a worker that ends should be replaced at once, for the other models' sake."""
        return self._is_complete() and len(self._core.model_names()) > 1

    def _ended(self, member: Member) -> None:
        if not member.is_removed:  # if it is, its successor accepts
            for kind in range(2):
                take_off(self._board, 2 * member.slot + kind)
        if not self._is_stopping:
            self._deaths.examine(member)
        self._worker_fetches.ended(member)
        self._notes.forget(member.slot)
        self._reports.closed(member)
        self._limits.closed(member)
        self._reloads.ended(member)
        self._slots.ended(member)

    def _phase(self) -> SetPhase:
        return SetPhase(
            is_started=self._is_started or self._is_stopping,
            is_draining=self._is_stopping,
            is_settled=self._is_settled,
        )

    def _settled(self) -> None:
        self._is_settled = True
        self._group.broadcast(self._phase)

    def _clear(self, name: str) -> tuple[int, ...]:
        return tuple(id.version for id in self._isolation.clear(name))

    def _bring_in(self, name: str) -> None:
        for member in self._group.members:
            member.notify(messages.Preload(name))

    def _own_report(self) -> Report:
        facts = [WorkerFacts(m.slot, resident_bytes(m.pid) or None) for m in self._group.members]
        report = supervisor_report(
            sorted(facts, key=lambda fact: fact.slot),
            deaths=self._slots.deaths,
            reserved={} if is_lazy(self._options) else dict(self._core.reserved),
            quarantined=self._isolation.quarantined(),
        )
        families = (*self._fetches.families(), *lost_entries(self._audit_log))
        return {**report, **report_of(families)}

    # -- stop ------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._is_stopping = True
        self._renewal.stop()
        self._announcer.stop()
        if self._polling is not None:
            self._polling.stop()
        self._core.interrupt()
        self._worker_fetches.stop()
        self._group.stop()
        self._slots.stop()
        self._watchdog.stop()
        self._spare.stop()
        self._isolation.stop()
        self._metrics.stop()
        self._solo.stop()
        self._group.broadcast(self._phase)
        if self._options.drain_delay_seconds > 0 and self._group.is_open:
            time.sleep(self._options.drain_delay_seconds)
        self._ports.close()
        limit_s = self._options.drain_timeout_seconds
        self._drain_workers(limit_s)
        self._core.close(_END_S, _END_S)
        if self._polling is not None:
            self._polling.close(_END_S)
        if self._audit_log is not None:
            self._audit_log.close(_END_S)
        self._ports.remove_unix()
        self._slots.join(_END_S)
        self._tracing.close(_END_S)
        os.close(self._board_fd)
        self._limits.close()

    def _drain_workers(self, limit_s: float) -> None:
        members = self._slots.present()
        for member in members:
            if member.has_greeted:
                member.notify(messages.Drain(limit_s))
            else:  # it has nothing to lose, and is long about its imports
                member.kill()
        until_s = time.monotonic() + limit_s + _WORKER_END_S
        for member in members:
            if not member.ended.wait(max(0.0, until_s - time.monotonic())):
                _log.warning("%s does not end: it is killed", member)
                member.kill()
                member.ended.wait(_KILL_S)


def _core_options(configuration: Configuration, count: int) -> CoreOptions:
    options = core_options(configuration, num_copies=count)
    if is_lazy(configuration.options):  # each worker sees by itself to what it has in memory
        return replace(options, load=replace(options.load, max_model_memory_bytes=0))
    return options


def _listen(port: Port) -> None:
    try:
        for each in port.sockets:
            each.listen(BACKLOG)
    except OSError as error:  # somebody has begun to listen there meanwhile
        raise Unavailable(f"Failed to listen on {port.address}: {error.strerror}") from error
