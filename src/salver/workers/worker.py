"""One worker: answers requests with models of its own, as its supervisor says."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from salver.config.options import schedulable_cpus
from salver.errors import NotFound, ServingError, Unavailable
from salver.inference.servable import Servable
from salver.servable import ServableId
from salver.server.assembly import SWITCH_INTERVAL_S, Assembly, new_loop
from salver.server.history import is_history_kept
from salver.server.lazy import LazyModels, is_lazy
from salver.server.memory import freeze_at_start
from salver.server.models import core_options
from salver.server.ports import Port, Ports
from salver.threads import Pool, take_short_slices
from salver.transport.turns import Turns, open_board
from salver.workers.channel import Channel, decode, encode
from salver.workers.counts import Counts
from salver.workers.marks import Marks
from salver.workers.messages import (
    Begin,
    Close,
    Describe,
    Description,
    Drain,
    EndIsolation,
    Goodbye,
    Hello,
    InheritedPort,
    Isolate,
    Load,
    Open,
    Ping,
    Publish,
    Run,
    SetLabels,
    SetLogs,
    SetNames,
    SetPhase,
    SetStates,
    Signatures,
    Sync,
    Taken,
    TakeReading,
    Withdraw,
)
from salver.workers.waiting import when_all_done
from salver.workers.worker_core import WorkerCore

__all__ = ["run"]

_log = logging.getLogger(__name__)

R = TypeVar("R")

_RUN_THREADS: Final = 64
_LOAD_THREADS: Final = 4096  # as many as the supervisor wants; it knows how many at once
_LOG_S: Final = 2.0  # request logs get this long to write what is queued
_GOODBYE_S: Final = 2.0
_LOAD_GRACE_S: Final = 1.0  # for loads that are running, which nobody needs any more
_ORPHAN_DRAIN_S: Final = 30.0


def run(
    connection: "Connection[Any, Any]", *, on_begin: Callable[[Begin], None] = lambda _begin: None
) -> bool:
    """Serve until the supervisor says so, or is gone.

    Args:
        connection: to the supervisor, which says `Begin` first.
        on_begin: is given that.

    Returns:
        Whether everything has ended; if not, the process must not wait for its threads.
    """
    begin: Begin = decode(connection.recv_bytes())
    on_begin(begin)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    take_short_slices()
    loop = new_loop()
    try:
        return loop.run_until_complete(_serve(connection, begin))
    finally:
        loop.close()


async def _serve(connection: "Connection[Any, Any]", begin: Begin) -> bool:
    return await _Worker(connection, begin).main()


class _Worker:
    """One life of a worker. What the channel says comes in its reading thread."""

    def __init__(self, connection: "Connection[Any, Any]", begin: Begin) -> None:
        self._begin = begin
        self._ports = _ports(begin.ports)
        self._channel = Channel(
            connection, self._hear, name="salver-supervisor", on_end=self._orphaned
        )
        configuration = begin.configuration
        num_threads = max(2, schedulable_cpus() // begin.num_workers)
        self._marks: dict[ServableId, int] = {}
        marking = None
        if begin.memory is not None:
            marking = Marks(begin.memory[0], lambda id: self._marks.get(id, 0))
        self._parts = parts = Assembly(
            configuration, num_codec_threads=num_threads, marking=marking
        )
        self._marking = marking
        self._loop = parts.loop
        self._lazy = None
        if is_lazy(configuration.options):
            self._lazy = LazyModels(
                parts.loader,
                configuration.options,
                transient_load_bytes=core_options(configuration).load.transient_load_bytes,
                after_change=parts.after_change,
            )
            parts.metrics.add_collector(self._lazy.families)
        self._core = WorkerCore(
            self._channel.ask,
            lazy=self._lazy,
            meters=lambda id: parts.metrics.meter_factory(id.name, id.version),
        )
        parts.attach(self._core)
        self._counts = Counts(begin.slot, parts.metrics, self._channel, parts.loop, self._accepted)
        self._doors = parts.make_doors(
            self._core,
            draw=self._counts.draw,
            draw_history=self._counts.draw_history if is_history_kept(configuration) else None,
        )
        self._loads = Pool("salver-load", _LOAD_THREADS)
        self._logging = Pool("salver-logging", 1)
        self._runs = Pool("salver-isolated-run", _RUN_THREADS)  # of a process that serves nobody
        self._leaving: dict[ServableId, list[Future[None]]] = {}  # until no request is within
        self._loaded: dict[ServableId, Servable] = {}
        self._told_to_stop: asyncio.Future[Drain] = parts.loop.create_future()

    async def main(self) -> bool:
        """Serve, then stop; see `run`."""
        parts = self._parts
        parts.metrics.loop_lag.start(self._loop)
        self._channel.start()
        self._channel.tell(Hello())
        self._counts.start()
        drain = await self._told_to_stop
        parts.give_up()
        parts.readiness.is_draining = True
        parts.refresh_health()
        self._counts.stop()
        cut, has_ended = await parts.drain(
            self._close_models, timeout_s=drain.timeout_s, idle_s=drain.idle_s
        )
        self._channel.tell(Goodbye(self._counts.read(), cut, has_ended))
        self._channel.close(_GOODBYE_S)
        self._ports.close()  # where it never came to serving them
        return has_ended

    def _close_models(self, timeout_s: float) -> bool:
        """Unload what no request is in; in a thread."""
        has_ended = self._loads.close(min(timeout_s, _LOAD_GRACE_S))
        busy = {id for id, count in self._core.in_flight().items() if count}
        for id in self._loaded.keys() - busy:
            self._core.withdraw_if_published(id)
            self._loaded.pop(id).close()
        if self._lazy is not None:
            self._lazy.stop()
            has_ended &= self._lazy.close(timeout_s)
        return self._parts.logs.close(_LOG_S) and has_ended and not busy

    # -- what the supervisor says ----------------------------------------------------------------

    def _hear(self, message: Any) -> Any:
        match message:
            case Load() | Close() | Publish() | Withdraw() | Signatures() | Describe() | Run():
                return self._hear_of_model(message)
            case SetLogs(configs):
                return self._in(self._logging, lambda: self._parts.logs.update(configs))
            case Ping():
                turned: Future[None] = Future()
                self._loop.call_soon_threadsafe(turned.set_result, None)
                return turned
            case TakeReading():
                return self._counts.take()
            case Open():
                return asyncio.run_coroutine_threadsafe(self._open(), self._loop)
            case _:
                return self._learn(message)

    def _hear_of_model(
        self, message: Load | Close | Publish | Withdraw | Signatures | Describe | Run
    ) -> Any:
        match message:
            case Load():
                return self._in(self._loads, lambda: self._load(message))
            case Close(id):
                return self._in(self._loads, lambda: self._close(id))
            case Publish(id):
                self._core.publish(id, self._servable(id))
                self._parts.after_change()
                return None
            case Withdraw(id):
                self._withdraw(id)
                return _all_of(self._leaving.pop(id, []))
            case Signatures(id):
                # What is not in memory has none, as in one process.
                return self._servable(id).signatures if self._lazy is None else {}
            case Describe(id):
                model = self._servable(id).model
                return Description(dict(model.signatures), model.signature_def_map)
            case Run():  # pragma: no branch - the last one there is
                return self._in(self._runs, lambda: self._run(message))

    def _learn(self, message: Any) -> None:
        match message:
            case SetLabels(labels, moving):
                self._core.assign_labels(labels, moving)
            case SetNames(names, applied):
                self._core.set_names(names, applied)
            case Taken(number):
                self._core.taken(number)
            case SetStates():
                self._core.set_states(message)
            case Isolate(id):
                self._core.isolated.set(message)
                self._withdraw(id)
            case EndIsolation(id, is_published):
                self._end_isolation(id, is_published=is_published)
            case SetPhase():
                self._loop.call_soon_threadsafe(self._set_phase, message)
            case Drain():
                self._loop.call_soon_threadsafe(self._drain, message)
            case Sync():
                pass
            case _:
                raise Unavailable(f"A worker knows nothing of {type(message).__name__}")

    def _set_phase(self, phase: SetPhase) -> None:
        readiness = self._parts.readiness
        if phase.is_started and not readiness.is_started:
            freeze_at_start()
        readiness.is_started = phase.is_started
        readiness.is_draining = phase.is_draining
        self._parts.refresh_health()

    def _drain(self, drain: Drain) -> None:
        if not self._told_to_stop.done():
            self._told_to_stop.set_result(drain)

    def _orphaned(self) -> None:
        """The supervisor is gone: answer what was asked, and end."""
        if self._loop.is_closed():
            return
        timeout_s = self._begin.configuration.options.drain_timeout_seconds
        self._loop.call_soon_threadsafe(self._drain, Drain(min(timeout_s, _ORPHAN_DRAIN_S)))

    async def _open(self) -> None:
        slots = range(self._begin.num_workers)
        board = open_board(self._begin.board)
        grpc, rest = (
            Turns(board, 2 * self._begin.slot + kind, [2 * slot + kind for slot in slots])
            for kind in range(2)
        )
        await self._doors.serve(self._ports, is_shared=True, turns=(grpc, rest))

    # -- models ----------------------------------------------------------------------------------

    def _withdraw(self, id: ServableId) -> None:
        """Answer by a version no more, if it is so; `_leaving` says when no request is within."""
        if self._core.is_published(id):
            drained: Future[None] = Future()
            self._leaving.setdefault(id, []).append(drained)
            self._core.withdraw(id, lambda: drained.set_result(None))

    def _end_isolation(self, id: ServableId, *, is_published: bool) -> None:
        if is_published and id in self._loaded and not self._core.is_published(id):
            self._core.publish(id, self._loaded[id])
        self._core.isolated.end(id)
        if id not in self._loaded:
            self._parts.metrics.forget(id.name, id.version)

    def _run(self, run: Run) -> bytes:
        model = self._servable(run.id).model
        program = model.program(run.feeds, run.fetches, run.targets)
        return encode(program.run(decode(run.arrays)))

    def _load(self, load: Load) -> None:
        self._marks[load.id] = load.mark
        make = self._parts.loader if self._lazy is None or load.is_alone else self._lazy
        self._loaded[load.id] = make(load.platform, load.id, load.path)
        self._counts.noted()

    def _close(self, id: ServableId) -> None:
        servable = self._loaded.pop(id, None)
        if servable is not None:
            with nullcontext() if self._marking is None else self._marking.loading(id):
                servable.close()
            self._counts.noted()
            self._parts.after_change()

    def _servable(self, id: ServableId) -> Servable:
        servable = self._loaded.get(id)
        if servable is None:
            raise NotFound(f"A worker has not loaded {id}")
        return servable

    def _accepted(self) -> int:
        return self._doors.accepted

    @staticmethod
    def _in(pool: Pool, do: Callable[[], R]) -> "Future[R]":
        done: Future[R] = Future()

        def work() -> None:
            try:
                result = do()
            except ServingError as error:
                error.__traceback__ = error.__cause__ = error.__context__ = None
                done.set_exception(error)
            except BaseException as error:  # noqa: BLE001 - handed to the supervisor
                done.set_exception(error)
            else:
                done.set_result(result)

        pool.submit(work)
        return done


def _all_of(futures: "Sequence[Future[None]]") -> "Future[None]":
    """A future that is done when all are, which do not fail."""
    done: Future[None] = Future()
    when_all_done(futures, lambda: done.set_result(None))
    return done


def _ports(inherited: Mapping[str, InheritedPort]) -> Ports:
    ports = {
        name: Port(port.address, tuple(socket.socket(fileno=fd) for fd in port.descriptors))
        for name, port in inherited.items()
    }
    for port in ports.values():
        for each in port.sockets:
            each.setblocking(False)
    return Ports(ports.get("rest"), ports.get("grpc"), ports.get("unix"))
