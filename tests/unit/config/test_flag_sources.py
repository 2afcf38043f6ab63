import os
import threading
from pathlib import Path

import pytest

from salver.config.flag_sources import parse_all, source_of
from salver.config.flags import parse
from salver.config.options import Flag, FlagState, FlagType, ServerOptions
from salver.errors import InvalidArgument, ServingError

_OTHER = Flag("engine_threads", FlagType.INT64, 0, "", "", FlagState.WORKS, "")


def _find(name: str) -> Flag | None:
    return _OTHER if name == _OTHER.name else None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "flags.txt"


def _wrong(text: str, file: Path) -> str:
    file.write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        parse_all([f"--flagfile={file}"], find=_find)
    return caught.value.message.replace(str(file), "FILE")


def test_without_file_and_variables_it_is_what_the_command_line_says() -> None:
    arguments = ["path", "--port=1", "--engine_threads=2", "--", "--port=3"]
    assert parse_all(arguments, find=_find, environment={"PORT": "9"}) == parse(
        arguments, find=_find
    )


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(file: Path) -> None:
    file.write_text("--port=1\n--workers=1\n--host=file\n--drain_delay_seconds=1\n")
    environment = {"SALVER_FLAG_PORT": "2", "SALVER_FLAG_WORKERS": "2"}
    parsed = parse_all(
        ["--port=3", f"--flagfile={file}"],
        ServerOptions(host="base", isolation="process"),
        environment=environment,
    )
    options = parsed.options
    assert (options.port, options.workers, options.host) == (3, 2, "file")
    assert (options.drain_delay_seconds, options.isolation) == (1.0, "process")
    assert {name: source_of(parsed, name) for name in parsed.set_names} == {
        "port": "command line",
        "workers": "SALVER_FLAG_WORKERS",
        "host": f"{file}:3",
        "drain_delay_seconds": f"{file}:4",
        "flagfile": "command line",
    }
    assert source_of(parsed, "isolation") is None


def test_flags_of_backends_are_taken_from_each_of_them(file: Path) -> None:
    file.write_text("--engine_threads=1")
    environment = {"SALVER_FLAG_FLAGFILE": str(file)}
    parsed = parse_all([], find=_find, environment=environment)
    assert parsed.options.backend_flags == (("engine_threads", "1"),)
    assert source_of(parsed, "engine_threads") == f"{file}:1"
    environment["SALVER_FLAG_ENGINE_THREADS"] = "2"
    parsed = parse_all([], find=_find, environment=environment)
    assert source_of(parsed, "engine_threads") == "SALVER_FLAG_ENGINE_THREADS"
    parsed = parse_all(["--engine_threads=3"], find=_find, environment=environment)
    assert parsed.options.backend_flags == (("engine_threads", "3"),)
    assert source_of(parsed, "engine_threads") == "command line"


def test_the_command_line_names_the_file_before_the_environment_does(file: Path) -> None:
    file.write_text("--port=1")
    environment = {"SALVER_FLAG_FLAGFILE": "/nowhere"}
    assert parse_all([f"--flagfile={file}"], environment=environment).options.port == 1
    assert parse_all(["--flagfile="], environment=environment).options.port == 8500


def test_comments_and_empty_lines_are_nothing_and_values_are_as_they_stand(file: Path) -> None:
    text = '\ufeff# all of it\r\n\r\n  --model_base_path=/a b/#1="x" \r\n--enable_batching\n'
    file.write_text(text, encoding="utf-8")
    options = parse_all([f"--flagfile={file}"]).options
    assert options.model_base_path == '/a b/#1="x"'
    assert options.enable_batching


def test_an_empty_file_sets_nothing(file: Path) -> None:
    file.touch()
    assert parse_all([f"--flagfile={file}"]).set_names == ("flagfile",)


