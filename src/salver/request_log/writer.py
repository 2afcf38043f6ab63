"""A thread that writes one request log.

The loop only puts calls on a bounded queue. What the queue has no room for, and what the disk does
not take, is dropped and counted; a request never fails or waits for its log.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from salver.errors import Code, ServingError
from salver.inference.logged import LoggedCall
from salver.instruments.files import error_of_os
from salver.request_log.rotation import RotatingFile

__all__ = ["NO_OBSERVER", "DropReason", "LogObserver", "QueueLimits", "RecordWriter"]

_logger = logging.getLogger(__name__)

_RECORDS_AT_ONCE: Final = 64  # written by one call to the system
_BYTES_AT_ONCE: Final = 1 << 20
_LINGER_S: Final = 0.02
"""What comes within it after the first call is written together. A thread that wakes for each call
takes the interpreter away from the loop each time: measured with one client and all calls logged,
the median of a small model was 3.3 times that without a log; this way it is 1.2 times that."""

_PAUSE_S: Final = 1.0
"""After a failure the disk is left alone, and the processor: what comes meanwhile is dropped."""

DropReason = Literal["queue_full", "disk", "not_writable", "closed"]
"""Why a call is missing in the log: more came than could be written; the disk did not take it; the
format has no form for it; or its log was closed by a new configuration or the end."""


class LogObserver(Protocol):
    """Is told what becomes of each call that was to be logged. Called from any thread."""

    def written(self, model_name: str) -> None:
        """One is in the file."""
        ...

    def dropped(self, model_name: str, code: Code, reason: DropReason) -> None:
        """One is lost."""
        ...


class _NoObserver:
    def written(self, model_name: str) -> None: ...

    def dropped(self, model_name: str, code: Code, reason: DropReason) -> None: ...


NO_OBSERVER: Final[LogObserver] = _NoObserver()


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait for the disk.

    Attributes:
        max_records: calls.
        max_bytes: memory that waiting calls keep from being freed.
    """

    max_records: int = 10_000
    max_bytes: int = 1 << 26


Encode = Callable[[LoggedCall, float], bytes]
"""Makes what is appended to the file of a call and its time; raises ServingError where it has no
form."""

_Entry = tuple[LoggedCall, float, int]  # call, time, bytes


