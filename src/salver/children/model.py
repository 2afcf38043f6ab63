"""Models that children run, for one server: loads them, counts them, and ends them all."""

import asyncio
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from salver.backends.options import to_plain
from salver.backends.protocol import Backend, LoadStage
from salver.children.child import Child
from salver.children.description import Description
from salver.children.instances import Counts, Instances
from salver.children.limits import ChildLimits, ChildSettings
from salver.children.programs import ChildGraph, ChildProgram
from salver.children.starting import Spawn, Spawned, Starter, environment_of
from salver.children.streams import ChildStream
from salver.children.warm_up import Warm
from salver.errors import ServingError, Unavailable, Unimplemented
from salver.instruments.threads import Pool
from salver.vocabulary.servable import ServableId

__all__ = ["ChildModel", "Children", "What"]

_log = logging.getLogger("salver.children")

_COPYING_THREADS: Final = 2
_MEMORY_S: Final = 0.5  # between two looks at what children have
_NO_LIMITS: Final = ChildLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class What:
    """What is to be loaded into children.

    Attributes:
        id: its name and number.
        backend: that loads it.
        options: for the backend.
        directory: of the version.
        settings: how its children are made.
        most_running: runs of a model at a time, for which nobody says it.
        most_queued: runs that may wait.
        ran: called after each run, in the loop.
        rejected: called for each that found the queue full.
        too_late: called for each whose time would have been over before its turn.
    """

    id: ServableId
    backend: Backend
    options: Any
    directory: Path
    settings: ChildSettings
    most_running: Callable[[], int]
    most_queued: Callable[[], float]
    ran: Callable[[], None]
    rejected: Callable[[], None]
    too_late: Callable[[], None] = lambda: None