def test_of_a_flag_that_the_file_repeats_the_last_counts(file: Path) -> None:
    file.write_text("--port=1\n--port=2")
    parsed = parse_all([f"--flagfile={file}"])
    assert (parsed.options.port, source_of(parsed, "port")) == (2, f"{file}:2")


def test_an_alias_is_the_flag(file: Path) -> None:
    file.write_text("--model_cache=/c")
    parsed = parse_all([f"--flagfile={file}"])
    assert parsed.options.conversion_cache == "/c"
    assert source_of(parsed, "conversion_cache") == f"{file}:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--prot=1", "FILE:1: there is no flag --prot"),
        ("\n--help", "FILE:2: there is no flag --help"),
        ("--port=x", "FILE:1: Couldn't interpret value x for flag port."),
        ("--port", "FILE:1: --port has no value"),
        ("--port 1", "FILE:1: this is not of the form --name=value"),
        ("port=1", "FILE:1: this is not of the form --name=value"),
        ("--", "FILE:1: this is not of the form --name=value"),
        ("/models", "FILE:1: this is not of the form --name=value"),
        ("--host=a\0b", "FILE:1: this is not of the form --name=value"),
        ("--flagfile=/etc/passwd", "FILE:1: a file of flags names no other"),
    ],
)
def test_what_is_no_flag_is_an_error_with_its_place(text: str, message: str, file: Path) -> None:
    assert _wrong(text, file) == message


def test_a_mistyped_flag_is_told_what_it_was_meant_to_be(file: Path) -> None:
    file.write_text("--rest_api_prot=1")
    with pytest.raises(InvalidArgument) as caught:
        parse_all([f"--flagfile={file}"])
    assert caught.value.hint == "Did you mean --rest_api_port?"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ServingError, match=str(path)):
            parse_all([f"--flagfile={path}"])


def test_a_file_that_is_no_text_is_an_error(file: Path) -> None:
    file.write_bytes(b"--port=1\n--host=\xff")
    with pytest.raises(InvalidArgument, match=":2: this is no text in UTF-8"):
        parse_all([f"--flagfile={file}"])


def test_a_file_that_is_far_too_long_is_an_error(file: Path) -> None:
    file.write_text("#" * ((1 << 20) + 1))
    with pytest.raises(InvalidArgument, match="at most 1048576 bytes"):
        parse_all([f"--flagfile={file}"])


def test_a_pipe_is_read(file: Path) -> None:
    os.mkfifo(file)
    writer = threading.Thread(target=lambda: file.write_text("--port=1"))
    writer.start()
    assert parse_all([f"--flagfile={file}"]).options.port == 1
    writer.join()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SALVER_FLAG_PROT": "1"}, "SALVER_FLAG_PROT: there is no flag --prot"),
        ({"SALVER_FLAG_": "1"}, "SALVER_FLAG_: there is no flag --"),
        ({"SALVER_FLAG_PORT": "tcp://1"}, "SALVER_FLAG_PORT: Couldn't interpret value tcp://1 for"),
        ({"SALVER_FLAG_PORT": ""}, "SALVER_FLAG_PORT: Couldn't interpret value  for flag port."),
        ({"SALVER_FLAG_port": "1"}, "variables that are flags are written in capitals"),
        (
            {"SALVER_FLAG_MODEL_CACHE": "a", "SALVER_FLAG_CONVERSION_CACHE": "b"},
            "SALVER_FLAG_CONVERSION_CACHE and SALVER_FLAG_MODEL_CACHE are the same flag",
        ),
    ],
)
def test_a_variable_that_is_no_flag_is_an_error(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_all([], environment=environment)
    assert message in caught.value.message


def test_other_variables_are_not_looked_at() -> None:
    """Kubernetes sets SALVER_PORT where a Service is called salver."""
    environment = {"SALVER_PORT": "tcp://10.0.0.1:8501", "PORT": "1", "salver_flag_port": "1"}
    assert parse_all([], environment=environment).options == ServerOptions()
