"""What every process that serves is made of, whoever decides which models it has.

A server of one process is this and a `ServerCore`; a worker is this and the copies of what its
supervisor's core says.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from salver.batching.run_pool import RunPool
from salver.config.options import schedulable_cpus
from salver.config.start_up import Configuration
from salver.metrics.registry import Metrics
from salver.request_log.loggers import RequestLogs
from salver.request_log.options import options_of
from salver.server.history import Recorder, make_history
from salver.server.loading import Loader, Marking
from salver.server.memory import Settling
from salver.server.models import run_threads
from salver.server.readiness import Readiness
from salver.server.spare_memory import SpareMemory, resident_bytes
from salver.server.warming import Warming, service_maker
from salver.transport.service import LARGE_BYTES

if TYPE_CHECKING:
    from salver.server.doors import DoorCore, Doors, DrawPage

__all__ = ["SWITCH_INTERVAL_S", "Assembly", "ServedCore", "new_loop"]

_log = logging.getLogger(__name__)

SWITCH_INTERVAL_S: Final = 0.0002
"""How long a thread that computes in Python may keep the loop waiting for the GIL. One small run
beside one busy thread took 86 µs with the default of 5 ms and 26 µs with this."""

_LONG_TO_RENDER_BYTES: Final = 1 << 14  # of signatures; 2 ms as JSON
_UNLOAD_S: Final = 2.0  # models get this long to unload though the drain has used up its time

R = TypeVar("R")


class ServedCore(Protocol):
    """What is asked of the models here, beside what the doors ask."""

    def model_names(self) -> tuple[str, ...]: ...
    def waiting_models(self) -> tuple[str, ...]: ...
    def problem(self, name: str) -> str | None: ...


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
        logs: of requests.
        loader: loads versions.
        readiness: what `/healthz/ready` says; from `attach` on.
        doors: from `make_doors` on.
    """

    readiness: Readiness

    def __init__(
        self,
        configuration: Configuration,
        *,
        num_codec_threads: int | None = None,
        marking: Marking | None = None,
    ) -> None:
        """Make all that needs no models.

        Args:
            configuration: the flags.
            num_codec_threads: that read and write large bodies; by default one per CPU.
            marking: see there.
        """
        self.loop = asyncio.get_running_loop()
        self._settling = Settling()
        self._changing = threading.Lock()
        self._configuration = configuration
        self._options = configuration.options
        threads = run_threads(configuration)
        self._runs = RunPool(
            threads,
            most_running_per_lane=self._options.max_concurrent_runs_per_model
            or max(1, threads // 2),
            most_queued_per_lane=self._options.max_queued_runs_per_model or None,
        )
        # Of its own, so that a model that hangs keeps nobody else's bodies from being read.
        self._codecs = RunPool(max(2, num_codec_threads or schedulable_cpus()), name="salver-codec")
        # Steps on such a body keep the GIL for long: one after the other, with time between them
        # for the loop, and not in the way of smaller ones.
        self._large_codecs = RunPool(1, name="salver-codec-large")
        self.metrics = Metrics(self._is_configured)
        self.logs = RequestLogs(
            options_of(self._options, configuration.saved_model_tags), self.metrics.logs
        )
        make_service = service_maker(
            self._options, self.in_codecs, count_examples=self.metrics.examples_seen
        )
        self._warming = Warming(make_service, self.loop)
        self.loader = Loader(
            configuration,
            self._runs,
            warming=self._warming,
            metrics=self.metrics,
            describe=self._describe,
            is_serving=self._has_requests,
            marking=marking,
        )
        self._core: ServedCore | None = None
        self._recorder: Recorder | None = None
        self._spare: SpareMemory | None = None
        self.doors: Doors | None = None

    def attach(self, core: ServedCore) -> None:
        """Say which models there are; once, before anything is served."""
        self._core = core
        self.readiness = Readiness(core)

    def make_doors(
        self,
        core: "DoorCore",
        *,
        draw: "DrawPage | None" = None,
        draw_history: "DrawPage | None" = None,
    ) -> "Doors":
        """Import and make what serves; it does not listen yet.

        Args:
            core: what was attached.
            draw: makes the metrics page; by default of what this process has counted.
            draw_history: makes what the dashboard is told of the past; by default of a ring that
                this process keeps.
        """
        from salver.server.doors import Doors

        if draw_history is None and (history := make_history(self._configuration)) is not None:
            self._recorder = Recorder(history, self.metrics, self.in_codecs)
            self._recorder.start()
            draw_history = self._recorder.draw
        self.doors = doors = Doors(
            core,
            self._configuration,
            in_pool=self.in_codecs,
            in_control=lambda call: self.in_thread("salver-reload", call),
            readiness=self.readiness,
            is_serving=self._is_serving,
            metrics=self.metrics,
            logs=self.logs,
            draw=draw,
            rejected_runs=lambda: self._runs.rejected,
            draw_history=draw_history,
        )
        in_flight_bytes = doors.memory_in_flight_bytes
        self._spare = SpareMemory(self.loop, in_flight_bytes, resident_bytes=resident_bytes)
        self._spare.start()
        return doors

    # -- meanwhile -------------------------------------------------------------------------------

    def after_change(self) -> None:
        """To be called after each load and unload, from any thread."""
        if self.readiness.is_started:
            with self._changing:
                self._settling.settle()
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(self.refresh_health)

    def refresh_health(self) -> None:
        """See `Doors`."""
        if self.doors is not None:
            self.doors.refresh_health()

    async def in_codecs(self, call: Callable[[], R], size: int = 0) -> R:
        """Run what reads or writes a large body; see `InPool`."""
        pool = self._large_codecs if size > LARGE_BYTES else self._codecs
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
        options, doors = self._options, self.doors
        limit_s = options.drain_timeout_seconds if timeout_s is None else timeout_s
        deadline_s = self.loop.time() + limit_s
        cut = 0 if doors is None else await doors.drain(limit_s, idle_s=idle_s)
        if cut:
            _log.warning("%d requests were cut off after %g s", cut, limit_s)
        left_s = max(_UNLOAD_S, deadline_s - self.loop.time())
        has_ended = await self.in_thread("salver-close", lambda: close_models(left_s))
        self.metrics.loop_lag.stop()
        if self._recorder is not None:
            self._recorder.stop()
        if self._spare is not None:
            self._spare.stop()
        await self.loop.shutdown_default_executor()
        if self._runs.running or self._codecs.running or self._large_codecs.running:
            has_ended = False
        for each in (self.loader, self._runs, self._codecs, self._large_codecs):
            each.close() if has_ended else each.abandon()
        if not has_ended:
            _log.warning("Ending with runs or loads of models still going on")
        return cut, has_ended

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

    def _describe(self, signature_def_map: bytes) -> None:
        """Render what is long to render before the version answers, so that no request waits."""
        if self._options.rest_api_port != 0 and len(signature_def_map) > _LONG_TO_RENDER_BYTES:
            from salver.rest.reports import signature_text

            signature_text(signature_def_map)
