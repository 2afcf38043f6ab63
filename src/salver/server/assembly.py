"""What every process that serves is made of, whoever decides which models it has.

A server of one process is this and a `ServerCore`; a worker is this and the copies of what its
supervisor's core says.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from salver.access.limits import Limits
from salver.children.model import Children
from salver.codecs.protobuf.signature_def import definitions_of
from salver.config.options import schedulable_cpus
from salver.config.start_up import Configuration
from salver.instruments.machine import resident_bytes
from salver.instruments.threads import VERY_LARGE_BYTES
from salver.management.loading import Loader, Marking
from salver.management.readiness import ConfiguredModels, Readiness
from salver.management.warming import Warming, service_maker
from salver.metrics.registry import Metrics
from salver.request_log.loggers import RequestLogs
from salver.request_log.options import options_of
from salver.scheduling.run_pool import RunPool
from salver.server.history import Recorder, make_history
from salver.server.memory import Settling
from salver.server.metering import child_families, run_families
from salver.server.models import run_threads
from salver.server.spare_memory import SpareMemory
from salver.server.tracing import make_tracing
from salver.tracing.sampling import Sampling
from salver.vocabulary.access import Principal, Verb
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

if TYPE_CHECKING:
    from salver.access.guard import Guard
    from salver.peers.assembling import Peers
    from salver.protocols.administration import Administer
    from salver.protocols.api import (
        DrawPage,
        IsShown,
        Models,
        ReadReport,
        SetLogLevel,
        SetSampling,
        TellSlow,
    )
    from salver.server.api_servers import ApiServers
    from salver.transport.in_flight import MemoryInFlight

__all__ = ["SWITCH_INTERVAL_S", "Assembly", "ServedCore", "new_loop"]

_log = logging.getLogger(__name__)

SWITCH_INTERVAL_S: Final = 0.0002
"""How long a thread that computes in Python may keep the loop waiting for the GIL. One small run
beside one busy thread took 86 µs with the default of 5 ms and 26 µs with this."""

_LONG_TO_RENDER_BYTES: Final = 1 << 14  # of signatures; 2 ms as JSON
_TRACES_S: Final = 2.0  # spans get this long to reach their collector
_UNLOAD_S: Final = 2.0  # models get this long to unload though the drain has used up its time

R = TypeVar("R")


class ServedCore(ConfiguredModels, Protocol):
    """What is asked of the models here, beside what the APIs ask."""

    def note(self, id: ServableId, text: str | None) -> None: ...
    def is_available(self, request: ServableRequest) -> bool: ...
    def labels(self, name: str) -> Mapping[str, int]: ...
    def name_only(self, is_named: Callable[[str], bool]) -> None: ...


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest loop there is."""
    with suppress(ImportError):  # not for every platform
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()


