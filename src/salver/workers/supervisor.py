"""The process above the workers: binds the ports, decides about models, keeps workers alive.

It loads no model itself. The main thread waits for what happens, one thing after the other:
signals above all.
"""

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from salver.config.models import ModelConfig
from salver.config.options import ServeMode, ServerOptions, schedulable_cpus
from salver.config.start_up import Configuration, check_readable_again, read_configuration
from salver.errors import Cancelled, ServingError, Unavailable
from salver.metrics.merged import Report, merge
from salver.notices import NOTICE
from salver.servable import ServableId
from salver.server.announcing import ANNOUNCE_AFTER_S, Announcer
from salver.server.config_polling import make_config_polling
from salver.server.core import CoreOptions, ServerCore
from salver.server.history import make_history
from salver.server.lazy import is_lazy
from salver.server.models import core_options
from salver.server.ports import Port, Ports, bind_ports, rest_url_of, tell_where
from salver.server.waits import Superseded
from salver.transport.listeners import BACKLOG
from salver.transport.turns import make_board, open_board, take_off
from salver.workers.crew import Crew
from salver.workers.endings import Endings
from salver.workers.everywhere import BroadcastMap, load_everywhere
from salver.workers.isolation import Isolation
from salver.workers.keeping import Keeper
from salver.workers.ledger import Ledger, WorkerFacts, supervisor_report
from salver.workers.member import Member
from salver.workers.messages import (
    Apply,
    ClearQuarantine,
    Drain,
    Leave,
    Reading,
    Recall,
    RunIsolated,
    Scrape,
    SetNames,
    SetPhase,
    SetStates,
    TakeReading,
)
from salver.workers.reloads import Reloads
from salver.workers.remembering import Remembering
from salver.workers.shares import share_of_worker
from salver.workers.spare import Spare
from salver.workers.spawning import Preparation, Prepared, Spawner
from salver.workers.trial import try_alone
from salver.workers.watch import Watch

__all__ = ["run"]

_log = logging.getLogger(__name__)

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LOOK_S: Final = 1.0
_SCRAPE_S: Final = 0.5  # a worker that does not tell its counts sooner has told the last ones
_IDLE_S: Final = 5.0  # of connections to a worker that is replaced
_END_S: Final = 1.0  # for what has nothing left to wait for
_WORKER_END_S: Final = 8.0  # of a worker, beside its drain: models, logs, the process
_KILL_S: Final = 2.0

Event = Callable[[], None]


