"""One child as the server sees it: a process that is fed, watched, and answers."""

import asyncio
import itertools
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

from salver.children.answers import COUNT_MASK
from salver.children.description import Description, description_of
from salver.children.output import Output
from salver.children.run import Outcome, Run
from salver.children.segments import Segment
from salver.children.starting import Spawned
from salver.children.wire import Kind, Link, Message, WrongMessage, text_of
from salver.errors import Internal, ServingError, Unavailable, error_of_parts
from salver.instruments.ends import end_of
from salver.instruments.threads import Pool

__all__ = ["Child", "EndedInLoad", "Owner"]

_ANSWERS: Final = frozenset((Kind.DONE, Kind.PART, Kind.ENDED))
_MOST_AT_ONCE: Final = 32  # messages that are read in one turn of the loop
_MOST_PROGRAMS: Final = 256
_AGAIN_S: Final = 0.05  # after which orders that a child did not take are sent again
_SILENCE_S: Final = 1.0  # from the end of its talk to that of the process
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class EndedInLoad(Unavailable):
    """The process has ended before its model was loaded."""


class Owner(Protocol):
    """Who has children. All is called in the loop."""

    def answered(self, child: "Child", run: Run, outcome: Outcome) -> None: ...
    def has_loaded(self, child: "Child") -> None: ...
    def takes_many(self, child: "Child") -> None: ...
    def has_ended(self, child: "Child") -> None: ...


