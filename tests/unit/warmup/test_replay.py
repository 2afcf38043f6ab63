import dataclasses
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.shelf import WAIT_S

from salver._pb import message_class
from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
from salver.codecs.protobuf.tfrecord import write_record
from salver.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
    Unknown,
)
from salver.warmup.replay import MAX_RECORDS, REQUESTS_FILE, Replay

REQUEST = message_class("tensorflow.serving.PredictRequest")(output_filter=["y"])
PREDICT = encode_prediction_log(LogKind.PREDICT, REQUEST.SerializeToString())


class Clock:
    """Goes on by a quarter of a second each time it is looked at."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 0.25
        return self.now_s


class Asked(list[tuple[LogKind, bytes]]):
    """Takes requests, until one fails."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.fails_at = fails_at

    def __call__(self, kind: LogKind, request: bytes) -> None:
        if self.fails_at is not None and len(self) >= self.fails_at:
            raise NotFound("no such thing", hint="Look.")
        self.append((kind, request))


Observed = list[tuple[str, str, int, int]]


@pytest.fixture
def observed() -> Observed:
    return []


@pytest.fixture
def replay(observed: Observed) -> Replay:
    return Replay(observe=lambda *what: observed.append(what), clock=Clock())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / REQUESTS_FILE).parent.mkdir()
    return tmp_path


Write = Callable[..., Path]


@pytest.fixture
def write(directory: Path) -> Write:
    """Writes the warmup file of records."""

    def written(*records: bytes) -> Path:
        path = directory / REQUESTS_FILE
        path.write_bytes(b"".join(map(write_record, records)))
        return path

    return written


