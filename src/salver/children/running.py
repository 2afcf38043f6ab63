"""The runs in a child: in its main thread, in several threads, or started and awaited.

A model of which one run is made at a time is run in the thread that loaded it, which receives and
answers too. One that may be run by several threads is: the thread that has received a run makes it,
and another receives the next one. One that starts its runs itself is asked in the main thread, and
answers when its futures are done. Of such a model a run may have several answers; see `answers`.

A run that nobody waits for is stopped from the thread that receives orders: by the model where it
can do that, else by an exception in its thread, at the next line of Python.
"""

import ctypes
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, cast

from salver.backends.protocol import Capabilities
from salver.children.answers import SentAnswers
from salver.children.stopping import Stopped, failure_of
from salver.children.wire import Kind, Link, Message, WrongMessage
from salver.errors import Internal, InvalidArgument, ServingError
from salver.vocabulary.model import Model, StreamableModel
from salver.vocabulary.requests import Array

__all__ = ["Runs"]

_log = logging.getLogger(__name__)

_SHORT_S: Final = 500e-6  # runs that are made by the calling thread alone
_MOST_EARLY: Final = 1024
_STOP_SIGNAL: Final = signal.SIGRTMAX

_set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)

_NO_EXCEPTION: Final[Any] = ctypes.py_object()  # NULL, which takes one back


class _Program:
    """A program of the model, or why there is none."""

    __slots__ = ("_is_short", "_program", "_run", "places", "signature_name")

    def __init__(self, model: Model, said: Any, *, is_started: bool) -> None:
        self.signature_name: str = said.get("signature") or ""
        outputs = said.get("outputs")
        self.places: list[int] | None = None
        if self.signature_name and is_started:
            if outputs is not None:
                known = list(model.signatures[self.signature_name].outputs)
                self.places = [known.index(alias) for alias in outputs]
            return
        if self.signature_name:
            self._program = model.program(self.signature_name, outputs)
        elif model.graph is None:
            raise InvalidArgument("The model has no graph")
        else:
            self._program = model.graph.program(said["feeds"], said["fetches"], said["targets"])
        self._is_short = False

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        program = self._program
        if program.can_loop:
            return list(program.run(feeds))
        begun_s = perf_counter()
        # What is short would spend most of its time on its way to other threads.
        run = program.run_in_caller if self._is_short else program.run
        try:
            return list(run(feeds))
        finally:
            self._is_short = perf_counter() - begun_s < _SHORT_S