class Child:
    """A process that loads a model and runs it. Belongs to the loop but where it says otherwise.

    Attributes:
        pid: of the process.
        running: runs that it has; kept by the owner, under the owner's lock.
        in_flight: number → run, of those that it has not answered.
        ready: what it has loaded, or why it has not.
        code: its exit status, negative for a signal; None before its end.
        reason: why the server has ended it; empty where it has not.
        kind_of_reason: the same in a word, for counting.
        ended: set at its end.
        takes_many: whether it only starts its runs, so that it can have many.
        is_warned: whether the log says that a run of it goes on for nobody.
    """

    def __init__(
        self,
        spawned: Spawned,
        label: str,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        copying: Pool,
        *,
        trusts: Callable[[Path], bool] = lambda _path: False,
        progress: Callable[[str, float | None], None] = lambda _what, _part: None,
    ) -> None:
        """Take a process over, and begin to listen to it.

        Args:
            spawned: the process; closed at its end.
            label: the model in logs.
            owner: see there.
            loop: which one.
            copying: reads and writes what is large.
            trusts: answers whether code of a path may be run.
            progress: told how far the load is.
        """
        self.pid = spawned.process.pid
        self.running = 0
        self.in_flight: dict[int, Run] = {}
        self.ready: Future[Description] = Future()
        self.code: int | None = None
        self.reason = ""
        self.kind_of_reason = ""
        self.ended = threading.Event()
        self.is_warned = False
        self.takes_many = False
        self._spawned = spawned
        self._owner = owner
        self._loop = loop
        self._copying = copying
        self._trusts = trusts
        self._progress = progress
        self._link = Link(spawned.data)
        self._orders = Link(spawned.control)
        self._numbers = itertools.count(1)
        self._sending = threading.Lock()  # guards what follows, and the order of what is sent
        self._waiting: deque[tuple[list[bytes], Segment | None]] = deque()
        self._programs: dict[tuple[Any, ...], int] = {}
        self._last_program = 0
        self._silence: asyncio.TimerHandle | None = None  # until it is ended for that
        self._output = Output(spawned.output, label, loop)
        loop.add_reader(spawned.data.fileno(), self._read)
        loop.add_reader(spawned.pidfd, self._end)

    def __str__(self) -> str:
        return f"process {self.pid}"

    @property
    def is_ready(self) -> bool:
        """Whether it can be given runs; from any thread."""
        return self.code is None and self.ready.done() and self.ready.exception() is None

    @property
    def end(self) -> str:
        """Why it has ended, in words."""
        return self.reason or end_of(0 if self.code is None else self.code)

    @property
    def last_line(self) -> str:
        """What it wrote last that says something; empty where it wrote nothing."""
        return next((line for line in reversed(self._output.last_lines) if line.strip()), "")

    def load(self, order: Mapping[str, Any]) -> None:
        """Have it load a model; `ready` tells."""
        self._send(self._link.text(Kind.LOAD, text_of(order)))

    # -- runs; from any thread -------------------------------------------------------------------

    def give(self, run: Run) -> None:
        """Have a run; to be followed by `send`. The owner's lock is held."""
        run.child = self
        run.number = next(self._numbers)
        run.began_s = monotonic()
        self.in_flight[run.number] = run

    def send(self, run: Run) -> None:
        """Send a run that it was given.

        Raises:
            ServingError: what it is fed cannot be sent.
        """
        feeds, run.feeds = run.feeds, []
        program = self._program(run.key)
        self._send(*self._link.pack(run.kind, run.number, program, feeds))

    def cancel(self, number: int) -> None:
        """Say that nobody waits for a run."""
        with suppress(OSError):  # what cannot be told has either ended or stands still
            self._orders.transmit(self._orders.text(Kind.CANCEL, b"", number))

    def credit(self, number: int, taken: int) -> None:
        """Say how many answers of a run were taken, and so how many more it may send; in the loop.

        What these lay in goes back with it.
        """
        if self.code is None:
            count = taken & COUNT_MASK
            self._credit(number, self._link.text(Kind.CREDIT, b"", number, count))

    def _credit(self, number: int, parts: list[bytes]) -> None:
        if self.code is not None or number not in self.in_flight:
            return
        try:
            self._orders.transmit(parts)
        except BlockingIOError:  # it stands still
            self._loop.call_later(_AGAIN_S, self._credit, number, parts)
        except OSError:
            pass  # it has ended

    def _program(self, key: tuple[Any, ...]) -> int:
        with self._sending:
            number = self._programs.get(key)
            if number is not None:
                if len(self._programs) > _MOST_PROGRAMS:  # the latest are kept
                    self._programs[key] = self._programs.pop(key)
                return number
            if len(self._programs) >= 2 * _MOST_PROGRAMS:
                for old in list(self._programs)[:_MOST_PROGRAMS]:
                    forgotten = self._programs.pop(old)
                    self._put(self._link.text(Kind.FORGET, b"", program=forgotten))
            self._last_program += 1
            number = self._programs[key] = self._last_program
            signature, outputs, feeds, fetches, targets = key
            said = {"signature": signature, "outputs": outputs}
            if not signature:
                said = {"feeds": feeds, "fetches": fetches, "targets": targets}
            self._put(self._link.text(Kind.DEFINE, text_of(said), program=number))
            return number

    def _send(self, parts: list[bytes], segment: Segment | None = None) -> None:
        with self._sending:
            self._put(parts, segment)

    def _put(self, parts: list[bytes], segment: Segment | None = None) -> None:
        """Send, or queue what the socket does not take now; under the lock."""
        if self._waiting:
            self._waiting.append((parts, segment))
            return
        try:
            self._link.transmit(parts, segment)
        except BlockingIOError:
            self._waiting.append((parts, segment))
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._await_room)
        except OSError:  # it has ended, or it has closed its end
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._lost)

    def _await_room(self) -> None:
        if self.code is None:
            self._loop.add_writer(self._spawned.data.fileno(), self._write)

    def _write(self) -> None:
        with self._sending:
            try:
                while self._waiting:
                    self._link.transmit(*self._waiting[0])
                    self._waiting.popleft()
            except BlockingIOError:
                return
            except OSError:
                self._waiting.clear()
                self._lost()
        self._loop.remove_writer(self._spawned.data.fileno())

    # -- its end ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """Let it end by itself, once it has answered what it has."""
        with suppress(OSError):
            self._spawned.data.shutdown(socket.SHUT_WR)

    def kill(self, reason: str, kind: str) -> None:
        """End it at once.

        Args:
            reason: the cause of its end, in words.
            kind: the same in one word.
        """
        if self.code is None:
            self.reason, self.kind_of_reason = self.reason or reason, self.kind_of_reason or kind
            self._spawned.kill()

    def _lost(self) -> None:
        """It talks no more: it has ended, or is to be ended."""
        if self.code is None and self._silence is None:
            self._loop.remove_reader(self._spawned.data.fileno())
            self._silence = self._loop.call_later(
                _SILENCE_S, self.kill, "it talks no more", "crash"
            )

    def _end(self) -> None:
        """The process has ended."""
        spawned = self._spawned
        spawned.kill()  # also what it has started; before it is reaped, and its number given away
        with suppress(WrongMessage, OSError):
            while (message := self._link.receive()) is not None:
                self._received(message)
        self.code = spawned.process.wait()
        for descriptor in (spawned.data.fileno(), spawned.pidfd):
            self._loop.remove_reader(descriptor)
        self._loop.remove_writer(spawned.data.fileno())
        if self._silence is not None:
            self._silence.cancel()
        self._output.close()
        spawned.close()
        self._link.drop()  # what else there is of this child may wait long for garbage collection
        if not self.ready.done():
            line = self.last_line
            self.ready.set_exception(
                EndedInLoad(f"it has ended: {self.end}{f': {line}' if line else ''}")
            )
        self._owner.has_ended(self)
        self.ended.set()

    # -- what it says ----------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            for _ in range(_MOST_AT_ONCE):
                message = self._link.receive()
                if message is None:
                    self._lost()
                    return
                self._received(message)
                if not self.in_flight:
                    return  # there can be no more
        except BlockingIOError:
            return
        except OSError:
            self._lost()
        except (WrongMessage, ValueError, TypeError) as error:
            self.kill(f"it has sent what is no answer: {error}", "crash")

    def _received(self, message: Message) -> None:
        kind = message.kind
        if kind in _ANSWERS:
            run = self.in_flight.get(message.number)
            if run is None:
                raise WrongMessage(f"it has no run {message.number}")
            self._answered(run, message)
        elif kind is Kind.FAILED:
            self._failed(message)
        elif kind is Kind.READY:
            self._loaded(message)
        elif kind is Kind.MANY:
            self.takes_many = True
            self._owner.takes_many(self)
        elif kind is Kind.PROGRESS:
            what, part = message.value()
            self._progress(what, part)
        elif kind is Kind.ASK:
            path = Path(str(message.value()))
            self._copying.submit(
                lambda: self._send(self._link.text(Kind.TOLD, text_of(self._trusts(path))))
            )
        else:
            raise WrongMessage(f"a child says {kind.name}")

    def _answered(self, run: Run, message: Message) -> None:
        if message.kind is Kind.PART:
            run.part(message)
            return
        outcome: Outcome | None = []
        if message.kind is Kind.DONE:
            outcome = None if message.is_long else message.take_arrays()
        del self.in_flight[message.number]
        if outcome is None:
            self._read_elsewhere(run, message)
        else:
            self._owner.answered(self, run, outcome)

    def fail(self, run: Run, error: ServingError) -> None:
        """A run has failed, unless it is settled already."""
        if self.in_flight.pop(run.number, None) is not None:
            self._owner.answered(self, run, error)

    def _read_elsewhere(self, run: Run, message: Message) -> None:
        def read() -> None:
            try:
                outcome: Outcome = message.take_arrays()
            except WrongMessage as error:
                outcome = Internal(f"The model's process has sent what is no answer: {error}")
            except MemoryError:
                outcome = Internal("There is no memory for what the model gives")
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._owner.answered, self, run, outcome)

        self._copying.submit(read)

    def _failed(self, message: Message) -> None:
        try:
            error = error_of_parts(message.value())
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            raise WrongMessage(str(cause)) from cause
        if message.number:
            run = self.in_flight.get(message.number)
            if run is not None:
                self.fail(run, error)
        elif not self.ready.done():
            self.ready.set_exception(error)

    def _loaded(self, message: Message) -> None:
        try:
            description = description_of(message.take_arrays())
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WrongMessage(str(error)) from error
        with suppress(InvalidStateError):
            self.ready.set_result(description)
            self._owner.has_loaded(self)

    # -- its memory ------------------------------------------------------------------------------

    def resident_bytes(self) -> int:
        """The memory that it has now; 0 where it has ended."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError, ValueError):
            return 0
