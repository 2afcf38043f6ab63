"""Versions that this worker must not run, since workers died of them.

One process that does nothing else runs their requests, by way of the supervisor; while there is
none they are refused.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from salver.errors import DeadlineExceeded, ServingError, Unavailable
from salver.inference.servable import MeterFactory, ProgramNames, Servable
from salver.instruments.threads import Pool
from salver.lifecycle.handles import Entry
from salver.scheduling.runner import DEADLINE_TEXT
from salver.vocabulary.model import Program, TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId
from salver.workers.channel import decode, encode
from salver.workers.messages import Description, Isolate, Run, RunIsolated

__all__ = ["IsolatedVersions"]

_HINT: Final = (
    "It ends the process that runs it. It comes back when it behaves in a process of its own, or "
    "when its files change; by hand: POST /admin/v1/models/NAME:clear_quarantine to the gRPC port, "
    "or SIGHUP to the server."
)

Ask = Callable[[object], "Future[Any]"]


class IsolatedVersions:
    """What answers requests for versions that are isolated. Safe to use from any thread."""

    def __init__(self, ask: Ask, meters: Callable[[ServableId], MeterFactory]) -> None:
        """Begin with none.

        Args:
            ask: sends a request to the supervisor.
            meters: makes what counts the answers of a version.
        """
        self._ask = ask
        self._meters = meters
        self._pool = Pool("salver-isolated", 2)  # in which arrays are written and read
        self._lock = threading.Lock()
        # Readers take no lock: the tables are replaced.
        self._notices: Mapping[ServableId, Isolate] = {}
        self._entries: Mapping[ServableId, Entry[Servable]] = {}

    def set(self, notice: Isolate) -> None:
        """A version is isolated, and its requests go where the notice says."""
        id = notice.id
        with self._lock:
            self._notices = {**self._notices, id: notice}
            entries = {each: entry for each, entry in self._entries.items() if each != id}
            if notice.description is not None:
                entries[id] = Entry(id, self._servable(id, notice.description))
            self._entries = entries

    def end(self, id: ServableId) -> None:
        """A version is isolated no more."""
        with self._lock:
            self._notices = {each: of for each, of in self._notices.items() if each != id}
            self._entries = {each: of for each, of in self._entries.items() if each != id}

    def is_isolated(self, id: ServableId) -> bool:
        """Whether a version must not be run here."""
        return id in self._notices

    def answers(self, id: ServableId) -> bool:
        """Whether another process of this server runs a version."""
        return id in self._entries

    def newest(self, name: str) -> ServableId | None:
        """The highest version of a model that is isolated; None if none is."""
        return max((id for id in self._notices if id.name == name), default=None)

    def acquire(self, id: ServableId) -> Entry[Servable]:
        """Pin a version that is isolated.

        Raises:
            Unavailable: there is no process to run it now.
        """
        entry, notice = self._entries.get(id), self._notices.get(id)
        if entry is not None and entry.try_acquire():
            return entry
        if notice is None:
            raise Unavailable(f"Servable {id} is not isolated any more; try again")
        raise Unavailable(notice.reason, hint=_HINT)

    def close(self) -> None:
        """Run nothing any more."""
        self._pool.close(0.0)

    def _servable(self, id: ServableId, description: Description) -> Servable:
        def runner(_program: Program, names: ProgramNames) -> "_IsolatedProgram":
            return _IsolatedProgram(id, names, self._ask, self._pool)

        meters, backend = self._meters(id), description.info.backend
        return Servable(_IsolatedModel(description), runner, meters=meters, backend=backend)


class _IsolatedModel:
    """What is known here of a model that another process runs; see `Model`."""

    def __init__(self, description: Description) -> None:
        self.signatures = description.info.signatures
        self.definitions = description.info.definitions
        self.batching = None  # its runs go one by one
        self.graph = None if description.names is None else _IsolatedGraph(description.names)

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> "_NoProgram":
        del signature_name, outputs  # whether it can be run is found where it is
        return _NoProgram()

    def close(self) -> None:
        """Nothing is held."""


class _IsolatedGraph:
    """See `Graph`."""

    def __init__(self, names: Mapping[str, TensorNames]) -> None:
        self.names = names

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> "_NoProgram":
        del feeds, fetches, targets  # whether there are such is found where it runs
        return _NoProgram()


class _NoProgram:
    """In the place of a `Program` that nobody runs here."""

    can_loop = False

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        raise NotImplementedError

    run_in_caller = run
    run_inline = run


class _IsolatedProgram:
    """Runs that are made in another process; see `StartableProgram`."""

    def __init__(self, id: ServableId, names: ProgramNames, ask: Ask, pool: Pool) -> None:
        self._id = id
        self._names = names
        self._ask = ask
        self._pool = pool

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "asyncio.Future[list[Array]]":
        """Ask for a run; called in the loop."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Array]] = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, _expire, answer)

        def settle(outcome: "list[Array] | ServingError") -> None:
            if timer is not None:
                timer.cancel()
            if answer.done():
                return
            if isinstance(outcome, ServingError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        def ended(outcome: "list[Array] | ServingError") -> None:
            on_end()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, outcome)

        def read(run: "Future[bytes]") -> None:
            ended(_outcome(run))

        def ask() -> None:
            if answer.cancelled():
                ended([])
                return
            run = Run(self._id, self._names, encode(list(feeds)))
            self._ask(RunIsolated(run)).add_done_callback(
                lambda run: _in(self._pool, lambda: read(run))
            )

        _in(self._pool, ask)
        return answer


def _in(pool: Pool, do: Callable[[], None]) -> None:
    try:
        pool.submit(do)
    except RuntimeError:  # it is closed
        do()


def _outcome(run: "Future[bytes]") -> "list[Array] | ServingError":
    error = run.exception()
    if error is None:
        outputs: list[Array] = decode(run.result())
        return outputs
    return error if isinstance(error, ServingError) else Unavailable(str(error))


def _expire(answer: "asyncio.Future[list[Array]]") -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceeded(DEADLINE_TEXT))
