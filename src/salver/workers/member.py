"""One worker as its supervisor sees it: a process, what it has loaded, and the channel to it."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from subprocess import TimeoutExpired
from typing import Any, Final, Protocol

from salver.vocabulary.servable import ServableId
from salver.workers.causes import cause_of_end
from salver.workers.channel import Channel
from salver.workers.marks import Activity, read_activity
from salver.workers.messages import Close, Goodbye, Hello, Load
from salver.workers.versions import Source

__all__ = ["HandleRequest", "Member", "Process"]

_log = logging.getLogger(__name__)

_REAP_S: Final = 5.0  # between the end of the channel and that of the process


class Process(Protocol):
    """The part of `subprocess.Popen` that is needed."""

    @property
    def pid(self) -> int: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def poll(self) -> int | None: ...
    def kill(self) -> None: ...


HandleRequest = Callable[["Member", Any], Any]
"""Answers what a worker sends that a `Member` does not handle itself; see `channel.Answer`."""


class Member:
    """One worker process. Safe to use from any thread.

    Attributes:
        slot: its number among the workers; that of its successor too.
        loaded: the versions that it has; changed under the lock of the `WorkerGroup` alone.
        said_hello: set when it can load models, and when it has ended.
        has_greeted: whether it ever came so far that it could load models.
        born_s: when its process was started, by the clock of the `Slots`.
        is_removed: whether it serves no more; changed as `loaded` is.
        was_killed: why it was ended on purpose, where a reason was given.
        died_loading: the versions it was loading when it ended.
        ended: set when it has ended.
        cause: of its end, in words.
        goodbye: what it said when it ended as it should.
        code: its exit status, negative for a signal; None before its end.
        activity: what it was doing when it ended.
        was_ended_by_model: whether a model ended it, so that its successor need not wait.
    """

    def __init__(
        self,
        slot: int,
        process: Process,
        connection: "Connection[Any, Any]",
        handle: HandleRequest,
        *,
        on_end: "Callable[[Member], None]" = lambda _member: None,
        memory: tuple[int, int] | None = None,
    ) -> None:
        """Take over a process.

        Args:
            slot: see there.
            process: that was started.
            connection: whose other end the process has.
            handle: see there.
            on_end: called once when the process has ended, before anybody else learns of it.
            memory: what it marks its runs in, see `marks.make_memory`; closed when it has ended.
        """
        self.slot = slot
        self.loaded: set[ServableId] = set()
        self.is_removed = False
        self.born_s = 0.0
        self.said_hello = threading.Event()
        self.ended = threading.Event()
        self.cause = ""
        self.goodbye: Goodbye | None = None
        self.code: int | None = None
        self.activity = Activity()
        self.was_ended_by_model = False
        self._memory = memory
        self._process = process
        self._handle = handle
        self._on_end = on_end
        self._loading: list[ServableId] = []
        self.died_loading: tuple[ServableId, ...] = ()
        self.has_greeted = False
        self.was_killed = ""
        self._channel = Channel(
            connection, self._received, name=f"salver-worker-{slot}", on_end=self._end
        )

    def __str__(self) -> str:
        return f"Worker {self.slot} (process {self.pid})"

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def loading(self) -> tuple[ServableId, ...]:
        """The versions it is loading."""
        return tuple(self._loading)

    def start(self) -> None:
        """Begin to talk to it."""
        self._channel.start()

    def notify(self, message: object) -> None:
        """See `Channel.notify`."""
        self._channel.notify(message)

    def request(self, message: object) -> "Future[Any]":
        """See `Channel.request`."""
        return self._channel.request(message)

    def load(self, id: ServableId, source: Source, *, is_alone: bool = False) -> "Future[None]":
        """Have it load a version. The caller adds it to `loaded` when it is.

        Args:
            id: its name and number.
            source: where it comes from.
            is_alone: see `Load`.
        """
        self._loading.append(id)
        done: Future[None] = Future()
        loading = self._channel.request(
            Load(source.settings, id, source.path, source.mark, is_alone)
        )

        def finish(loaded: "Future[Any]") -> None:
            self._loading.remove(id)
            error = loaded.exception()
            done.set_result(None) if error is None else done.set_exception(error)

        loading.add_done_callback(finish)
        return done

    def unload(self, id: ServableId) -> "Future[None]":
        """Have it unload a version."""
        return self._channel.request(Close(id))

    def kill(self, reason: str = "") -> None:
        """End it at once.

        Args:
            reason: the cause of its end, where the signal alone would mislead.
        """
        self.was_killed = self.was_killed or reason
        self._process.kill()

    def _received(self, message: Any) -> Any:
        match message:
            case Hello():
                self.has_greeted = True
                self.said_hello.set()
                return None
            case Goodbye(reading):
                self.goodbye = message
                return self._handle(self, reading)
            case _:
                return self._handle(self, message)

    def _end(self) -> None:
        """The channel has ended, and so has the process, or it is about to."""
        try:
            code = self._process.wait(_REAP_S)
        except TimeoutExpired:
            _log.warning("%s neither talks nor ends: it is killed", self)
            self._process.kill()
            code = self._process.wait()
        self.died_loading = tuple(self._loading)
        self.code = code
        if self._memory is not None:
            self.activity = read_activity(*self._memory)
            for descriptor in self._memory:
                os.close(descriptor)
        self.cause = self.was_killed or cause_of_end(code, self.died_loading)
        self._channel.fail_with(f"Worker {self.slot} has ended: {self.cause}")
        self._on_end(self)
        self.ended.set()
        self.said_hello.set()
