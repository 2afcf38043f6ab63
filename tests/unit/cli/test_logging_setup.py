import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest

import salver
from salver.cli.logging_setup import (
    JsonFormatter,
    LogStyle,
    PlainFormatter,
    ReferenceFormatter,
    level_from,
    quieten_tensorflow,
    set_up_logging,
    style_from,
)
from salver.errors import InvalidArgument
from salver.instruments.notices import NOTICE


def _record(level: int, text: str, path: str = "/elsewhere/x.py") -> logging.LogRecord:
    return logging.LogRecord("salver.x", level, path, 12, text, ("m",), None)


def test_a_line_begins_as_the_reference_begins_it() -> None:
    path = str(Path(salver.__file__).parent / "server" / "core.py")
    line = ReferenceFormatter().format(_record(logging.INFO, " (Re-)adding model: %s", path))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}: I salver/server/core\.py:12\] "
        r" \(Re-\)adding model: m",
        line,
    )


@pytest.mark.parametrize(
    ("level", "letter"),
    [
        (logging.DEBUG, "I"),
        (logging.INFO, "I"),
        (logging.WARNING, "W"),
        (logging.ERROR, "E"),
        (logging.CRITICAL, "F"),
    ],
)
def test_a_letter_says_the_level(level: int, letter: str) -> None:
    assert f": {letter} /elsewhere/x.py:12] " in ReferenceFormatter().format(_record(level, "%s"))


def test_an_exception_follows_its_line() -> None:
    record = _record(logging.ERROR, "went wrong: %s")
    try:
        int("x")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = ReferenceFormatter().format(record)
    assert "] went wrong: m\nTraceback" in text
    assert text.endswith("invalid literal for int() with base 10: 'x'")


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("0", logging.INFO),
        ("1", logging.WARNING),
        ("2", logging.ERROR),
        ("3", logging.CRITICAL),
        ("9", logging.CRITICAL),
        ("-1", logging.INFO),
        ("loud", logging.INFO),
    ],
)
def test_the_environment_says_the_least_level(value: str, level: int) -> None:
    assert level_from({"TF_CPP_MIN_LOG_LEVEL": value}) == level


def test_without_a_word_everything_is_logged() -> None:
    assert level_from({}) == logging.INFO


def test_our_lines_are_logged_from_info_and_others_from_warning_up() -> None:
    stream = io.StringIO()
    logging.getLogger().addHandler(logging.NullHandler())
    set_up_logging({}, stream)
    assert len(logging.getLogger().handlers) == 1
    logging.getLogger("salver.server").info("ours")
    logging.getLogger("asyncio").info("theirs, unheard")
    logging.getLogger("asyncio").warning("theirs, heard")
    lines = stream.getvalue().splitlines()
    assert [line.rpartition("] ")[2] for line in lines] == ["ours", "theirs, heard"]


def test_a_higher_level_silences_both() -> None:
    stream = io.StringIO()
    set_up_logging({"TF_CPP_MIN_LOG_LEVEL": "2"}, stream)
    logging.getLogger("salver.server").warning("unheard")
    logging.getLogger("asyncio").warning("unheard")
    logging.getLogger("asyncio").error("heard")
    assert stream.getvalue().count("\n") == 1


def test_a_line_may_say_which_of_several_processes_it_is_from() -> None:
    line = ReferenceFormatter("worker 1").format(_record(logging.INFO, "loaded %s"))
    assert line.endswith("/elsewhere/x.py:12] worker 1: loaded m")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("level", "word"),
    [(NOTICE, ""), (logging.WARNING, "warning: "), (logging.CRITICAL, "error: ")],
)
def test_a_plain_line_is_time_and_words(level: int, word: str) -> None:
    line = PlainFormatter().format(_record(level, "loaded %s"))
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {word}loaded m", line)
    of_worker = PlainFormatter("worker 1").format(_record(level, "loaded %s"))
    assert of_worker.endswith(f"{word}worker 1: loaded m")