def test_a_version_without_a_file_is_warm(
    replay: Replay, directory: Path, observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked()
    with caplog.at_level(logging.INFO):
        replay(str(directory), asked)
    assert (asked, observed) == ([], [])
    assert caplog.messages == [f"No warmup data file found at {directory / REQUESTS_FILE}"]


def test_the_requests_are_asked_in_order(
    replay: Replay,
    directory: Path,
    write: Write,
    observed: Observed,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kinds = [LogKind.PREDICT, LogKind.CLASSIFY, LogKind.REGRESS, LogKind.MULTI_INFERENCE]
    path = write(*(encode_prediction_log(kind, b"", b"", b"") for kind in kinds))
    asked = Asked()
    with caplog.at_level(logging.INFO):
        replay(str(directory), asked)
    assert asked == [(kind, b"") for kind in kinds]
    assert observed == [(str(directory), "OK", 250_000, 4)]
    assert caplog.messages == [
        f"Starting to read warmup data for model at {path} with model-warmup-options ",
        f"Finished reading warmup data for model at {path}. Number of warmup records read: 4. "
        "Elapsed time (microseconds): 250000.",
    ]


def test_each_record_is_asked_as_often_as_the_flag_says(
    directory: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(PREDICT, PREDICT)
    asked = Asked()
    with caplog.at_level(logging.INFO):
        Replay(num_iterations=3, num_threads=2)(str(directory), asked)
    assert len(asked) == 6
    assert caplog.messages[0] == (
        f"Starting to read warmup data for model at {path} with model-warmup-options "
        "num_request_iterations {\n  value: 3\n}\nnum_model_warmup_threads {\n  value: 2\n}\n"
    )


def test_there_is_a_rest_after_each_answer(directory: Path, write: Write) -> None:
    write(PREDICT, PREDICT)
    asked, rests = Asked(), list[tuple[int, float]]()
    Replay(num_iterations=2, sleep=lambda rest_s: rests.append((len(asked), rest_s)))(
        str(directory), asked
    )
    assert [number for number, _ in rests] == [1, 2, 3, 4]
    assert all(0 < rest_s < 1e-3 for _, rest_s in rests)


def test_there_is_no_rest_while_nobody_is_served(directory: Path, write: Write) -> None:
    write(PREDICT, PREDICT)
    asked, rests = Asked(), list[float]()
    Replay(sleep=rests.append, rests=lambda: len(asked) > 1)(str(directory), asked)
    assert len(asked) == 2
    assert len(rests) == 1


@pytest.mark.parametrize("iterations", [0, -1])
def test_without_iterations_records_are_only_parsed(
    directory: Path, write: Write, observed: Observed, iterations: int
) -> None:
    write(PREDICT)
    asked = Asked()
    observe = lambda *what: observed.append(what)  # noqa: E731
    Replay(iterations, observe=observe, clock=Clock())(str(directory), asked)
    assert asked == []
    assert observed == [(str(directory), "OK", 250_000, 1)]


def test_a_record_without_a_kind_is_skipped_and_counted(
    replay: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    write(b"", PREDICT)
    asked = Asked()
    replay(str(directory), asked)
    assert len(asked) == 1
    assert observed[0][3] == 2


@pytest.mark.parametrize("kind", [LogKind.SESSION_RUN, LogKind.PREDICT_STREAMED])
def test_what_cannot_be_replayed_fails(
    replay: Replay, directory: Path, write: Write, observed: Observed, kind: LogKind
) -> None:
    write(PREDICT, encode_prediction_log(kind, b""))
    with pytest.raises(Unimplemented) as caught:
        replay(str(directory), Asked())
    assert caught.value.message == f"Unsupported log_type for warmup: {kind.value}"
    assert observed == []


def test_a_request_that_fails_fails_the_replay_with_its_error(
    replay: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    path = write(PREDICT, PREDICT)
    with pytest.raises(NotFound) as caught:
        replay(str(directory), Asked(fails_at=1))
    assert caught.value.message == "no such thing"
    assert caught.value.hint == f"Look. (predict, record 2 of {path})"
    assert observed == []


def test_the_record_is_named_where_the_error_has_no_hint(
    replay: Replay, directory: Path, write: Write
) -> None:
    path = write(encode_prediction_log(LogKind.SESSION_RUN, b""))
    with pytest.raises(Unimplemented) as caught:
        replay(str(directory), Asked())
    assert caught.value.hint == f"It failed (session_run, record 1 of {path})"


def test_a_thousand_records_are_taken(
    replay: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    write(*[PREDICT] * MAX_RECORDS)
    asked = Asked()
    replay(str(directory), asked)
    assert (len(asked), observed[0][3]) == (1000, 1000)


def test_one_more_is_asked_and_refused(
    replay: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    path = write(*[PREDICT] * (MAX_RECORDS + 1))
    asked = Asked()
    with pytest.raises(InvalidArgument) as caught:
        replay(str(directory), asked)
    assert caught.value.message == f"Number of warmup records exceeds the maximum (1000) at {path}"
    assert (len(asked), observed) == (1001, [])


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (b"no log", "no log"),
        (b"\xff", "\ufffd"),
        (b"w" * 1000, "w" * 1000),
        (b"w" * 1001, "w" * 1000 + "..."),
        (encode_prediction_log(LogKind.PREDICT, b"\x0a"), "2\x03\n\x01\n"),
    ],
    ids=["text", "bytes", "long", "longer", "bad request"],
)
def test_a_record_that_is_no_log_is_shown(
    replay: Replay, directory: Path, write: Write, observed: Observed, record: bytes, shown: str
) -> None:
    path = write(PREDICT, record)
    with pytest.raises(InvalidArgument) as caught:
        replay(str(directory), Asked())
    assert caught.value.message == f"Failed to parse warmup record: {shown} from {path}"
    assert observed == []


def test_a_file_that_is_no_tfrecord_file_is_told_so(
    replay: Replay, directory: Path, observed: Observed
) -> None:
    (directory / REQUESTS_FILE).write_text('{"instances": [1.0, 2.0]}')
    with pytest.raises(DataLoss) as caught:
        replay(str(directory), Asked())
    text = "corrupted record at 0 (Is this even a TFRecord file?)"
    assert caught.value.message == (
        f"{text}. Please verify your warmup data is in TFRecord format."
    )
    assert observed == [(str(directory), f"DATA_LOSS: {text}", 250_000, 0)]


def test_data_lost_by_a_request_is_not_blamed_on_the_file(
    replay: Replay, directory: Path, write: Write
) -> None:
    def ask(_kind: LogKind, _request: bytes) -> None:
        raise DataLoss("a table is gone")

    write(PREDICT)
    with pytest.raises(DataLoss) as caught:
        replay(str(directory), ask)
    assert caught.value.message == "a table is gone"


def test_records_before_a_cut_are_asked_and_counted(
    replay: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    path = write(PREDICT, PREDICT)
    path.write_bytes(path.read_bytes()[:-1])
    asked = Asked()
    at = len(write_record(PREDICT))
    with pytest.raises(DataLoss) as caught:
        replay(str(directory), asked)
    assert caught.value.message == (
        f"truncated record at {at}' failed with Read less bytes than requested. "
        "Please verify your warmup data is in TFRecord format."
    )
    assert len(asked) == 1
    assert observed[0][3] == 1


def test_a_file_that_cannot_be_opened_fails(
    replay: Replay, directory: Path, observed: Observed
) -> None:
    path = directory / REQUESTS_FILE
    path.mkdir()
    with pytest.raises(FailedPrecondition) as caught:
        replay(str(directory), Asked())
    assert caught.value.message == f"{path}; Is a directory"
    assert observed == []


def test_a_file_that_cannot_be_read_fails_and_is_counted(
    replay: Replay, directory: Path, observed: Observed
) -> None:
    path = directory / REQUESTS_FILE
    path.symlink_to("/proc/self/mem")  # opens, but its first page cannot be read
    with pytest.raises(Unknown):
        replay(str(directory), Asked())
    assert observed == [(str(directory), f"UNKNOWN: {path}; Input/output error", 250_000, 0)]


# -- with several threads --------------------------------------------------------------------------


@pytest.fixture
def threaded(replay: Replay) -> Replay:
    return dataclasses.replace(replay, num_threads=3)


def test_threads_share_the_records(
    threaded: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    names: set[str] = set()
    together = threading.Barrier(3, timeout=WAIT_S)

    def ask(_kind: LogKind, _request: bytes) -> None:
        names.add(threading.current_thread().name.rpartition("_")[0])
        together.wait()

    write(*[PREDICT] * 6)
    threaded(str(directory), ask)
    assert names == {"salver-warmup"}
    assert observed == [(str(directory), "OK", 250_000, 6)]


def test_threads_stop_at_a_failure_which_is_counted(
    threaded: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    write(*[PREDICT] * 100)
    asked = Asked(fails_at=4)
    with pytest.raises(NotFound):
        threaded(str(directory), asked)
    assert len(asked) < 8
    ((_, status, _, count),) = observed
    assert status == "NOT_FOUND: no such thing"
    assert count == len(asked)


def test_threads_take_no_more_than_the_limit(
    threaded: Replay, directory: Path, write: Write, observed: Observed
) -> None:
    path = write(*[PREDICT] * (MAX_RECORDS + 10))
    with pytest.raises(InvalidArgument) as caught:
        threaded(str(directory), Asked())
    text = f"Number of warmup records exceeds the maximum (1000) at {path}"
    assert caught.value.message == text
    assert observed[0][1] == f"INVALID_ARGUMENT: {text}"


def test_what_is_no_error_of_serving_comes_out_of_the_thread(
    threaded: Replay, directory: Path, write: Write
) -> None:
    def ask(_kind: LogKind, _request: bytes) -> None:
        raise ZeroDivisionError

    write(PREDICT)
    with pytest.raises(ZeroDivisionError):
        threaded(str(directory), ask)