def run(
    options: ServerOptions,
    models: tuple[ModelConfig, ...] | None = None,
    *,
    mode: ServeMode | None = None,
    command: Sequence[str],
) -> bool:
    """Serve by several processes until told to stop by SIGTERM or SIGINT.

    SIGHUP replaces the workers one by one, with what the files that flags name say by then.

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

    def read() -> Configuration:
        return read_configuration(share_of_worker(options, count), models)

    _Supervisor(read, count, mode or ServeMode(), command).main()
    return True


class _Supervisor:
    """One life of the server."""

    def __init__(
        self,
        read: Callable[[], Configuration],
        count: int,
        mode: ServeMode,
        command: Sequence[str],
    ) -> None:
        self._read = read
        self._configuration = configuration = read()
        self._options = configuration.options
        self._count = count
        self._mode = mode
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._has_heard = False  # of the first signal to stop
        self._is_stopping = False
        self._renewing: threading.Thread | None = None
        self._is_to_renew_again = False
        self._trials: set[Member] = set()
        self._ledger = Ledger()
        self._crew = Crew(self._try_alone, load_timeout_s=self._options.load_timeout_seconds)
        self._serving = BroadcastMap(self._crew)
        self._core = ServerCore(
            self._load,
            configuration.platforms,
            _core_options(configuration, count),
            serving=self._serving,
            on_status=self._status_changed,
            on_configured=self._tell_names,
            update_logs=self._crew.set_logs,
            abandon=self._abandon,
        )
        self._reloads = Reloads(self._core.apply, self._tell_reloaded)
        self._announcer = Announcer(self._core, configuration, mode)
        self._polling = make_config_polling(self._options, self._core)
        self._ports = Ports()
        self._board_fd = make_board(2 * count)
        self._board = open_board(self._board_fd)
        self._command = command
        self._spawner: Spawner | None = None
        self._isolation = Isolation(
            self._crew,
            self._core,
            self._start_alone,
            is_complete=lambda: len(self._crew.members) >= count,
        )
        self._endings = Endings(self._crew, self._ledger, self._isolation)
        self._keeper = Keeper(self._crew, self._spawn, count, self._lose)
        self._watch = Watch(self._keeper.present)
        self._spare = Spare(self._prepare_spare, self._wants_spare)
        history = make_history(configuration)
        self._remembering = None if history is None else Remembering(history, self._all_counts)

    def main(self) -> None:
        """Start, serve, stop; see `run`."""
        before = {number: signal.getsignal(number) for number in (*_STOP_SIGNALS, signal.SIGHUP)}
        for number in _STOP_SIGNALS:
            signal.signal(number, self._hear_stop)
        signal.signal(signal.SIGHUP, self._hear_renew)
        try:
            self._start()
            while not self._is_stopping:
                self._attend()
        except Cancelled:  # told to stop while it started
            _log.info("Stopped before the models were loaded")
        finally:
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- start -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self._ports = bind_ports(
            self._configuration,
            is_rest_needed=self._mode.exit_on_bind_failure,
            is_grpc_needed=not self._mode.tolerate_taken_grpc_port,
            is_listening=False,
        )
        self._spawner = Spawner(
            self._command,
            self._configuration,
            self._ports,
            num_workers=self._count,
            board=self._board_fd,
            handle=self._handle,
        )
        self._announcer.start()
        self._keeper.start()
        self._watch.start()
        if self._remembering is not None:
            self._remembering.start()
        is_open_first = self._options.open_ports_before_load
        self._in_thread(self._keeper.wait_until_up)
        if is_open_first:
            self._open()
        self._in_thread(self._apply)
        if self._mode.tolerate_failed_models:
            self._in_thread(self._settle)
        self._crew.is_careful = True
        self._crew.set_phase(SetPhase(is_started=True))
        if not is_open_first:
            self._open()
        if self._polling is not None:
            self._polling.start()
        self._spare.start()
        _log.info("%d workers serve", self._count)
        url = rest_url_of(self._ports, self._configuration)
        self._announcer.opened(url, self._ports.grpc_addresses)

    def _open(self) -> None:
        for port in (self._ports.grpc, self._ports.unix, self._ports.rest):
            if port is not None:
                _listen(port)
        tell_where(self._ports, self._options, has_profiler=self._options.enable_profiler)
        self._crew.open()

    def _apply(self) -> None:
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

    def _in_thread(self, call: Callable[[], None]) -> None:
        """Run what waits for others, while this thread attends to signals."""
        done: Future[None] = Future()

        def work() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised below
                done.set_exception(error)
            else:
                done.set_result(None)
            self._events.put(lambda: None)

        threading.Thread(target=work, name="salver-start", daemon=True).start()
        while not done.done():
            self._attend()
            if self._is_stopping:
                raise Cancelled("The server was told to stop while it started")
        done.result()

    def _attend(self) -> None:
        """Do what is to be done next, if something comes within a while.

        No longer, since the system may hand a signal to another thread, which does not wake this
        one; and only this one runs Python's handlers.
        """
        with suppress(queue.Empty):
            self._events.get(timeout=_LOOK_S)()

    # -- signals ---------------------------------------------------------------------------------

    def _hear_stop(self, number: int, _frame: object) -> None:
        if self._has_heard:
            self._end_at_once(number)
        self._has_heard = True
        self._events.put(lambda: self._told_to_stop(signal.Signals(number)))

    def _hear_renew(self, _number: int, _frame: object) -> None:
        self._events.put(self._renew)

    def _told_to_stop(self, number: signal.Signals) -> None:
        _log.log(NOTICE, "%s: draining. A second signal ends at once.", number.name)
        self._is_stopping = True

    def _end_at_once(self, number: int) -> None:
        for member in (*self._keeper.present(), *tuple(self._trials)):
            with suppress(OSError):
                member.kill()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _renew(self) -> None:
        if self._renewing is not None and self._renewing.is_alive():
            _log.info("SIGHUP: the workers will be replaced again when they have been")
            self._is_to_renew_again = True
            return
        self._is_to_renew_again = False
        try:
            check_readable_again(self._options)
            configuration = self._read()
        except ServingError as error:
            _log.error("SIGHUP: the workers stay as they are: %s", error.message)
            return
        _log.info("SIGHUP: replacing the workers one by one")
        assert self._spawner is not None
        self._spawner.configuration = configuration
        self._renewing = threading.Thread(target=self._replace, name="salver-renew", daemon=True)
        self._renewing.start()

    def _replace(self) -> None:
        self._isolation.clear()
        timeout_s = self._options.drain_timeout_seconds
        if self._keeper.renew(idle_s=_IDLE_S, timeout_s=timeout_s):
            _log.info("All workers have been replaced")
        self._events.put(self._renewed)

    def _renewed(self) -> None:
        assert self._renewing is not None
        self._renewing.join()
        if self._is_to_renew_again:
            self._renew()

    # -- models ----------------------------------------------------------------------------------

    def _load(self, platform: str, id: ServableId, path: str) -> Any:
        return load_everywhere(self._crew, platform, id, path, self._ledger.forget)

    def _abandon(self, id: ServableId) -> None:
        """Let go of a load that does not return: its thread ends with its process alone."""
        stuck = self._crew.abandon(id)
        for trial in tuple(self._trials):
            if id in trial.loading:
                trial.kill("killed, as a load in it did not return")
        if stuck and self._options.load_timeout_seconds:  # else nobody has asked for it
            threading.Thread(
                target=self._replace_stuck, args=(id, stuck), name="salver-renew", daemon=True
            ).start()

    def _replace_stuck(self, id: ServableId, stuck: Sequence[Member]) -> None:
        for member in stuck:
            _log.warning("%s is to be replaced: its load of %s does not return", member, id)
        self._keeper.replace(stuck, idle_s=_IDLE_S, timeout_s=self._options.drain_timeout_seconds)

    def _lose(self, id: ServableId, error: ServingError) -> bool:
        if not self._crew.lose(id):
            return False
        self._serving.lose(id)
        self._core.lost(id, error)
        return True

    def _status_changed(self, name: str) -> None:
        self._tell_states(name)
        self._announcer.changed(name)

    def _tell_states(self, name: str) -> None:
        self._crew.set_states(name, lambda: SetStates(name, *self._core.states(name)))

    def _tell_names(self) -> None:
        self._crew.set_names(SetNames(self._core.model_names(), self._core.applied))

    # -- processes -------------------------------------------------------------------------------

    def _preparation(self) -> Preparation:
        models = self._configuration.models or ()
        base_paths = tuple(model.base_path for model in models)
        return base_paths, self._options.prefer_tflite_model

    def _spawn(self, slot: int) -> Member:
        assert self._spawner is not None
        member = self._spawner(
            slot, self._preparation(), on_end=self._ended, prepared=self._spare.take()
        )
        self._ledger.opened(member)
        return member

    def _prepare_spare(self) -> Prepared:
        assert self._spawner is not None
        return self._spawner.prepare(self._preparation(), "spare")

    def _wants_spare(self) -> bool:
        """Whether a worker that ends should be replaced at once, for the other models' sake."""
        has_all = len(self._crew.members) >= self._count
        return has_all and len(self._core.model_names()) > 1

    def _ended(self, member: Member) -> None:
        if not member.is_removed:  # if it is, its successor accepts
            for kind in range(2):
                take_off(self._board, 2 * member.slot + kind)
        if not self._is_stopping:
            self._endings.examine(member)
        self._ledger.closed(member)
        self._reloads.ended(member)
        self._keeper.ended(member)

    def _start_alone(self, on_end: Callable[[Member], None]) -> Member:
        """Start a process that is to serve nobody."""
        assert self._spawner is not None

        def ended(member: Member) -> None:
            self._trials.discard(member)
            on_end(member)

        member = self._spawner(self._count, self._preparation(), on_end=ended)
        self._trials.add(member)
        if self._is_stopping:
            member.kill()
        return member

    def _try_alone(self, platform: str, id: ServableId, path: str) -> None:
        assert self._spawner is not None
        member = self._spawner(self._count, self._preparation())
        _log.warning("A worker died while it was loading %s: trying that alone", id)
        self._trials.add(member)
        if self._is_stopping:
            member.kill()
        try:
            try_alone(member, platform, id, path)
        finally:
            self._trials.discard(member)

    # -- what workers say ------------------------------------------------------------------------

    def _handle(self, member: Member, message: Any) -> Any:
        match message:
            case Reading():
                self._ledger.put(member, message)
                return None
            case Scrape(reading):
                self._ledger.put(member, reading)
                return self._answer_in_thread("salver-scrape", lambda: self._others(member))
            case RunIsolated(run):
                return self._isolation.run(run)
            case ClearQuarantine(name):
                return self._answer_in_thread("salver-clear", lambda: self._clear(name))
            case Recall(reading):
                self._ledger.put(member, reading)
                return self._answer_in_thread("salver-recall", self._recall)
            case Apply():
                return self._reloads.begin(member, message)
            case Leave():
                self._reloads.left(member, message)
                return None
            case _:
                raise Unavailable(f"A supervisor knows nothing of {type(message).__name__}")

    def _clear(self, name: str) -> tuple[int, ...]:
        return tuple(id.version for id in self._isolation.clear(name))

    def _others(self, asking: Member) -> list[Report]:
        """What everybody else has counted."""
        # Those that leave still answer requests, and those that come load models.
        there = (m for m in self._keeper.present() if m.has_greeted and m is not asking)
        asked = {m.ask(TakeReading()): m for m in there}
        done, _ = wait(asked, _SCRAPE_S)
        for answer in done:
            if answer.exception() is None:
                self._ledger.put(asked[answer], answer.result())
        return [*self._ledger.others(asking), self._own_report()]

    def _own_report(self) -> Report:
        facts = [WorkerFacts(m.slot, _resident_bytes(m.pid)) for m in self._crew.members]
        return supervisor_report(
            sorted(facts, key=lambda fact: fact.slot),
            deaths=self._keeper.deaths,
            reserved={} if is_lazy(self._options) else dict(self._core.reserved),
            quarantined=self._isolation.quarantined(),
        )

    def _all_counts(self) -> Report:
        """What everybody has counted, as far as they have told: a second ago at most."""
        return merge([*self._ledger.others(None), self._own_report()])

    def _recall(self) -> bytes:
        if self._remembering is None:
            raise Unavailable("Nothing is remembered here")
        return self._remembering.document()

    def _tell_reloaded(self) -> None:
        """A configuration whose models do not load is in effect all the same."""
        self._tell_names()
        self._crew.sync()

    @staticmethod
    def _answer_in_thread(name: str, call: Callable[[], Any]) -> "Future[Any]":
        answer: Future[Any] = Future()

        def work() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - handed to the worker
                answer.set_exception(error)
            else:
                answer.set_result(result)

        threading.Thread(target=work, name=name, daemon=True).start()
        return answer

    # -- stop ------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._is_stopping = True
        self._announcer.stop()
        if self._polling is not None:
            self._polling.stop()
        self._core.interrupt()
        self._crew.stop()
        self._keeper.stop()
        self._watch.stop()
        self._spare.stop()
        self._isolation.stop()
        if self._remembering is not None:
            self._remembering.stop()
        for trial in tuple(self._trials):
            trial.kill()
        self._crew.set_phase(SetPhase(is_started=True, is_draining=True))
        if self._options.drain_delay_seconds > 0 and self._crew.is_open:
            time.sleep(self._options.drain_delay_seconds)
        self._ports.close()
        limit_s = self._options.drain_timeout_seconds
        self._drain_workers(limit_s)
        self._core.close(_END_S, _END_S)
        if self._polling is not None:
            self._polling.close(_END_S)
        self._ports.remove_unix()
        self._keeper.join(_END_S)
        os.close(self._board_fd)

    def _drain_workers(self, limit_s: float) -> None:
        members = self._keeper.present()
        for member in members:
            if member.has_greeted:
                member.tell(Drain(limit_s))
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


def _resident_bytes(pid: int, proc: Path = Path("/proc")) -> int | None:
    try:
        fields = (proc / str(pid) / "statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
