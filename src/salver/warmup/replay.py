"""Replays the warmup file of a version, as part of its load.

Source: TensorFlow Serving, `servables/tensorflow/saved_model_warmup_util.cc` (reading, limits, log
lines, when there is something to measure) and `saved_model_warmup.cc` (kinds).
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, Final

from salver.codecs.protobuf.prediction_log import LoggedRequest, LogKind, decode_prediction_log
from salver.codecs.protobuf.tfrecord import read_records
from salver.codecs.protobuf.wire import parse_message
from salver.errors import DataLoss, Internal, InvalidArgument, ServingError, Unimplemented
from salver.instruments.files import OsErrorsOf, error_of_os, open_regular

__all__ = ["MAX_RECORDS", "REQUESTS_FILE", "Ask", "Observe", "Replay", "has_requests"]

_log = logging.getLogger(__name__)

REQUESTS_FILE: Final = os.path.join("assets.extra", "tf_serving_warmup_requests")
"""The warmup file, seen from the version directory."""

MAX_RECORDS: Final = 1000
"""Records a warmup file may have."""

_SHOWN_BYTES: Final = 1000  # of a record that is none; the reference shows it whole
_ADVICE: Final = ". Please verify your warmup data is in TFRecord format."
_REST_S: Final = 300e-6
_UNSUPPORTED: Final = frozenset({LogKind.SESSION_RUN, LogKind.PREDICT_STREAMED})

Ask = Callable[[LogKind, bytes], object]
"""Has the version that is being loaded answer a serialized request, and blocks until it has, or
raises `ServingError`. Called from the load thread."""

Observe = Callable[[str, str, int, int], None]
"""Is told that a file was read to its end, or to where it could not be read any more: (version
directory; `OK`, or code and text of the error; microseconds; records that were answered).

