import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from salver.errors import Code, Unimplemented
from salver.inference.logged import LoggedCall, Messages
from salver.request_log.rotation import FileLimits, RotatingFile, open_new
from salver.request_log.writer import NO_OBSERVER, DropReason, QueueLimits, RecordWriter
from salver.vocabulary.requests import ServableRequest

WAIT_S = 10.0


def call(name: str = "m", request: bytes = b"r") -> LoggedCall:
    return LoggedCall("predict", ServableRequest(name), 1, "", Messages(request, b""))


def encode(logged: LoggedCall, time_s: float) -> bytes:
    assert isinstance(logged.content, Messages)
    if logged.content.request == b"no form":
        raise Unimplemented("no form")
    if logged.content.request == b"a bug":
        raise ZeroDivisionError
    return b"%s@%d;" % (logged.content.request, time_s)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Observer:
    """Keeps what it is told, and lets somebody wait for so much."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.written_names: list[str] = []
        self.drops: list[tuple[str, Code, DropReason]] = []

    def written(self, model_name: str) -> None:
        with self._changed:
            self.written_names.append(model_name)
            self._changed.notify_all()

    def dropped(self, model_name: str, code: Code, reason: DropReason) -> None:
        with self._changed:
            self.drops.append((model_name, code, reason))
            self._changed.notify_all()

    def wait(self, *, written: int = 0, dropped: int = 0) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: len(self.written_names) >= written and len(self.drops) >= dropped, WAIT_S
            )


class Log:
    """A writer and all around it; the disk does what `opener` says."""

    def __init__(
        self,
        directory: Path,
        limits: QueueLimits | None = None,
        linger_s: float = 0.0,
        *,
        is_observed: bool = True,
    ) -> None:
        self.directory = directory
        self.opener: Callable[[str], int] = open_new
        self.clock = Clock()
        self.observer = Observer()
        file = RotatingFile(
            str(directory / "m"),
            ".log",
            FileLimits(max_file_s=3600),
            clock=self.clock,
            opener=lambda path: self.opener(path),
        )
        self.writer = RecordWriter(
            file,
            encode,
            limits or QueueLimits(),
            self.observer if is_observed else NO_OBSERVER,
            clock=self.clock,
            linger_s=linger_s,
        )

    def text(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.directory.glob("m-*.log")))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    made.writer.close(WAIT_S)


def full(_path: str) -> int:
    return os.open("/dev/full", os.O_WRONLY)


def test_calls_are_written_in_order_and_counted(log: Log) -> None:
    for number in range(200):
        log.writer.put(call("ab"[number % 2], b"%d" % number), number)
    assert log.writer.close(WAIT_S)
    assert log.text() == b"".join(b"%d@%d;" % (number, number) for number in range(200))
    assert log.observer.written_names == ["a", "b"] * 100
    assert not log.observer.drops


def test_large_calls_are_written_a_few_at_a_time(log: Log) -> None:
    for number in range(4):
        log.writer.put(call("m", b"%d" % number * (1 << 20)), 0)
    assert log.writer.close(WAIT_S)
    assert len(log.text()) == 4 * ((1 << 20) + 3)


def test_what_has_no_form_is_dropped_alone(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    for request in (b"1", b"no form", b"a bug", b"2"):
        log.writer.put(call("m", request), 0)
    assert log.writer.close(WAIT_S)
    assert log.text() == b"1@0;2@0;"
    assert log.observer.drops == [
        ("m", Code.UNIMPLEMENTED, "not_writable"),
        ("m", Code.INTERNAL, "not_writable"),
    ]
    assert "ZeroDivisionError" in caplog.text


def test_a_group_without_any_form_is_no_write(log: Log) -> None:
    log.writer.put(call("m", b"no form"), 0)
    log.observer.wait(dropped=1)
    assert log.writer.close(WAIT_S)
    assert not list(log.directory.iterdir())


def test_a_full_disk_drops_and_recovers(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log.opener = full
    log.writer.put(call(), 0)
    log.observer.wait(dropped=1)
    log.opener = open_new
    log.writer.put(call(), 1)  # the disk is left alone for a while
    log.observer.wait(dropped=2)
    log.clock.now += 1
    log.writer.put(call(), 2)
    log.observer.wait(written=1)
    log.writer.put(call(), 3)
    assert log.writer.close(WAIT_S)
    assert log.text() == b"r@2;r@3;"
    assert log.observer.drops == [("m", Code.RESOURCE_EXHAUSTED, "disk")] * 2
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "A request log cannot be written: [Errno 28] No space left on device",
        "A request log can be written again",
    ]


def test_a_disk_that_stays_full_is_told_of_once(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log.opener = full
    for count in (1, 2):
        log.writer.put(call(), 0)
        log.observer.wait(dropped=count)
        log.clock.now += 1
    assert len(caplog.records) == 1


def test_a_file_that_cannot_be_completed_is_told_of(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    log.writer.put(call(), 0)
    log.observer.wait(written=1)
    (path,) = log.directory.iterdir()
    path.unlink()
    assert log.writer.close(WAIT_S)
    assert "A request log cannot be completed" in caplog.text


@contextmanager
def stuck_pipe(log: Log) -> Iterator[int]:
    """Let the writer write to a pipe nobody reads, until it is stuck in it."""
    reading, writing = os.pipe()
    begun = threading.Event()

    def pipe(path: str) -> int:
        os.symlink(f"/proc/self/fd/{writing}", path)
        begun.set()
        return writing

    log.opener = pipe
    log.writer.put(call("m", b"x" * (1 << 20)), 0)  # more than a pipe holds
    assert begun.wait(WAIT_S)
    try:
        yield reading
    finally:
        os.close(reading)


def test_a_disk_that_is_stuck_costs_what_the_queue_cannot_hold(tmp_path: Path) -> None:
    log = Log(tmp_path, QueueLimits(max_records=5, max_bytes=1 << 21))
    with stuck_pipe(log):
        log.writer.put(
            call("m", b"y" * (1 << 20) + b"y"), 0
        )  # by what is held, one that is too many
        assert log.observer.drops == [("m", Code.RESOURCE_EXHAUSTED, "queue_full")]
        for _ in range(7):
            log.writer.put(call(), 0)
        assert len(log.observer.drops) == 3  # by their number
        assert not log.writer.close(0.0)
        log.writer.put(call(), 0)
        assert log.observer.drops[-1] == ("m", Code.UNAVAILABLE, "closed")
    assert log.writer.close(WAIT_S)
    log.observer.wait(dropped=10)


def test_what_comes_too_late_is_counted(log: Log) -> None:
    assert log.writer.close(WAIT_S)
    log.writer.put(call(), 0)
    assert log.observer.drops == [("m", Code.UNAVAILABLE, "closed")]


def test_a_call_on_its_way_to_a_queue_that_closes_is_counted(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.writer.close(WAIT_S)
    monkeypatch.setattr(log.writer, "_is_closing", False)  # as it was when the call looked
    log.writer.put(call(), 0)
    assert log.observer.drops == [("m", Code.UNAVAILABLE, "closed")]


def test_an_old_file_is_completed_without_another_call(log: Log) -> None:
    log.writer.put(call(), 0)
    log.observer.wait(written=1)
    assert not list(log.directory.glob("*.log"))
    log.clock.now += 3600
    log.writer.put(call("m", b"no form"), 0)  # wakes the thread, and writes nothing
    log.observer.wait(dropped=1)
    log.writer.begin_close()
    assert log.writer.close(WAIT_S)
    assert log.text() == b"r@0;"


def test_nobody_need_observe(tmp_path: Path) -> None:
    log = Log(tmp_path, QueueLimits(max_bytes=10), is_observed=False)
    log.writer.put(call(request=b"more than there is room for"), 0)  # dropped in this thread
    log.writer.put(call(request=b"no form"), 0)  # and this one in the other
    log.writer.put(call(), 0)
    assert log.writer.close(WAIT_S)
    assert log.text() == b"r@0;"


def test_calls_wait_for_company_until_the_end(tmp_path: Path) -> None:
    log = Log(tmp_path, linger_s=3600)
    for number in range(3):
        log.writer.put(call("m", b"%d" % number), 0)
    assert log.writer.close(WAIT_S)
    assert log.text() == b"0@0;1@0;2@0;"
    assert len(log.observer.written_names) == 3


@pytest.mark.parametrize("limits", [QueueLimits(max_records=4), QueueLimits(max_bytes=4)])
def test_a_half_full_queue_waits_for_no_company(tmp_path: Path, limits: QueueLimits) -> None:
    log = Log(tmp_path, limits, linger_s=3600)
    for number in range(2):
        log.writer.put(call("m", b"%d" % number), 0)
    log.observer.wait(written=2)
    assert log.writer.close(WAIT_S)
    assert not log.observer.drops
