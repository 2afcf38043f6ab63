"""The channel between the supervisor and a worker, over a pair of sockets.

Frames of pickled objects, both ways. Each side sends notifications, and requests, which are
answered by a future; messages are handled in the order in which they were sent. One thread reads
and one writes, so no sender ever waits for a process that does not read.

Pickles are read from our own processes alone: nobody else has an end of the pair.
"""

import io
import itertools
import logging
import pickle
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from salver.errors import Internal, ServingError, Unavailable, error_of_parts

__all__ = ["Answer", "Channel", "ChannelEnded", "decode", "encode"]

_log = logging.getLogger(__name__)

Answer = Callable[[Any], Any]
"""Handles a message of the other side. What it returns, or a future it returns, is the answer to a
request, and so is the `ServingError` it raises. Called in the reading thread, which it must not
hold."""

_NOTIFY: Final = 0
_REQUEST: Final = 1
_ANSWER: Final = 2
_FAILURE: Final = 3


class ChannelEnded(Unavailable):
    """The other side is gone, so there will be no answer."""


class _Pickler(pickle.Pickler):
    """Takes errors apart: their classes cannot be rebuilt from their arguments."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, ServingError):
            return error_of_parts, (obj.parts(),)
        return NotImplemented


def encode(message: object) -> bytes:
    """A message as bytes: what changes later is not in it."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getvalue()


def decode(data: bytes) -> Any:
    """The message again."""
    return pickle.loads(data)  # noqa: S301 - see the head of this module


class Channel:
    """One end. Safe to use from any thread."""

    def __init__(
        self,
        connection: "Connection[Any, Any]",
        answer: Answer,
        *,
        name: str,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Send and receive nothing before `start`.

        Args:
            connection: closed at the end.
            answer: see there.
            name: of the threads.
            on_end: called once, in the reading thread, when the other side has gone or this one
                was closed; before the requests that are open fail.
        """
        self._connection = connection
        self._answer = answer
        self._on_end = on_end
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # guards what follows
        self._pending: dict[int, Future[Any]] = {}
        self._has_ended = False
        self._end_error = ChannelEnded("The process has ended")
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reading = threading.Thread(target=self._read, name=f"{name}-in", daemon=True)
        self._writing = threading.Thread(target=self._write, name=f"{name}-out", daemon=True)

    def start(self) -> None:
        """Begin to read and to write."""
        self._writing.start()
        self._reading.start()  # which joins the other when it ends

    def notify(self, message: object) -> None:
        """Send a message that is not answered."""
        self._outgoing.put(encode((_NOTIFY, 0, message)))

    def request(self, message: object) -> "Future[Any]":
        """Send a message that is answered.

        Returns:
            A future of the answer. It fails with the `ServingError` of the other side, and with
            `ChannelEnded` when that is gone.
        """
        answer: Future[Any] = Future()
        number = next(self._numbers)
        data = encode((_REQUEST, number, message))
        with self._lock:
            if not self._has_ended:
                self._pending[number] = answer
                self._outgoing.put(data)
                return answer
        answer.set_exception(self._end_error)
        return answer

    def fail_with(self, text: str) -> None:
        """What futures say when there will be no answer. To be called in `on_end`."""
        self._end_error = ChannelEnded(text)

    def close(self, timeout_s: float | None = None) -> None:
        """Send what is queued, then end this side; that ends the other side too."""
        self._outgoing.put(None)
        self._writing.join(timeout_s)

    # -- the threads -----------------------------------------------------------------------------

    def _write(self) -> None:
        with suppress(OSError):
            while (data := self._outgoing.get()) is not None:
                self._connection.send_bytes(data)
            _shut(self._connection)  # wakes the reader, here and there

    def _read(self) -> None:
        try:
            while True:
                self._received(*decode(self._connection.recv_bytes()))
        except (EOFError, OSError):
            pass
        finally:  # a message that cannot be read is the end too
            try:
                self._on_end()
            finally:
                self._end()

    def _end(self) -> None:
        with self._lock:
            self._has_ended = True
            pending, self._pending = list(self._pending.values()), {}
        for answer in pending:
            with suppress(InvalidStateError):
                answer.set_exception(self._end_error)
        self._outgoing.put(None)
        self._writing.join()
        self._connection.close()

    def _received(self, kind: int, number: int, message: Any) -> None:
        if kind in (_NOTIFY, _REQUEST):
            self._handle(number if kind == _REQUEST else None, message)
            return
        with self._lock:
            answer = self._pending.pop(number, None)
        if answer is not None:
            with suppress(InvalidStateError):  # given up
                answer.set_exception(message) if kind == _FAILURE else answer.set_result(message)

    def _handle(self, number: int | None, message: Any) -> None:
        try:
            result = self._answer(message)
        except Exception as error:  # noqa: BLE001 - the answer to the request
            self._reply_failure(number, error)
            return
        if isinstance(result, Future):
            result.add_done_callback(lambda done: self._reply_later(number, done))
        elif number is not None:
            self._outgoing.put(encode((_ANSWER, number, result)))

    def _reply_later(self, number: int | None, done: "Future[Any]") -> None:
        error = done.exception()
        if error is not None:
            self._reply_failure(number, error)
        elif number is not None:
            self._outgoing.put(encode((_ANSWER, number, done.result())))

    def _reply_failure(self, number: int | None, error: BaseException) -> None:
        if not isinstance(error, ServingError):
            _log.error("What another process of this server asked failed", exc_info=error)
            error = Internal(f"{type(error).__name__}: {error}")
        if number is not None:
            self._outgoing.put(encode((_FAILURE, number, error)))


def _shut(connection: "Connection[Any, Any]") -> None:
    import socket

    with socket.socket(fileno=connection.fileno()) as borrowed:
        try:
            borrowed.shutdown(socket.SHUT_RDWR)
        finally:
            borrowed.detach()