class Runs:
    """What runs a loaded model.

    Attributes:
        model: the model.
        starts_runs: whether it starts its runs itself; see `StartableModel`.
    """

    def __init__(self, model: Model, capabilities: Capabilities) -> None:
        """Run nothing yet.

        Args:
            model: what was loaded.
            capabilities: of its backend.
        """
        self.model = model
        self._start: Callable[[str, Sequence[Array]], Future[Any]] | None
        self._start = getattr(model, "start", None)
        self.starts_runs = self._start is not None
        self._is_serial = capabilities.keeps_gil or not capabilities.parallel_runs
        self._cancel_in_model: Callable[[Sequence[Array]], None] | None = None
        if capabilities.can_cancel:
            self._cancel_in_model = getattr(model, "cancel", None)
        self._programs: dict[int, _Program | ServingError] = {}
        self._current = 0  # the run in the main thread; numbers begin at 1
        self._unwanted: dict[int, None] = {}  # runs to be stopped, perhaps not begun yet
        self._main = threading.get_ident()
        self._lock = threading.Lock()  # guards what follows
        self._threads: dict[int, int] = {}  # run → thread
        self._feeds: dict[int, Sequence[Array]] = {}
        self._futures: dict[int, Future[Any]] = {}
        self._streams: dict[int, SentAnswers] = {}
        self._idle = 0
        self._receiving = threading.Lock()
        self._has_ended = False

    def serve(self, link: Link, orders: Link) -> None:
        """Run what comes, until the server closes the link. Called in the main thread."""
        self._link = link
        orders.share_segments(link)
        threading.Thread(
            target=self._take_orders, args=(orders,), name="salver-orders", daemon=True
        ).start()
        if self._start is not None:
            self._serve_started(self._start)
        elif self._is_serial:
            signal.signal(_STOP_SIGNAL, self._on_signal)
            while (message := self._next_run()) is not None:
                self._answer(message, self._run_here)
                del message
        else:
            self._serve_in_threads()

    # -- what comes ------------------------------------------------------------------------------

    def _next_run(self) -> Message | None:
        while True:
            message = self._link.receive()
            if message is None:
                return None
            if message.kind in (Kind.RUN, Kind.STREAM):
                return message
            if message.kind is Kind.DEFINE:
                self._define(message)
            elif message.kind is Kind.FORGET:
                self._programs.pop(message.program, None)

    def _define(self, message: Message) -> None:
        try:
            made: _Program | ServingError = _Program(
                self.model, message.value(), is_started=self.starts_runs
            )
        except ServingError as error:
            made = error
        except Exception as error:  # noqa: BLE001 - handed to who runs it
            _log.error("The model has no such program", exc_info=error)
            made = Internal(f"{type(error).__name__}: {error}")
        self._programs[message.program] = made

    def _take_orders(self, orders: Link) -> None:
        """Receive what cannot wait behind a run."""
        with suppress(OSError, WrongMessage):
            while (message := orders.receive()) is not None:
                if message.kind is Kind.CANCEL:
                    self._stop(message.number)
                elif message.kind is Kind.CREDIT:
                    stream = self._streams.get(message.number)
                    if stream is not None:
                        stream.credit(message.program)
        os._exit(1)  # the server is gone

    # -- answers ---------------------------------------------------------------------------------

    def _answer(self, message: Message, run: Callable[[Message], list[Array]]) -> None:
        number = message.number
        try:
            outputs = run(message)
            del message
            self._link.send(Kind.DONE, number, arrays=outputs)
        except BaseException as error:  # noqa: BLE001 - handed to who waits
            self._fail(number, error)

    def _program(self, message: Message) -> _Program:
        program = self._programs.get(message.program)
        if program is None:
            raise Internal(f"The child knows no program {message.program}")
        if isinstance(program, ServingError):
            raise program
        return program

    # -- one at a time, in the main thread -------------------------------------------------------

    def _run_here(self, message: Message) -> list[Array]:
        feeds = message.take_arrays()
        number = message.number
        if self._cancel_in_model is not None:
            self._feeds[number] = feeds
        try:
            self._current = number
            if number in self._unwanted:
                raise Stopped
            return self._program(message).run(feeds)
        finally:
            self._current = 0
            self._unwanted.pop(number, None)
            self._feeds.pop(number, None)

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self._current and self._current in self._unwanted:
            stream = self._streams.get(self._current)
            if stream is not None:
                if stream.is_noticed:
                    return
                stream.is_noticed = True
            raise Stopped

    # -- several at a time, in threads -----------------------------------------------------------

    def _serve_in_threads(self) -> None:
        threads: list[threading.Thread] = []

        def work() -> None:
            while (message := self._received(start_another)) is not None:
                self._answer(message, self._run_in_thread)
                del message

        def start_another() -> None:
            thread = threading.Thread(target=work, name=f"salver-run-{len(threads)}", daemon=True)
            threads.append(thread)
            with self._lock:
                self._idle += 1
            try:
                thread.start()
            except RuntimeError:  # there are as many as the machine gives
                threads.pop()
                with self._lock:
                    self._idle -= 1

        start_another()
        for thread in threads:  # which grows meanwhile
            thread.join()

    def _received(self, start_another: Callable[[], None]) -> Message | None:
        """The next run, for the calling thread; another thread receives after it."""
        with self._receiving:
            message = None if self._has_ended else self._next_run()
            if message is None:
                self._has_ended = True
                return None
            with self._lock:
                self._idle -= 1
                is_last = not self._idle
            if is_last:
                start_another()
            return message

    def _run_in_thread(self, message: Message) -> list[Array]:
        feeds = message.take_arrays()
        number = message.number
        try:
            with self._lock:
                self._threads[number] = threading.get_ident()
                if self._cancel_in_model is not None:
                    self._feeds[number] = feeds
                is_unwanted = number in self._unwanted
            if is_unwanted:
                raise Stopped
            return self._program(message).run(feeds)
        finally:
            self._leave(number)

    def _leave(self, number: int) -> None:
        """Be stopped no more, though an exception for this thread may be on its way."""
        has_left = False
        while not has_left:
            with suppress(Stopped):
                with self._lock:
                    if self._threads.pop(number, None) is not None:
                        self._idle += 1
                    self._feeds.pop(number, None)
                    self._unwanted.pop(number, None)
                _set_exception(threading.get_ident(), _NO_EXCEPTION)
                has_left = True

    # -- started, and awaited --------------------------------------------------------------------

    def _serve_started(self, start: Callable[[str, Sequence[Array]], Future[Any]]) -> None:
        signal.signal(_STOP_SIGNAL, self._on_signal)
        takes_many = False
        # Of these nothing is to be stopped here, where it would be forgotten that they have begun.
        elsewhere = frozenset(getattr(self.model, "asynchronous", ()))
        while (message := self._next_run()) is not None:
            number = message.number
            try:
                program = self._program(message)
                if program.signature_name not in elsewhere:
                    self._current = number  # it is made before `start` returns
                try:
                    future = self._begun(message, program, start)
                finally:
                    self._current = 0
            except BaseException as error:  # noqa: BLE001 - handed to who waits
                self._streams.pop(number, None)
                self._fail(number, error)
                continue
            if future.done():  # nothing is left that could be stopped
                self._done(number, program.places)(future)
                del message, future
                continue
            if not takes_many:
                takes_many = True
                self._link.send(Kind.MANY)
            with self._lock:
                self._futures[number] = future
                is_unwanted = number in self._unwanted
            if is_unwanted:
                future.cancel()
            future.add_done_callback(self._done(number, program.places))
            del message, future

    def _begun(
        self,
        message: Message,
        program: _Program,
        start: Callable[[str, Sequence[Array]], Future[Any]],
    ) -> Future[Any]:
        if message.kind is Kind.RUN:
            return start(program.signature_name, message.take_arrays())
        number = message.number
        answers = SentAnswers(self._link, number, program.places, _Undisturbed(self))
        with self._lock:
            self._streams[number] = answers
            if number in self._unwanted:
                raise Stopped
        model = cast("StreamableModel", self.model)
        return model.stream(program.signature_name, message.take_arrays(), answers)

    def _done(self, number: int, places: Sequence[int] | None) -> Callable[[Future[Any]], None]:
        def done(future: Future[Any]) -> None:
            with self._lock:
                self._futures.pop(number, None)
                self._unwanted.pop(number, None)
                stream = self._streams.pop(number, None)
            try:
                if stream is not None:
                    future.result()
                    if not stream.is_complete:
                        self._link.transmit(self._link.text(Kind.ENDED, b"", number))
                    return
                outputs = list(future.result())
                if places is not None:
                    outputs = [outputs[place] for place in places]
                self._link.send(Kind.DONE, number, arrays=outputs)
            except BaseException as error:  # noqa: BLE001 - handed to who waits
                self._fail(number, error)

        return done

    def _fail(self, number: int, error: BaseException) -> None:
        try:
            self._link.send_error(failure_of(error), number)
        except OSError:
            os._exit(1)

    # -- stops -----------------------------------------------------------------------------------

    def _stop(self, number: int) -> None:
        """Stop a run, or see to it that it does not begin. One that is over is left alone."""
        with self._lock:
            while len(self._unwanted) >= _MOST_EARLY:
                del self._unwanted[next(iter(self._unwanted))]
            self._unwanted[number] = None
            future, feeds = self._futures.get(number), self._feeds.get(number)
            thread, stream = self._threads.get(number), self._streams.get(number)
            if thread is not None and self._cancel_in_model is None:
                _set_exception(thread, Stopped)
        if stream is not None:
            stream.stop()
        if future is not None:
            future.cancel()
        elif self._cancel_in_model is not None and feeds is not None:
            self._cancel_in_model(feeds)
        elif self._current == number:
            signal.pthread_kill(self._main, _STOP_SIGNAL)


class _Undisturbed:
    """While it is entered in the main thread, a run that is to be stopped goes on."""

    __slots__ = ("_current", "_runs")

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._current = 0

    def __enter__(self) -> None:
        if threading.get_ident() == self._runs._main:
            self._current, self._runs._current = self._runs._current, 0

    def __exit__(self, *_error: object) -> None:
        if threading.get_ident() == self._runs._main:
            self._runs._current = self._current
