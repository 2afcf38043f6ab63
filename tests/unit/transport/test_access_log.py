import json
import logging
import os
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from salver.transport import access_log
from salver.transport.access_log import AccessLog, log_line
from salver.transport.service import AccessRecord

RECORD = AccessRecord(
    time=1704067200.1234,
    remote="127.0.0.1",
    method="POST",
    target="/v1/models/m:predict",
    status=200,
    bytes_in=30,
    bytes_out=20,
    seconds=0.00123456,
    model_version="3",
    user_agent="curl/8",
)


def statuses(path: Path) -> list[int]:
    return [json.loads(line)["status"] for line in path.read_text().splitlines()]


def record_of(status: int) -> AccessRecord:
    return AccessRecord(
        time=0.0,
        remote=None,
        method="",
        target="",
        status=status,
        bytes_in=0,
        bytes_out=0,
        seconds=0.0,
        model_version=None,
        user_agent=None,
    )


def test_a_line_says_who_asked_where_that_is_known() -> None:
    assert "principal" not in json.loads(log_line(RECORD))
    assert json.loads(log_line(replace(RECORD, principal="ada")))["principal"] == "ada"


def test_a_key_in_the_address_is_left_out() -> None:
    target = f"/v1/models/m?api_key=salver_shop_{'x' * 32}&b=1"
    line = json.loads(log_line(replace(RECORD, target=target)))
    assert line["target"] == "/v1/models/m?api_key=salver_shop_…&b=1"


def test_a_line_is_one_json_object() -> None:
    line = log_line(RECORD)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "time": "2024-01-01T00:00:00.123Z",
        "remote": "127.0.0.1",
        "method": "POST",
        "target": "/v1/models/m:predict",
        "status": 200,
        "bytes_in": 30,
        "bytes_out": 20,
        "seconds": 0.001235,
        "model_version": "3",
        "user_agent": "curl/8",
    }


def test_lines_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(log_line(record_of(1)))
    log = AccessLog(str(path))
    for status in range(2, 2000):
        log(record_of(status))
    log.close()
    assert statuses(path) == list(range(1, 2000))


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog(str(tmp_path / "no directory" / "access.log"))


def test_a_dash_is_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-")
    log(RECORD)
    log.close()
    assert json.loads(capfd.readouterr().out)["status"] == 200


class Gate:
    """A named pipe in the log's place: its writer stands still until somebody reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read_all(self) -> bytes:
        os.set_blocking(self.end, True)
        with os.fdopen(self.end, "rb") as end:
            return end.read()


def test_a_slow_disk_costs_lines_and_no_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(tmp_path / "fifo")
    log = AccessLog(str(gate.path), max_queued=10)
    sent = 5000
    for _ in range(sent):
        log(RECORD)
    assert log.dropped > 0
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(gate.read_all()))
    reader.start()
    log.close()
    reader.join()
    assert len(got[0].splitlines()) + log.dropped == sent
    assert f"The access log has lost {log.dropped} lines." in caplog.messages


@pytest.fixture
def full_pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AccessLog, int]]:
    """A log on a standard output that does not block, and the other end of it; it is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr(access_log, "_STDOUT", writer)
    log = AccessLog("-")
    for _ in range(1000):
        log(RECORD)
    waiting = select.poll()
    waiting.register(writer, select.POLLOUT)
    while waiting.poll(0):
        threading.Event().wait(0.001)
    yield log, reader
    os.close(writer)


def cpu_s(log: AccessLog) -> float:
    assert log._thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(log._thread.ident))


@pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="needs the clock of a thread"
)
def test_a_full_pipe_is_waited_for_at_rest(full_pipe: tuple[AccessLog, int]) -> None:
    log, end = full_pipe
    before = cpu_s(log)
    threading.Event().wait(0.1)
    assert cpu_s(log) - before < 0.05
    got = b""
    while got.count(b"\n") < 1000:
        got += os.read(end, 1 << 16)
    assert got == log_line(RECORD) * 1000
    log.close()
    assert log.dropped == 0
    os.close(end)


def test_a_full_pipe_that_nobody_reads_any_more_costs_its_lines(
    full_pipe: tuple[AccessLog, int],
) -> None:
    log, end = full_pipe
    os.close(end)
    log.close()
    assert log.dropped > 0


def test_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "fifo")
    log = AccessLog(str(gate.path))
    for _ in range(2000):
        log(RECORD)
    log.close(timeout_s=0.01)
    assert log._thread.is_alive()
    reader = threading.Thread(target=gate.read_all)
    reader.start()
    log._thread.join()
    log._file.close()
    reader.join()


def wait_for_lines(path: Path, log: AccessLog, status: int) -> None:
    """Have one more line written, and wait until it is."""
    log(record_of(status))
    while not path.exists() or status not in statuses(path):
        threading.Event().wait(0.001)


def test_a_file_that_was_moved_away_is_opened_again(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path))
    wait_for_lines(path, log, 1)
    path.rename(old)
    wait_for_lines(path, log, 2)
    path.rename(old.with_suffix(".2"))
    path.touch()
    wait_for_lines(path, log, 3)
    log.close()
    assert (statuses(old), statuses(path)) == ([1], [3])


def test_a_log_that_cannot_be_written_says_so_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "logs"
    home.mkdir()
    path = home / "access.log"
    log = AccessLog(str(path))
    home.rename(tmp_path / "away")
    with caplog.at_level(logging.WARNING):
        for dropped in (1, 2):
            log(RECORD)
            while log.dropped < dropped:
                threading.Event().wait(0.001)
    home.mkdir()
    wait_for_lines(path, log, 3)
    log.close()
    assert sum("cannot be written" in message for message in caplog.messages) == 1
    assert statuses(path) == [3]


def test_what_is_written_to_a_pipe_at_once_are_whole_lines(tmp_path: Path) -> None:
    """Other processes may write to it too, and only so much is written as a whole."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(path))
    lines = [b"x" * 1500 + b"\n"] * 3 + [b"y" * 9000 + b"\n"]
    pieces = log._pieces(lines)
    assert b"".join(pieces) == b"".join(lines)
    assert [len(piece) for piece in pieces] == [3002, 1501, 9001]
    log.close()
    os.close(reader)


def test_a_pipe_that_nobody_reads_in_place_of_a_file_that_was_moved_away_holds_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    path.rename(tmp_path / "access.log.1")
    os.mkfifo(path)
    with caplog.at_level(logging.WARNING):
        log(RECORD)
        while log.dropped < 1:
            threading.Event().wait(0.001)
    path.unlink()
    wait_for_lines(path, log, 2)
    log.close()
    assert sum("cannot be written" in message for message in caplog.messages) == 1
    assert statuses(path) == [2]


def test_a_request_that_is_traced_says_where() -> None:
    assert "trace_id" not in json.loads(log_line(RECORD))
    assert json.loads(log_line(replace(RECORD, trace_id="ab")))["trace_id"] == "ab"


def test_a_request_that_another_server_has_answered_says_which() -> None:
    assert "forwarded_to" not in json.loads(log_line(RECORD))
    assert json.loads(log_line(replace(RECORD, forwarded_to="n2")))["forwarded_to"] == "n2"