class Assembly:
    """Pools, counters, logs, what loads and what answers. Belongs to the loop it is made in.

    Attributes:
        loop: that one.
        metrics: of this process.
        tracing: of this process.
        logs: of requests.
        loader: loads versions.
        readiness: what `/healthz/ready` says; from `attach` on.
        servers: from `make_servers` on.
    """

    readiness: Readiness

    def __init__(
        self,
        configuration: Configuration,
        *,
        num_codec_threads: int | None = None,
        marking: Marking | None = None,
        limits: Limits | None = None,
        who: str = "",
    ) -> None:
        """Make all that needs no models.

        Args:
            configuration: the flags.
            num_codec_threads: that read and write large bodies; by default one per CPU.
            marking: see there.
            limits: of those who ask; None where this is the only process that answers them.
            who: this process among those of the server, as traces name it.
        """
        self.loop = asyncio.get_running_loop()
        self._settling = Settling()
        self._changing = threading.Lock()
        self._configuration = configuration
        self._options = configuration.options
        self.tracing = make_tracing(self._options, who=who)
        threads = run_threads(configuration)
        self._limits = limits or Limits()
        self._runs = RunPool(
            threads,
            most_running_per_lane=self._options.max_concurrent_runs_per_model
            or max(1, threads // 2),
            most_queued_per_lane=self._options.max_queued_runs_per_model or None,
            tracer=self.tracing.tracer,
        )
        # Of its own, so that a model that hangs keeps nobody else's bodies from being read.
        self._codecs = RunPool(max(2, num_codec_threads or schedulable_cpus()), name="salver-codec")
        # Steps on such a body keep the GIL for long: one after the other, with time between them
        # for the loop, and not in the way of smaller ones.
        self._large_codecs = RunPool(1, name="salver-codec-large")
        self.metrics = Metrics(self._is_configured)
        self.metrics.add_collector(self.tracing.families)
        self.metrics.loads.on_load = self.tracing.loaded
        self.metrics.fetches.on_fetch = self.tracing.fetched
        self.metrics.add_collector(lambda: run_families(self._runs.run_counts))
        self.logs = RequestLogs(
            options_of(self._options, configuration.saved_model_tags), self.metrics.logs
        )
        make_service = service_maker(
            self._options, self.in_codecs, count_examples=self.metrics.examples_seen
        )
        self._warming = Warming(make_service, self.loop)
        self._children = Children(self.loop, note=self._note)
        self.metrics.add_collector(
            lambda: child_families(self._children.restarts, self._children.resident_bytes)
        )
        self.loader = Loader(
            configuration,
            self._runs,
            warming=self._warming,
            metrics=self.metrics,
            describe=self._describe,
            is_serving=self._has_requests,
            marking=marking,
            children=self._children,
        )
        self._core: ServedCore | None = None
        self._recorder: Recorder | None = None
        self._spare: SpareMemory | None = None
        self._guard: Guard | None = None
        self._peers: Peers | None = None
        self.servers: ApiServers | None = None

    def attach(self, core: ServedCore, *, on_settled: Callable[[], None] | None = None) -> None:
        """Say which models there are; once, before anything is served.

        Args:
            core: the models.
            on_settled: see `Readiness`.
        """
        self._core = core
        stays = self._options.stay_ready
        self.readiness = Readiness(core, stays=stays, on_settled=on_settled)

    def make_servers(
        self,
        core: "Models",
        *,
        draw: "DrawPage | None" = None,
        draw_history: "DrawPage | None" = None,
        read_all: "ReadReport | None" = None,
        set_log_level: "SetLogLevel",
        administer: "Administer | None" = None,
        tell_slow: "TellSlow | None" = None,
        set_sampling: "SetSampling",
    ) -> "ApiServers":
        """Import and make what serves; it does not listen yet.

        Args:
            core: what was attached.
            draw: makes the metrics page; by default of what this process has counted.
            draw_history: makes what the dashboard is told of the past; by default of a ring that
                this process keeps.
            read_all: reads what all processes have counted; by default this one alone.
            set_log_level: see `ApiParts`; so are the others.
            administer: see there.
            tell_slow: see there.
            set_sampling: see there.
        """
        from salver.inference.context import PRINCIPAL
        from salver.protocols.api import ApiParts, everything_is_shown
        from salver.server.api_servers import ApiServers, memory_in_flight

        self._guard = guard = self._make_guard()
        memory = memory_in_flight(self._configuration.options)
        self._peers = peers = self._make_peers(memory)
        is_shown = everything_is_shown if guard is None else _shown_by(guard)
        if guard is not None and self._core is not None:
            self._core.name_only(lambda name: is_shown(PRINCIPAL.get(), name))

        if draw_history is None and (history := make_history(self._configuration)) is not None:
            self._recorder = Recorder(history, self.metrics, self.in_codecs)
            self._recorder.start()
            draw_history = self._recorder.draw
        parts = ApiParts(
            core,
            self._configuration,
            in_pool=self.in_codecs,
            in_control=lambda call: self.in_thread("salver-reload", call),
            unready=self.readiness.problem,
            is_serving=self._is_serving,
            metrics=self.metrics,
            logs=self.logs,
            draw=draw,
            draw_history=draw_history,
            read_all=read_all,
            set_log_level=set_log_level,
            administer=administer,
            tracer=self.tracing.tracer,
            tell_slow=tell_slow or self.tell_slow,
            set_sampling=set_sampling,
            is_shown=is_shown,
            forwarder=None if peers is None else peers.forwarder,
            more=()
            if peers is None
            else (peers.api(is_shown, self.in_codecs, is_guarded=guard is not None),),
        )
        self.servers = servers = ApiServers(
            parts,
            rejected_runs=lambda: self._runs.rejected,
            late_runs=lambda: self._runs.too_late,
            limits=self._limits,
            guard=guard if guard is None or peers is None else peers.guarded(guard),
            memory=memory,
        )
        in_flight_bytes = servers.memory_in_flight_bytes
        self._spare = SpareMemory(self.loop, in_flight_bytes, resident_bytes=resident_bytes)
        self._spare.start()
        return servers

    def _make_guard(self) -> "Guard | None":
        """What knows who asks; None where nobody is asked."""
        if self._configuration.auth is None:
            return None
        from salver.access.guard import Guard  # here: few servers have one

        guard = Guard(self._configuration.auth)
        guard.start()
        self.metrics.add_collector(guard.families)
        return guard

    def _make_peers(self, memory: "MemoryInFlight") -> "Peers | None":
        """What hands requests on to other servers; None for a server that knows of none."""
        if self._configuration.peers is None or self._core is None:
            return None
        from salver.peers.assembling import Peers  # here: few servers have any

        peers = Peers(
            self._configuration.peers,
            self._core,
            in_pool=self.in_codecs,
            memory=memory,
            tracer=self.tracing.tracer,
        )
        peers.start()
        self.metrics.add_collector(peers.families)
        return peers

    def tell_slow(self) -> list[dict[str, Any]]:
        """What this process tells of slow requests. From any thread."""
        tracer = self.tracing.tracer
        return [] if tracer is None else tracer.slow.told()

    def sample(self, sampling: Sampling) -> None:
        """Sample so in this process. From any thread."""
        if self.tracing.tracer is not None:
            self.tracing.tracer.sample(sampling)

    # -- meanwhile -------------------------------------------------------------------------------

    def after_change(self) -> None:
        """To be called after each load and unload, from any thread."""
        if self.readiness.is_started:
            with self._changing:
                self._settling.settle()
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(self.refresh_health)

    def refresh_health(self) -> None:
        """See `ApiServers`."""
        if self.servers is not None:
            self.servers.refresh_health()

    async def in_codecs(self, call: Callable[[], R], size: int = 0) -> R:
        """Run what reads or writes a large body; see `InPool`."""
        pool = self._large_codecs if size > VERY_LARGE_BYTES else self._codecs
        return await asyncio.wrap_future(pool.submit(call))

    def in_thread(self, name: str, call: Callable[[], R]) -> "asyncio.Future[R]":
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

    # -- stop ------------------------------------------------------------------------------------

    def give_up(self) -> None:
        """End what is being loaded or warmed up, now and for ever."""
        self.loader.stop()
        self._warming.stop()

    async def drain(
        self,
        close_models: Callable[[float], bool],
        *,
        timeout_s: float | None = None,
        idle_s: float = 0.0,
    ) -> tuple[int, bool]:
        """Take no more requests, answer those there are, then let go of everything.

        Args:
            timeout_s: what is unanswered by then is cut off; by default as the flag says.
            idle_s: see `HttpServer.drain`.
            close_models: called in a thread with how long it may take, in seconds; whether it had
                time enough.

        Returns:
            How many requests were cut off, and whether nothing goes on running.
        """
        options, servers = self._options, self.servers
        limit_s = options.drain_timeout_seconds if timeout_s is None else timeout_s
        deadline_s = self.loop.time() + limit_s
        cut = 0 if servers is None else await servers.drain(limit_s, idle_s=idle_s)
        if cut:
            _log.warning("%d requests were cut off after %g s", cut, limit_s)
        left_s = max(_UNLOAD_S, deadline_s - self.loop.time())
        has_ended = await self.in_thread("salver-close", lambda: close_models(left_s))
        self.metrics.loop_lag.stop()
        await self.in_thread("salver-traces-end", lambda: self.tracing.close(_TRACES_S))
        if self._recorder is not None:
            self._recorder.stop()
        if self._spare is not None:
            self._spare.stop()
        if self._guard is not None:
            await self.in_thread("salver-auth-close", self._guard.close)
        if self._peers is not None:
            await self._peers.close()
        await self.loop.shutdown_default_executor()
        if self._runs.running or self._codecs.running or self._large_codecs.running:
            has_ended = False
        for each in (self.loader, self._runs, self._codecs, self._large_codecs):
            each.close() if has_ended else each.abandon()
        self._children.close()
        if not has_ended:
            _log.warning("Ending with runs or loads of models still going on")
        return cut, has_ended

    def _note(self, id: ServableId, text: str | None) -> None:
        """Say with the status of a version what becomes of its processes."""
        if self._core is not None:
            self._core.note(id, text)

    # -- within ----------------------------------------------------------------------------------

    def _is_configured(self, name: str) -> bool:
        return self._core is not None and name in self._core.model_names()

    def _is_serving(self) -> bool:
        """What gRPC's health service says.

        The reference's ports are open only while it serves, so there only the drain says no.
        """
        if self._options.open_ports_before_load:
            return self.readiness.problem() is None
        return not self.readiness.is_draining

    def _has_requests(self) -> bool:
        """Whether there may be any that a load must not hold up."""
        return self._options.open_ports_before_load or self.readiness.is_started

    def _describe(self, info: ModelInfo) -> None:
        """Render what is long to render before the version answers, so that no request waits."""
        if self._options.rest_api_port == 0:
            return
        definitions = definitions_of(info)
        if len(definitions) > _LONG_TO_RENDER_BYTES:
            from salver.tfs.rest.reports import signature_text

            signature_text(definitions)


def _shown_by(guard: "Guard") -> "IsShown":
    """Lists have what their principal may ask the metadata of."""

    def is_shown(principal: Principal | None, name: str) -> bool:
        return principal is not None and guard.may(principal, Verb.METADATA, name)

    return is_shown