def test_a_plain_line_takes_the_place_of_what_stands_at_the_terminal() -> None:
    stream = _Terminal()
    set_up_logging({}, stream, style=LogStyle(NOTICE, is_plain=True))
    logging.getLogger("salver.x").warning("odd")
    assert stream.getvalue().startswith("\r\033[K")


def test_an_exception_follows_a_plain_line() -> None:
    record = _record(logging.ERROR, "went wrong: %s")
    try:
        int("x")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "error: went wrong: m\nTraceback" in PlainFormatter().format(record)


def test_quietly_notices_and_what_is_worse_are_logged() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream, style=style_from({}, verbose=False))
    logger = logging.getLogger("salver.x")
    logger.info("unheard")
    logger.log(NOTICE, "version 2 is ready")
    logger.error("heard")
    assert [line[9:] for line in stream.getvalue().splitlines()] == [
        "version 2 is ready",
        "error: heard",
    ]


@pytest.mark.parametrize(
    ("environment", "verbose", "style"),
    [
        ({}, True, LogStyle(logging.INFO)),
        ({"TF_CPP_MIN_LOG_LEVEL": "1"}, True, LogStyle(logging.WARNING)),
        ({}, False, LogStyle(NOTICE, is_plain=True)),
        ({"TF_CPP_MIN_LOG_LEVEL": "0"}, False, LogStyle(logging.INFO, is_plain=True)),
        ({"TF_CPP_MIN_LOG_LEVEL": "2"}, False, LogStyle(logging.ERROR, is_plain=True)),
    ],
)
def test_the_environment_goes_before_the_flag(
    environment: dict[str, str], verbose: bool, style: LogStyle
) -> None:
    assert style_from(environment, verbose=verbose) == style


def test_what_the_environment_says_of_tensorflow_stays() -> None:
    environment = {"TF_CPP_MIN_LOG_LEVEL": "0"}
    quieten_tensorflow(environment)
    assert environment == {"TF_CPP_MIN_LOG_LEVEL": "0"}


@pytest.mark.parametrize(("has_driver", "level"), [(True, "1"), (False, "3")])
def test_where_there_is_a_gpu_its_warnings_are_shown(
    has_driver: bool, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidiactl"
    if has_driver:
        driver.touch()
    monkeypatch.setattr("salver.cli.logging_setup._DRIVERS", (str(driver),))
    environment: dict[str, str] = {}
    quieten_tensorflow(environment)
    assert environment == {"TF_CPP_MIN_LOG_LEVEL": level}


def test_as_json_a_line_is_one_object() -> None:
    path = str(Path(salver.__file__).parent / "server" / "core.py")
    record = _record(NOTICE, "two\nlines: %s", path)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", said.pop("time"))
    assert said == {
        "level": "notice",
        "message": "two\nlines: m",
        "logger": "salver.x",
        "source": "salver/server/core.py:12",
        "pid": record.process,
    }


def test_as_json_an_exception_and_the_process_are_fields() -> None:
    record = _record(logging.ERROR, "went wrong: %s")
    try:
        int("x")
    except ValueError:
        record.exc_info = sys.exc_info()
    said = json.loads(JsonFormatter("worker 1").format(record))
    assert said["process"] == "worker 1"
    assert said["level"] == "error"
    assert said["exception"].endswith("invalid literal for int() with base 10: 'x'")


def test_as_json_what_is_no_unicode_is_written_all_the_same() -> None:
    record = logging.LogRecord("salver", logging.INFO, "x.py", 1, "no file \udcff", None, None)
    assert json.loads(JsonFormatter().format(record))["message"] == "no file \\udcff"


def test_the_flag_asks_for_json() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream, style=style_from({}, verbose=False, log_format="json"))
    logging.getLogger("salver.x").warning("odd")
    assert json.loads(stream.getvalue())["message"] == "odd"


def test_another_format_is_refused() -> None:
    with pytest.raises(InvalidArgument, match='"text" or "json", not "xml"'):
        style_from({}, verbose=True, log_format="xml")