class RecordWriter:
    """Writes calls to a file, in the order they come."""

    def __init__(
        self,
        file: RotatingFile,
        encode: Encode,
        limits: QueueLimits,
        observer: LogObserver,
        *,
        clock: Callable[[], float],
        linger_s: float = _LINGER_S,
    ) -> None:
        """Start the thread.

        Args:
            file: belongs to the thread from now on.
            encode: called in the thread.
            limits: of the queue.
            observer: see there.
            clock: seconds, monotonic.
            linger_s: how long a call may wait for others, unless the queue is half full.
        """
        self._file = file
        self._encode = encode
        self._limits = limits
        self._observer = observer
        self._clock = clock
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        # One is written by the loop alone and one by the thread alone, so neither needs a lock.
        self._put_bytes = self._num_put = 0
        self._done_bytes = self._num_done = 0
        self._is_closing = False
        self._has_ended = False
        self._linger_s = linger_s
        self._is_behind = False  # more calls wait than were taken
        self._hurry = threading.Event()  # nothing is to wait for company
        self._failing_until: float | None = None
        self._failure = Code.UNKNOWN
        self._thread = threading.Thread(target=self._run, name="salver-request-log", daemon=True)
        self._thread.start()

    def put(self, call: LoggedCall, time_s: float) -> None:
        """Have a call written soon, or dropped; never waits. Called from one thread, the loop's.

        Args:
            call: nothing in it may change any more.
            time_s: when it was answered, in seconds since 1970.
        """
        size = call.content.n_bytes
        waiting = self._put_bytes - self._done_bytes
        if self._is_closing:
            self._drop(call, Code.UNAVAILABLE, "closed")
        elif self._queue.qsize() >= self._limits.max_records or (
            waiting + size > self._limits.max_bytes
        ):
            self._drop(call, Code.RESOURCE_EXHAUSTED, "queue_full")
        else:
            self._put_bytes += size
            self._num_put += 1
            self._queue.put((call, time_s, size))
            if self._is_half_full():
                self._hurry.set()
            if self._has_ended:
                self._drop_rest()

    def _is_half_full(self) -> bool:
        """Whether so much waits, what the thread has taken and not written included."""
        num_calls, n_bytes = self._num_put - self._num_done, self._put_bytes - self._done_bytes
        return 2 * num_calls >= self._limits.max_records or 2 * n_bytes >= self._limits.max_bytes

    def begin_close(self) -> None:
        """Take no more calls, and end the thread when all that wait are written."""
        if not self._is_closing:
            self._is_closing = True
            self._hurry.set()
            self._queue.put(None)

    def close(self, timeout_s: float) -> bool:
        """Begin to close and wait for the end; False when the time is over before that."""
        self.begin_close()
        self._thread.join(timeout_s)
        has_ended = not self._thread.is_alive()
        if not has_ended:
            _logger.warning("A request log was given up with %d calls unwritten", self._left())
        return has_ended

    def _left(self) -> int:
        return max(0, self._queue.qsize() - 1)

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        is_over = False
        while not is_over:
            entries, is_over = self._take()
            if entries:
                self._write(entries)
            else:
                self._keep_house(self._file.complete_if_old)
        self._keep_house(self._file.complete)
        self._has_ended = True
        self._drop_rest()

    def _take(self) -> tuple[list[_Entry], bool]:
        """Some calls, waited for until the file is old; and whether they are the last."""
        entries: list[_Entry] = []
        n_bytes = 0
        try:
            entry = self._queue.get(timeout=self._file.seconds_left())
            if not self._is_behind:
                self._hurry.wait(self._linger_s)
            self._is_behind = True
            while entry is not None:
                entries.append(entry)
                n_bytes += entry[2]
                if len(entries) >= _RECORDS_AT_ONCE or n_bytes >= _BYTES_AT_ONCE:
                    return entries, False
                entry = self._queue.get_nowait()
        except queue.Empty:
            self._caught_up()
            return entries, False
        return entries, True

    def _caught_up(self) -> None:
        self._is_behind = False
        self._hurry.clear()
        if self._is_closing:  # pragma: no cover - said at this very moment
            self._hurry.set()

    def _write(self, entries: list[_Entry]) -> None:
        if self._failing_until is None or self._clock() >= self._failing_until:
            self._append(*self._encoded(entries))
        else:
            self._lose([call for call, _, _ in entries])
        self._done_bytes += sum(size for _, _, size in entries)
        self._num_done += len(entries)

    def _encoded(self, entries: list[_Entry]) -> tuple[list[LoggedCall], list[bytes]]:
        """Those calls that have a form in the log, and these forms."""
        calls, records = [], []
        for call, time_s, _ in entries:
            record = self._encoded_one(call, time_s)
            if record is not None:
                calls.append(call)
                records.append(record)
        return calls, records

    def _encoded_one(self, call: LoggedCall, time_s: float) -> bytes | None:
        try:
            return self._encode(call, time_s)
        except ServingError as error:
            self._drop(call, error.code, "not_writable")
        except Exception:
            _logger.exception("A call of model %s cannot be logged", call.servable.name)
            self._drop(call, Code.INTERNAL, "not_writable")
        return None

    def _append(self, calls: list[LoggedCall], records: list[bytes]) -> None:
        if not calls:
            return
        try:
            self._file.write(b"".join(records))
        except OSError as error:
            if self._failing_until is None:
                _logger.warning("A request log cannot be written: %s", error)
            self._failing_until = self._clock() + _PAUSE_S
            self._failure = error_of_os("", error).code
            self._lose(calls)
            return
        if self._failing_until is not None:
            self._failing_until = None
            _logger.warning("A request log can be written again")
        for call in calls:
            self._observer.written(call.servable.name)

    def _lose(self, calls: list[LoggedCall]) -> None:
        for call in calls:
            self._drop(call, self._failure, "disk")

    def _keep_house(self, job: Callable[[], None]) -> None:
        try:
            job()
        except OSError as error:
            _logger.warning("A request log cannot be completed: %s", error)

    # -- in any thread ---------------------------------------------------------------------------

    def _drop_rest(self) -> None:
        while True:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return
            if entry is not None:  # pragma: no branch - the end was taken by the thread
                self._drop(entry[0], Code.UNAVAILABLE, "closed")

    def _drop(self, call: LoggedCall, code: Code, reason: DropReason) -> None:
        self._observer.dropped(call.servable.name, code, reason)