class Children:
    """All children of one server process. Safe to use from any thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        note: Callable[[ServableId, str | None], None] = lambda _id, _text: None,
    ) -> None:
        """Have none.

        Args:
            loop: in which they are heard.
            note: told in the loop what becomes of the children of a version; None: all is well.
        """
        self._note = note
        self._loop = loop
        self._starter = Starter()
        self._copying = Pool("salver-child-copy", _COPYING_THREADS)
        self._lock = threading.Lock()  # guards what follows
        self._limits: Mapping[str, ChildLimits] = {}
        self._restarts: Counter[tuple[str, str]] = Counter()
        self._all: set[Instances] = set()
        self._cpus: Counter[int] = Counter()
        self._is_closed = False
        self._watch: asyncio.TimerHandle | None = None  # of the loop

    @property
    def restarts(self) -> Mapping[tuple[str, str], int]:
        """(model, cause) → children that were replaced."""
        with self._lock:
            return dict(self._restarts)

    @property
    def resident_bytes(self) -> Mapping[ServableId, int]:
        """Version → the memory that its children have now."""
        with self._lock:
            known = list(self._all)
        taken: Counter[ServableId] = Counter()
        for each in known:
            taken[each.id] += each.resident_bytes()
        return +taken

    def limit(self, limits: Mapping[str, ChildLimits]) -> None:
        """Set what models may have: model → limits."""
        self._limits = limits
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._look_at_memory)

    def load(self, what: What, stage: LoadStage) -> "ChildModel":
        """Load a version into children. Called from load threads.

        Raises:
            ServingError: as the backend says it, or that a process has ended.
        """
        if sys.platform != "linux":
            raise Unimplemented("Models run in processes of their own on Linux only")
        backend = what.backend
        kind = type(backend)
        order = {
            "backend": backend.name,
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "options": to_plain(what.options),
            "directory": str(what.directory),
            "name": what.id.name,
            "version": what.id.version,
            "is_serving": stage.is_serving(),
            "log_level": logging.getLogger().getEffectiveLevel(),
        }
        places = [self._place(what.settings) for _ in range(what.settings.instances)]
        name = what.id.name
        can_parallel = backend.capabilities.parallel_runs and not backend.capabilities.keeps_gil

        def start(number: int, instances: Instances) -> None:
            spawn = Spawn(
                f"{name}:{what.id.version}",
                what.settings.python_executable,
                places[number],
                environment_of(what.settings.python_executable, what.settings.cpus),
            )
            begun = self._starter.start(spawn)
            begun.add_done_callback(
                partial(self._in_loop, self._started, number, instances, what, order, stage)
            )

        def restarted(cause: str) -> None:
            with self._lock:
                self._restarts[name, cause] += 1

        instances = Instances(
            what.id,
            self._loop,
            self._copying,
            start,
            num_instances=what.settings.instances,
            is_serial=not can_parallel,
            limits=lambda: self._limits.get(name, _NO_LIMITS),
            most_running=what.most_running,
            most_queued=what.most_queued,
            counts=Counts(what.ran, what.rejected, what.too_late, restarted),
            note=partial(self._note, what.id),
        )
        with self._lock:
            if self._is_closed:
                raise Unavailable("The server is stopping")
            self._all.add(instances)

        def closed() -> None:
            with self._lock:
                self._all.discard(instances)
            for place in places:
                self._leave(place)

        try:
            description = instances.load(stage.check)
        except BaseException:
            closed()
            raise
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._look_at_memory)
        return ChildModel(description, instances, closed, self._copying)

    def _in_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call in the loop; a process that was started is ended where that is closed."""
        try:
            self._loop.call_soon_threadsafe(partial(call, *arguments))
        except RuntimeError:
            begun = arguments[-1]
            if begun.exception() is None:
                _end(begun.result())

    def _started(
        self,
        number: int,
        instances: Instances,
        what: What,
        order: Mapping[str, Any],
        stage: LoadStage,
        begun: "Future[Spawned]",
    ) -> None:
        error = begun.exception()
        if error is not None:
            if not isinstance(error, ServingError):
                _log.error("A process cannot be started", exc_info=error)
                error = Unavailable(f"No process can be started: {error}")
            instances.not_started(number, error)
            return
        child = Child(
            begun.result(),
            f"{what.id.name}:{what.id.version}",
            instances,
            self._loop,
            self._copying,
            trusts=stage.trusts,
            progress=stage.progress,
        )
        child.load(order)
        instances.attached(number, child)

    # -- processors ------------------------------------------------------------------------------

    def _place(self, settings: ChildSettings) -> Sequence[int]:
        """The processors of a child: those that the fewest have; none where it may have all."""
        available = sorted(os.sched_getaffinity(0)) if settings.cpus else []
        if not available or settings.cpus >= len(available):
            return ()
        turn = os.getpid() % len(available)  # workers begin at different ones
        with self._lock:
            by_use = sorted(available[turn:] + available[:turn], key=lambda cpu: self._cpus[cpu])
            place = sorted(by_use[: settings.cpus])
            self._cpus.update(place)
        return place

    def _leave(self, place: Sequence[int]) -> None:
        with self._lock:
            self._cpus.subtract(place)

    # -- memory ----------------------------------------------------------------------------------

    def _look_at_memory(self) -> None:
        """Look at what children have, now and then while any has a limit; in the loop."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        with self._lock:
            limited = [
                each
                for each in self._all
                if self._limits.get(each.id.name, _NO_LIMITS).max_resident_bytes
            ]
        for each in limited:
            each.check_memory()
        if limited and not self._is_closed:
            self._watch = self._loop.call_later(_MEMORY_S, self._look_at_memory)

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """End all children that are left, at once. Not in the loop, unless it has ended."""
        with self._lock:
            self._is_closed = True
        self._starter.close()
        self._copying.close(0.0)


def _end(spawned: Spawned) -> None:
    spawned.kill()
    spawned.process.wait()
    spawned.close()


class ChildModel:
    """See `Model`."""

    def __init__(
        self,
        description: Description,
        instances: Instances,
        on_close: Callable[[], None],
        copying: Pool,
    ) -> None:
        """A loaded model.

        Args:
            description: of it.
            instances: that run it; closed by `close`.
            on_close: called then.
            copying: reads what takes long.
        """
        self._streamable = description.streamable
        self._copying = copying
        self.signatures = description.signatures
        self.definitions = description.definitions
        self.batching = description.batching
        self.instances = instances
        names = description.names
        self.graph = None if names is None else ChildGraph(names, instances)
        self._on_close = on_close

    def warm_each(self, warm: Warm) -> None:
        """Warm up every child; raises what `warm` raises. Not to be called in the loop."""
        self.instances.warm_ups.each(self.instances.children, warm)

    def warm_replacements(self, warm: Warm, limit_s: float = 0.0) -> None:
        """Have `warm` called, in a thread, for each child that replaces another, before it answers.

        Args:
            warm: is handed the model as that child alone runs it.
            limit_s: see `WarmUps.set`.
        """
        self.instances.warm_ups.set(warm, limit_s)

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> ChildProgram:
        names = None if outputs is None else tuple(outputs)
        return ChildProgram(self.instances, (signature_name, names, (), (), ()))

    def stream(
        self, signature_name: str, outputs: Sequence[str] | None = None
    ) -> ChildStream | None:
        """What begins runs that may answer more than once; None for a signature that never does."""
        if signature_name not in self._streamable:
            return None
        names = None if outputs is None else tuple(outputs)
        key = (signature_name, names, (), (), ())
        return ChildStream(self.instances, key, self._copying)

    def close(self) -> None:
        self.instances.close()
        self._on_close()
