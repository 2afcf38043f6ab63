"""One worker: answers requests with models of its own, as its supervisor says."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

from salver.access.limits import Limits
from salver.config.model_options import LoadSettings
from salver.config.options import schedulable_cpus
from salver.errors import NotFound, ServingError, Unavailable
from salver.inference.servable import Servable
from salver.instruments.files import scheme_of
from salver.instruments.log_level import set_log_level
from salver.instruments.threads import Pool, take_short_slices
from salver.lifecycle.attempt import Local
from salver.management.lazy import LazyModels, is_lazy
from salver.server.assembly import SWITCH_INTERVAL_S, Assembly, new_loop
from salver.server.history import is_history_kept
from salver.server.memory import freeze_at_start
from salver.server.models import core_options
from salver.server.ports import Port, Ports
from salver.tracing.sampling import Sampling
from salver.tracing.slow import newest
from salver.transport.turns import Turns, open_board
from salver.vocabulary.access import Actor
from salver.vocabulary.servable import ServableId
from salver.workers import messages
from salver.workers.channel import Channel, decode, encode
from salver.workers.file_messages import FetchProgress
from salver.workers.futures import in_pool, when_all_done
from salver.workers.limit_columns import open_table
from salver.workers.marks import Marks
from salver.workers.messages import Begin, Drain, InheritedPort
from salver.workers.remote_files import RemoteFiles
from salver.workers.reporting import MetricsReporter
from salver.workers.worker_core import WorkerCore

__all__ = ["run"]

_log = logging.getLogger(__name__)

_RUN_THREADS: Final = 64
_LOAD_THREADS: Final = 4096  # as many as the supervisor asks for; it limits how many run at once
_LOG_S: Final = 2.0  # request logs get this long to write what is queued
_OTHERS_S: Final = 2.0  # the supervisor answers sooner, without those who do not answer it
_GOODBYE_S: Final = 2.0
_LOAD_GRACE_S: Final = 1.0  # for loads that are running, which are needed no more
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
    """One run of a worker. Messages come in the reading thread of the channel."""

    def __init__(self, connection: "Connection[Any, Any]", begin: Begin) -> None:
        self._begin = begin
        self._ports = _ports(begin.ports)
        self._channel = Channel(
            connection, self._handle, name="salver-supervisor", on_end=self._orphaned
        )
        configuration = begin.configuration
        num_threads = max(2, schedulable_cpus() // begin.num_workers)
        self._mark_of: dict[ServableId, int] = {}
        self._marking = None
        if begin.memory is not None:
            self._marking = Marks(begin.memory[0], lambda id: self._mark_of.get(id, 0))
        self._parts = parts = Assembly(
            configuration,
            num_codec_threads=num_threads,
            marking=self._marking,
            limits=Limits(open_table(begin.limits)),
            who=f"worker {begin.slot}",
        )
        self._loop = parts.loop
        self._files = RemoteFiles(
            self._channel.request,
            self._channel.notify,
            are_sums_demanded=bool(
                configuration.options.require_manifest
                or configuration.options.manifest_public_key_file
            ),
        )
        self._locals: dict[ServableId, Local] = {}  # of what is loaded at once
        self._lazy = None
        if is_lazy(configuration.options):
            self._lazy = LazyModels(
                parts.loader,
                configuration.options,
                transient_load_bytes=core_options(configuration).load.transient_load_bytes,
                fetcher=self._files,
                look=self._files.look,
                after_change=parts.after_change,
            )
            parts.metrics.add_collector(self._lazy.families)
        self._core = WorkerCore(
            self._channel.request,
            notify=self._channel.notify,
            lazy=self._lazy,
            meters=lambda id: parts.metrics.meter_factory(id.name, id.version),
        )
        parts.attach(self._core, on_settled=lambda: self._channel.notify(messages.Settled()))
        self._reporter = MetricsReporter(
            *(begin.slot, parts.metrics, self._channel, parts.loop),
            accepted=lambda: self._servers.accepted,
        )
        self._servers = parts.make_servers(
            self._core,
            draw=self._reporter.draw,
            draw_history=self._reporter.draw_history if is_history_kept(configuration) else None,
            read_all=self._reporter.read_all,
            set_log_level=self._set_log_level,
            administer=self._core.administer,
            tell_slow=self._tell_slow,
            set_sampling=self._set_sampling,
        )
        self._loads = Pool("salver-load", _LOAD_THREADS)
        self._logging = Pool("salver-logging", 1)
        self._runs = Pool("salver-isolated-run", _RUN_THREADS)  # of a process without clients
        self._draining: dict[ServableId, list[Future[None]]] = {}  # until no request is within
        self._loaded: dict[ServableId, Servable] = {}
        self._drain: asyncio.Future[Drain] = parts.loop.create_future()
        self._handlers = self._table()

    async def main(self) -> bool:
        """Serve, then stop; see `run`."""
        parts = self._parts
        parts.metrics.loop_lag.start(self._loop)
        self._channel.start()
        self._channel.notify(messages.Hello())
        self._reporter.start()
        drain = await self._drain
        parts.give_up()
        parts.readiness.is_draining = True
        parts.refresh_health()
        self._reporter.stop()
        cut, has_ended = await parts.drain(
            self._close_models, timeout_s=drain.timeout_s, idle_s=drain.idle_s
        )
        self._channel.notify(messages.Goodbye(self._reporter.read(), cut, has_ended))
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
            self._lazy.residency.stop()
            has_ended &= self._lazy.residency.close(timeout_s)
        return self._parts.logs.close(_LOG_S) and has_ended and not busy

    # -- messages of the supervisor --------------------------------------------------------------

    def _handle(self, message: Any) -> Any:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Unavailable(f"A worker knows nothing of {type(message).__name__}")
        return handler(message)

    def _table(self) -> Mapping[type, Callable[[Any], Any]]:
        core, on_loop = self._core, self._loop.call_soon_threadsafe
        return {
            messages.Load: lambda m: in_pool(self._loads, partial(self._load, m)),
            messages.Close: lambda m: in_pool(self._loads, partial(self._close, m.id)),
            messages.Publish: lambda m: self._publish(m.id),
            messages.Withdraw: lambda m: self._withdrawn(m.id),
            # What is not in memory has no signatures, as in one process.
            messages.Signatures: lambda m: (
                self._servable(m.id).signatures if not self._lazy else {}
            ),
            messages.IsInUse: lambda m: (
                self._lazy is not None and self._lazy.residency.is_in_use(m.name)
            ),
            messages.Preload: self._bring_in,
            FetchProgress: lambda m: self._files.progress(m.number, m.done_bytes),
            messages.Describe: lambda m: self._describe(m.id),
            messages.Run: lambda m: in_pool(self._runs, partial(self._run, m)),
            messages.SetLogs: lambda m: in_pool(
                self._logging, partial(self._parts.logs.update, m.configs)
            ),
            messages.Ping: lambda _: asyncio.run_coroutine_threadsafe(_turn(), self._loop),
            messages.TakeSlow: lambda _: self._parts.tell_slow(),
            messages.TakeReading: lambda _: self._reporter.take(),
            messages.Open: lambda _: asyncio.run_coroutine_threadsafe(self._open(), self._loop),
            messages.Sync: lambda _: None,
            messages.SetLabels: lambda m: core.assign_labels(m.labels, m.moving),
            messages.SetNames: self._configure,
            messages.SetStates: core.set_states,
            messages.SetLogLevel: lambda m: set_log_level(m.level),
            messages.SetSampling: lambda m: self._parts.sample(m.sampling),
            messages.Taken: lambda m: core.taken(m.number),
            messages.Isolate: self._isolate,
            messages.EndIsolation: self._end_isolation,
            messages.SetPhase: lambda m: on_loop(self._set_phase, m),
            messages.Drain: lambda m: on_loop(self._begin_drain, m),
        }

    def _bring_in(self, wanted: messages.Preload) -> None:
        if self._lazy is not None:
            self._lazy.bring_in(wanted.name)

    def _configure(self, configured: messages.SetNames) -> None:
        self._core.set_names(
            configured.names, configured.applied, configured.unloaded, configured.configured
        )
        self._parts.loader.limit(configured.configured)

    def _set_phase(self, phase: messages.SetPhase) -> None:
        readiness = self._parts.readiness
        if phase.is_started and not readiness.is_started:
            freeze_at_start()
        readiness.is_started = phase.is_started
        readiness.is_draining = phase.is_draining
        readiness.is_settled |= phase.is_settled
        if phase.is_started:
            readiness.start()
        if phase.is_draining:
            self._servers.end_connections()
        self._parts.refresh_health()

    def _set_log_level(self, level: int, actor: Actor) -> None:
        """Have all processes log from a level up; waits for them."""
        self._channel.request(messages.SetLogLevel(level, actor)).result()

    def _set_sampling(self, sampling: Sampling, actor: Actor) -> None:
        """Have all workers trace such requests; waits for them."""
        self._channel.request(messages.SetSampling(sampling, actor)).result()

    def _tell_slow(self) -> "list[Mapping[str, Any]]":
        """What all workers tell of slow requests; without those that do not answer in time."""
        others: list[list[Mapping[str, Any]]] = []
        with suppress(ServingError, TooLate):
            others = self._channel.request(messages.TellSlow()).result(_OTHERS_S)
        return newest([self._parts.tell_slow(), *others])

    def _begin_drain(self, drain: Drain) -> None:
        if not self._drain.done():
            self._drain.set_result(drain)

    def _orphaned(self) -> None:
        """The supervisor is gone: answer the requests there are, and end."""
        if self._loop.is_closed():
            return
        timeout_s = self._begin.configuration.options.drain_timeout_seconds
        self._loop.call_soon_threadsafe(self._begin_drain, Drain(min(timeout_s, _ORPHAN_DRAIN_S)))

    async def _open(self) -> None:
        slots = range(self._begin.num_workers)
        board = open_board(self._begin.board)
        grpc, rest = (
            Turns(board, 2 * self._begin.slot + kind, [2 * slot + kind for slot in slots])
            for kind in range(2)
        )
        await self._servers.serve(self._ports, is_shared=True, turns=(grpc, rest))

    # -- models ----------------------------------------------------------------------------------

    def _load(self, load: messages.Load) -> None:
        self._mark_of[load.id] = load.mark
        if self._lazy is None or load.is_alone:
            settings, directory = self._present(load)
            self._loaded[load.id] = self._parts.loader(settings, load.id, directory)
        else:
            if scheme_of(load.path):
                self._files.find(load.path)
            self._loaded[load.id] = self._lazy(load.settings, load.id, load.path)
        self._reporter.noted()

    def _present(self, load: messages.Load) -> tuple[LoadSettings, str]:
        """How and from where a version is loaded at once; fetched, if nobody has yet."""
        if load.settings.origin or not is_lazy(self._begin.configuration.options):
            return load.settings, load.path
        if self._files.lane(load.path) is None:
            return load.settings, load.path
        local = self._files.fetch(load.id.version, load.path, _Stage())
        self._locals[load.id] = local
        return replace(load.settings, origin=load.path), local.directory

    def _close(self, id: ServableId) -> None:
        servable = self._loaded.pop(id, None)
        if servable is not None:
            with nullcontext() if self._marking is None else self._marking.loading(id):
                servable.close()
            if (local := self._locals.pop(id, None)) is not None:
                local.close()
            self._reporter.noted()
            self._parts.after_change()

    def _servable(self, id: ServableId) -> Servable:
        servable = self._loaded.get(id)
        if servable is None:
            raise NotFound(f"A worker has not loaded {id}")
        return servable

    def _publish(self, id: ServableId) -> None:
        self._core.serving.publish(id, self._servable(id))
        self._parts.after_change()

    def _withdraw(self, id: ServableId) -> None:
        """Answer by a version no more, if it is so; `_draining` says when no request is within."""
        if self._core.is_published(id):
            drained: Future[None] = Future()
            self._draining.setdefault(id, []).append(drained)
            self._core.serving.withdraw(id, lambda: drained.set_result(None))

    def _withdrawn(self, id: ServableId) -> "Future[None]":
        """The same; done when no request is within."""
        self._withdraw(id)
        done: Future[None] = Future()
        when_all_done(self._draining.pop(id, []), lambda: done.set_result(None))
        return done

    def _describe(self, id: ServableId) -> messages.Description:
        servable = self._servable(id)
        model = servable.model
        names = None if model.graph is None else model.graph.names
        info = replace(servable.report(), signatures=dict(model.signatures))
        return messages.Description(info, names)

    def _run(self, run: messages.Run) -> bytes:
        model = self._servable(run.id).model
        feeds, fetches, targets, signature_name = run.names
        if signature_name:
            program = model.program(signature_name, fetches)
        else:
            assert model.graph is not None  # where else could these be names of
            program = model.graph.program(feeds, fetches, targets)
        return encode(program.run(decode(run.arrays)))

    def _isolate(self, notice: messages.Isolate) -> None:
        self._core.isolated.set(notice)
        self._withdraw(notice.id)

    def _end_isolation(self, end: messages.EndIsolation) -> None:
        id = end.id
        if end.is_published and id in self._loaded and not self._core.is_published(id):
            self._core.serving.publish(id, self._loaded[id])
        self._core.isolated.end(id)
        if id not in self._loaded:
            self._parts.metrics.forget(id.name, id.version)


class _Stage:
    """Of a fetch that goes on as long as the process does."""

    def check(self) -> None: ...

    def progress(self, done_bytes: int) -> None: ...

    def wait(self, seconds: float) -> None: ...


async def _turn() -> None:
    """A turn of the loop."""


def _ports(inherited: Mapping[str, InheritedPort]) -> Ports:
    ports = {
        name: Port(port.address, tuple(socket.socket(fileno=fd) for fd in port.descriptors))
        for name, port in inherited.items()
    }
    for port in ports.values():
        for each in port.sockets:
            each.setblocking(False)
    return Ports(is_given=False, **ports)