As in the reference it is not told where there is no file, nor where a record or its answer is what
was wrong. Called from load threads."""


def _unobserved(_path: str, _status: str, _micros: int, _records: int) -> None:
    """Nobody looks."""


def has_requests(directory: str) -> bool:
    """Whether a version has a warmup file."""
    return os.path.exists(os.path.join(directory, REQUESTS_FILE))


@dataclass(frozen=True, slots=True)
class Replay:
    """How warmup files are replayed.

    Attributes:
        num_iterations: how often each record is asked; below 1 it is only parsed.
        num_threads: how many records are asked at the same time; below 1 counts as 1.
        observe: see there.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
        rests: whether to rest after an answer, because small requests one right after the other
            would keep the loop busy while others are served.
    """

    num_iterations: int = 1
    num_threads: int = 1
    observe: Observe = _unobserved
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    rests: Callable[[], bool] = lambda: True

    def __call__(self, directory: str, ask: Ask) -> None:
        """Ask what the warmup file of a version says, if it has one.

        Args:
            directory: of the version.
            ask: see `Ask`; called from other threads too where there is more than one.

        Raises:
            InvalidArgument: a record is no PredictionLog, or there are too many.
            DataLoss: the file is no TFRecord file, or damaged.
            Unimplemented: a record is of a kind that cannot be replayed.
            ServingError: what `ask` raised, or the file cannot be read.
        """
        begun_s = self.clock()
        path = os.path.join(directory, REQUESTS_FILE)
        if not os.path.exists(path):
            _log.info("No warmup data file found at %s", path)
            return
        _log.info(
            "Starting to read warmup data for model at %s with model-warmup-options %s",
            path,
            self._options_text(),
        )
        with OsErrorsOf(path):
            file = open_regular(path)  # closed below; only opening may fail here
        with file:
            asking = _Asking(file, path, self._with_rests(ask), self.num_iterations)
            self._run(asking)
        micros = int((self.clock() - begun_s) * 1e6)
        failure, is_of_file = asking.failure, asking.is_failure_of_file
        # With several threads the reference does not tell the two kinds of failure apart.
        if failure is None or is_of_file or self.num_threads > 1:
            self.observe(directory, failure.status if failure else "OK", micros, asking.count)
            if isinstance(failure, DataLoss):
                failure = DataLoss(f"{failure.message}{_ADVICE}", hint=failure.hint)
        if failure is not None:
            raise failure
        _log.info(
            "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
            "Elapsed time (microseconds): %d.",
            path,
            asking.count,
            micros,
        )

    def _with_rests(self, ask: Ask) -> Ask:
        def ask_and_rest(kind: LogKind, request: bytes) -> None:
            ask(kind, request)
            if self.rests():
                self.sleep(_REST_S)

        return ask_and_rest

    def _run(self, asking: "_Asking") -> None:
        if self.num_threads <= 1:
            asking.work()
            return
        with ThreadPoolExecutor(self.num_threads, "salver-warmup") as threads:
            for work in [threads.submit(asking.work) for _ in range(self.num_threads)]:
                work.result()

    def _options_text(self) -> str:
        """As protobuf shows a ModelWarmupOptions that says what is not usual."""
        said = {
            "num_request_iterations": self.num_iterations,
            "num_model_warmup_threads": self.num_threads,
        }
        texts = [f"{name} {{\n  value: {value}\n}}\n" for name, value in said.items() if value != 1]
        return "".join(texts)


class _Asking:
    """A warmup file that is read and asked by one or more threads.

    Attributes:
        count: records read and answered.
        failure: what ended it before the end of the file, if something did.
        is_failure_of_file: whether it is the file that could not be read.
    """

    def __init__(self, file: BinaryIO, path: str, ask: Ask, num_iterations: int) -> None:
        self.count = 0
        self.failure: ServingError | None = None
        self.is_failure_of_file = False
        self._lock = threading.Lock()
        self._path = path
        self._ask = ask
        self._num_iterations = num_iterations
        self._records = enumerate(read_records(file), 1)

    def work(self) -> None:
        """Read and ask until the file ends, or something fails in this thread or another."""
        while (found := self._next()) is not None:
            number, logged = found
            if logged is not None and not self._has_answered(number, logged):
                return
            with self._lock:
                self.count += 1

    def _next(self) -> tuple[int, LoggedRequest | None] | None:
        """The number of the next record, and what it asks; None when there is nothing to do."""
        with self._lock:
            if self.failure is not None:
                return None
            try:
                if self.count > MAX_RECORDS:
                    raise InvalidArgument(
                        f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) "
                        f"at {self._path}"
                    )
                found = self._read()
                return None if found is None else (found[0], _logged_request(found[1], self._path))
            except ServingError as error:
                self.failure = error
                return None

    def _read(self) -> tuple[int, bytes] | None:
        try:
            return next(self._records, None)
        except DataLoss:
            self.is_failure_of_file = True
            raise
        except OSError as error:
            self.is_failure_of_file = True
            raise error_of_os(self._path, error) from error

    def _has_answered(self, number: int, logged: LoggedRequest) -> bool:
        try:
            if logged.kind in _UNSUPPORTED:
                raise Unimplemented(f"Unsupported log_type for warmup: {logged.kind.value}")
            for _ in range(self._num_iterations):
                self._ask(logged.kind, logged.request)
        except ServingError as error:
            where = f"({logged.kind.name.lower()}, record {number} of {self._path})"
            error.hint = f"{error.hint or 'It failed'} {where}"
            with self._lock:
                self.failure = self.failure or error
            return False
        return True


def _logged_request(record: bytes, path: str) -> LoggedRequest | None:
    try:
        # The whole record, with the responses that nobody looks at: so does the reference.
        parse_message("tensorflow.serving.PredictionLog", record)
        return decode_prediction_log(record)
    except Internal:
        text = record[:_SHOWN_BYTES].decode(errors="replace")
        if len(record) > _SHOWN_BYTES:
            text += "..."
        raise InvalidArgument(f"Failed to parse warmup record: {text} from {path}") from None
