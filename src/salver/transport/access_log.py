"""The access log: one JSON object a line, written by a thread of its own.

The loop only puts records on a bounded queue: a slow disk costs lines, which are counted, never
answers. The file is opened again when something else (logrotate) has moved it away, which is looked
for before every write, so nobody needs to send a signal.
"""

import contextlib
import logging
import os
import queue
import select
import stat
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import BinaryIO, Generic, TypeVar

import orjson

from salver.instruments.redaction import redacted
from salver.transport.service import AccessRecord

__all__ = ["AccessLog", "LineLog", "log_line"]

logger = logging.getLogger(__name__)

R = TypeVar("R")

_STDOUT = 1
_MODE = 0o666  # but for the umask, as `open` has it
_AGAIN = os.O_NONBLOCK  # a pipe that nobody reads any more must not hold the thread
_LINES_AT_ONCE = 512


def log_line(record: AccessRecord) -> bytes:
    """One record as a line of JSON. `time` is ISO 8601 in UTC; bytes and seconds are numbers.

    `principal` is there only where it is known, `trace_id` for those that are traced,
    `forwarded_to` for those that another server has answered. Keys and tokens
    in the target are left out.
    """
    time = datetime.fromtimestamp(record.time, timezone.utc)
    line = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "remote": record.remote,
        "method": record.method,
        "target": redacted(record.target),
        "status": record.status,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "seconds": round(record.seconds, 6),
        "model_version": record.model_version,
        "user_agent": record.user_agent,
    }
    if record.principal is not None:
        line["principal"] = record.principal
    if record.trace_id is not None:
        line["trace_id"] = record.trace_id
    if record.forwarded_to is not None:
        line["forwarded_to"] = record.forwarded_to
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class LineLog(Generic[R]):
    """Takes records; safe to call from any thread, also from the loop.

    Attributes:
        dropped: records that were lost, because the queue was full or could not be written.
    """

    def __init__(
        self, path: str, line: Callable[[R], bytes], *, name: str, max_queued: int = 65536
    ) -> None:
        """Open the log and start its thread.

        Args:
            path: a file to append to, or `-` for standard output.
            line: makes the line of a record; called in the thread.
            name: of the log, for what is said of it.
            max_queued: records that may wait for the disk.

        Raises:
            OSError: the file cannot be opened.
        """
        self._path = None if path == "-" else path
        self._line = line
        self._name = name
        self._file = self._open()
        self._max_queued = max_queued
        self._queue: queue.SimpleQueue[R | None] = queue.SimpleQueue()
        self._is_failing = False
        self.dropped = 0
        thread_name = f"salver-{name.replace(' ', '-')}"
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)
        self._thread.start()

    def __call__(self, record: R) -> None:
        """Have a record written soon, or dropped; never waits."""
        if self._queue.qsize() < self._max_queued:
            self._queue.put(record)
        else:
            self.dropped += 1

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued, and end the thread. Call once, after the last record.

        Args:
            timeout_s: how long to wait for a disk, or a pipe nobody reads, that takes no more.
        """
        self._queue.put(None)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._file.close()
        if self.dropped:
            logger.warning("The %s has lost %d lines.", self._name, self.dropped)

    def _open(self, more_flags: int = 0) -> BinaryIO:
        if self._path is None:
            return open(_STDOUT, "ab", buffering=0, closefd=False)

        def opener(path: str, flags: int) -> int:
            return os.open(path, flags | more_flags, _MODE)

        return open(self._path, "ab", buffering=0, opener=opener)

    def _run(self) -> None:
        while True:
            records = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while records[-1] is not None and len(records) < _LINES_AT_ONCE:
                    records.append(self._queue.get_nowait())
            lines = [self._line(record) for record in records if record is not None]
            if lines:
                self._write(lines)
            if records[-1] is None:
                return

    def _write(self, lines: list[bytes]) -> None:
        try:
            self._follow()
            for piece in self._pieces(lines):
                rest = memoryview(piece)
                while rest:
                    written: int | None = self._file.write(rest)
                    if written is None:  # a pipe that does not block, and is full
                        self._wait_for_room()
                    else:
                        rest = rest[written:]
        except OSError as error:
            self.dropped += len(lines)
            if not self._is_failing:
                self._is_failing = True
                logger.warning("The %s cannot be written: %s", self._name, error)
        else:
            self._is_failing = False

    def _pieces(self, lines: list[bytes]) -> list[bytes]:
        """What is written at once, so that the lines of other processes come between, not into it.

        A file takes all of it; pipe(7): a pipe takes no more than so much as a whole.
        """
        if not stat.S_ISFIFO(os.fstat(self._file.fileno()).st_mode):
            return [b"".join(lines)]
        pieces = [b""]
        for line in lines:
            if len(pieces[-1]) + len(line) > select.PIPE_BUF:
                pieces.append(b"")
            pieces[-1] += line
        return pieces

    def _wait_for_room(self) -> None:
        """Wait until the file takes more, or will say why not. Meanwhile the queue may fill up."""
        waiting = select.poll()
        waiting.register(self._file.fileno(), select.POLLOUT)
        waiting.poll()

    def _follow(self) -> None:
        """Open the file again if its name no longer leads to it."""
        if self._path is None:
            return
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            named = None
        if named is None or not os.path.samestat(named, os.fstat(self._file.fileno())):
            fresh = self._open(_AGAIN)
            self._file.close()
            self._file = fresh


class AccessLog(LineLog[AccessRecord]):
    """Takes records of requests."""

    def __init__(self, path: str, *, max_queued: int = 65536) -> None:
        """See `LineLog`."""
        super().__init__(path, log_line, name="access log", max_queued=max_queued)
