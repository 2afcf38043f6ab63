import itertools
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from salver._pb import POOL, message_class
from salver.codecs.protobuf.prediction_log import decode_prediction_log
from salver.codecs.protobuf.tfrecord import read_records
from salver.errors import InvalidArgument, NotFound, ResourceExhausted
from salver.inference.logged import Bodies, LoggedCall, Messages
from salver.request_log.loggers import RequestLogger, RequestLogs, check_logs
from salver.request_log.options import RequestLogOptions
from salver.vocabulary.requests import ServableRequest

WAIT_S = 10.0


def config(prefix: Path | str, kind: str = "file", rate: float = 1.0, more: str = "") -> bytes:
    text = (
        f'log_collector_config {{ type: "{kind}" filename_prefix: "{prefix}" }}'
        f"sampling_config {{ sampling_rate: {rate} {more} }}"
    )
    message: Any = message_class("tensorflow.serving.LoggingConfig")()
    return bytes(text_format.Parse(text, message, descriptor_pool=POOL).SerializeToString())


def call(content: Messages | Bodies) -> LoggedCall:
    return LoggedCall("predict", ServableRequest("m"), 1, "", content)


def log(logger: RequestLogger, times: int = 1) -> None:
    for _ in range(times):
        logger.log(call(Messages(b"", b"")))


def complete(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix != ".open")


def test_nothing_is_logged_before_it_is_configured() -> None:
    assert not RequestLogs().loggers


def test_a_file_holds_records_with_what_they_have_in_common(tmp_path: Path) -> None:
    options = RequestLogOptions(
        dc="aa", task_index=3, saved_model_tags=("serve", "gpu"), now=lambda: 1234.5
    )
    logs = RequestLogs(options)
    task = 'per_task_sampling_configs { dc: "aa" task_index: 3 sampling_rate: 0.5 }'
    logs.update({"m": config(tmp_path / "m", more=task)})
    assert not logs.loggers["m"].wants_bodies
    log(logs.loggers["m"], 2)
    assert logs.close(WAIT_S)
    assert not logs.loggers
    (path,) = complete(tmp_path)
    assert path.suffix == ".tfrecord"
    with path.open("rb") as file:
        records = [decode_prediction_log(data) for data in read_records(file)]
    assert len(records) == 2
    assert records[0] is not None
    metadata = message_class("tensorflow.serving.LogMetadata").FromString(records[0].metadata)
    assert metadata.model_spec.name == "m"
    assert metadata.timestamp_secs == 1234
    assert metadata.sampling_config.sampling_rate == 0.5
    assert list(metadata.saved_model_tags) == ["serve", "gpu"]
    assert metadata.dc == "aa"


def test_lines_of_json_want_bodies(tmp_path: Path) -> None:
    logs = RequestLogs()
    logs.update({"m": config(tmp_path / "m", "jsonl")})
    assert logs.loggers["m"].wants_bodies
    logs.loggers["m"].log(call(Bodies(b"{}", b"[]")))
    assert logs.close(WAIT_S)
    (path,) = complete(tmp_path)
    assert json.loads(path.read_text())["response"] == []


@pytest.mark.parametrize(
    ("rate", "share"), [(0.0, 0), (-1.0, 0), (1.0, 1000), (2.0, 1000), (0.5, 521)]
)
def test_the_rate_is_the_share_of_calls(rate: float, share: int, tmp_path: Path) -> None:
    logs = RequestLogs(RequestLogOptions(uniform=random.Random(5).random))
    logs.update({"m": config(tmp_path / "m", rate=rate)})
    chosen = sum(logs.loggers["m"].is_sampled() for _ in range(1000))
    logs.close(WAIT_S)
    assert chosen == share


def test_equal_configurations_share_a_logger_and_outlive_an_update(tmp_path: Path) -> None:
    logs = RequestLogs()
    logs.update({"a": config(tmp_path / "m"), "b": config(tmp_path / "m")})
    before = logs.loggers
    assert before["a"] is before["b"]
    logs.update({"b": config(tmp_path / "m"), "c": config(tmp_path / "c")})
    assert logs.loggers["b"] is before["a"]
    assert before.keys() == {"a", "b"}  # who reads it while it is replaced sees it whole
    assert logs.close(WAIT_S)


def test_a_logger_that_is_gone_has_written_all_of_its_calls(tmp_path: Path) -> None:
    logs = RequestLogs()
    logs.update({"m": config(tmp_path / "m")})
    log(logs.loggers["m"], 100)
    logs.update({})
    (path,) = complete(tmp_path)
    with path.open("rb") as file:
        assert len(list(read_records(file))) == 100


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (config("/logs/m", "kafka"), NotFound,
         "Cannot find LogCollector::Factory for type: kafka"),
        (b"", NotFound, "Cannot find LogCollector::Factory for type: "),
        (config("", "jsonl"), InvalidArgument,
         "log_collector_config of type jsonl has no filename_prefix"),
        (config("/logs/\\0m"), InvalidArgument,
         "filename_prefix has a zero byte, as no file has"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_changes_nothing(
    wrong: bytes, error: type[Exception], text: str, tmp_path: Path
) -> None:
    logs = RequestLogs()
    logs.update({"m": config(tmp_path / "m")})
    before = logs.loggers
    for check in (check_logs, RequestLogs().update):
        with pytest.raises(error) as early:
            check({"m": config(tmp_path / "early"), "x": wrong})
        assert str(early.value) == text
    with pytest.raises(error) as caught:
        logs.update({"m": config(tmp_path / "m"), "n": config(tmp_path / "n"), "x": wrong})
    assert str(caught.value) == text
    assert logs.loggers is before
    log(before["m"])
    assert logs.close(WAIT_S)
    assert [path.name[0] for path in complete(tmp_path)] == ["m"]


def test_no_thread_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(ResourceExhausted, match="Could not start a request log: can't start"):
        RequestLogs().update({"m": config(tmp_path / "m")})


def test_a_log_that_is_stuck_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    opened = itertools.count()

    def pipe(path: str) -> int:
        os.symlink(f"/proc/self/fd/{writing}", path)
        next(opened)
        return writing

    opener: Callable[[str], int] = pipe
    logs = RequestLogs(RequestLogOptions(opener=opener))
    logs.update({"m": config(tmp_path / "m")})
    logger = logs.loggers["m"]
    logger.log(call(Messages(b"x" * (1 << 20), b"")))
    assert not logs.close(0.1)
    assert "A request log was given up" in caplog.text
    os.close(reading)
    assert logger.close(WAIT_S)
