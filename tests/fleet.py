"""Workers that are threads of this process: they speak the protocol over real channels."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe
from subprocess import TimeoutExpired
from typing import Any

from salver.errors import ServingError
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.servable import ServableId
from salver.workers.channel import Channel
from salver.workers.member import Member
from salver.workers.messages import (
    Describe,
    Description,
    Drain,
    Hello,
    Load,
    Open,
    Ping,
    Publish,
    Reading,
    Run,
    SetLogs,
    TakeReading,
    Withdraw,
)

__all__ = ["DESCRIPTION", "WAIT_S", "FakeProcess", "FakeWorker"]

WAIT_S = 10.0
DESCRIPTION = Description(ModelInfo({}, b"signatures"), None)


class FakeProcess:
    """Ends when it is told how."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = threading.Event()
        self._code = 0
        self.on_kill: Callable[[], None] = lambda: None

    def end(self, code: int) -> None:
        self._code = code
        self._ended.set()

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise TimeoutExpired("worker", timeout or 0.0)
        return self._code

    def poll(self) -> int | None:
        return self._code if self._ended.is_set() else None

    def kill(self) -> None:
        if not self._ended.is_set():
            self.end(-9)
            self.on_kill()


class FakeWorker:
    """One worker, and the member that its supervisor has of it.

    Attributes:
        said: what it was told, in order.
        on_load: does what a load does; what it raises the load fails with. May call `die`.
        held: versions whose withdrawal is not answered before `release`.
        on_run: does what a run does; its result is the answer.
        on_reading: makes what it has counted.
        is_mute: publications and logs are never answered, and whether it is there only after
            `release`.
        stays: does not end when it is told to.
    """

    def __init__(
        self,
        slot: int = 0,
        *,
        on_load: Callable[["FakeWorker", ServableId], None] = lambda _worker, _id: None,
        on_end: Callable[[Member], None] = lambda _member: None,
        greets: bool = True,
    ) -> None:
        ours, theirs = Pipe()
        self.process = FakeProcess(1000 + slot)
        self.process.on_kill = self._hang_up
        self.said: list[Any] = []
        self.on_load = on_load
        self.on_run: Callable[[Run], Any] = lambda run: run.arrays
        self.on_reading: Callable[[], Reading] = lambda: Reading(0, {})
        self.log_error: ServingError | None = None
        self.held: set[ServableId] = set()
        self.open_error: ServingError | None = None
        self.is_mute = False
        self.stays = False
        self._releases: list[Future[None]] = []
        self._connection = theirs
        self.heard: list[Any] = []
        self._greets = greets

        def handle(_member: Member, message: Any) -> Any:
            self.heard.append(message)

        self.member = Member(slot, self.process, ours, handle, on_end=on_end)
        self.channel = Channel(theirs, self._hear, name=f"fake-{slot}")

    def start(self) -> "FakeWorker":
        """Begin to talk, and say hello."""
        self.channel.start()
        if self._greets:
            self.channel.notify(Hello())
        return self

    def die(self, code: int = -9) -> None:
        """End at once."""
        self.process.end(code)
        self._hang_up()

    def release(self) -> None:
        """The requests leave the versions that are held."""
        for each in self._releases:
            each.set_result(None)

    def said_of(self, kind: type) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind)]

    def _hang_up(self) -> None:
        self.channel.close(WAIT_S)

    def _hear(self, message: Any) -> Any:
        self.said.append(message)
        match message:
            case Load(_, id):
                return self._in_thread(lambda: self.on_load(self, id))
            case Run() | Describe():
                return self.on_run(message) if isinstance(message, Run) else DESCRIPTION
            case TakeReading():
                return self.on_reading()
            case Withdraw(id) if id in self.held:
                self._releases.append(Future())
                return self._releases[-1]
            case SetLogs() if self.log_error is not None:
                raise self.log_error
            case Publish() | SetLogs() if self.is_mute:
                return Future()
            case Ping() if self.is_mute:
                self._releases.append(Future())
                return self._releases[-1]
            case Open() if self.open_error is not None:
                raise self.open_error
            case Drain() if not self.stays:
                threading.Thread(target=self.die, args=(0,), daemon=True).start()
            case _:
                pass
        return None

    @staticmethod
    def _in_thread(do: Callable[[], None]) -> "Future[None]":
        done: Future[None] = Future()

        def work() -> None:
            try:
                do()
            except ServingError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=work, daemon=True).start()
        return done
