import logging
from pathlib import Path

import pytest

from salver import __version__
from salver.cli.model_server import main
from salver.config.models import ModelConfig
from salver.config.options import ServeMode, ServerOptions
from salver.errors import InvalidArgument, Unknown


class _Server:
    """A server that records how it was started and ends at once."""

    def __init__(self, error: BaseException | None = None, has_ended: bool = True) -> None:
        self.started: list[tuple[ServerOptions, object, ServeMode]] = []
        self.error, self.has_ended = error, has_ended

    def __call__(
        self, options: ServerOptions, models: tuple[ModelConfig, ...] | None, mode: ServeMode
    ) -> bool:
        self.started.append((options, models, mode))
        if self.error is not None:
            raise self.error
        return self.has_ended


def _main(*arguments: str, server: _Server | None = None) -> int:
    return main(["/bin/model_server", *arguments], server or _Server())


def _logged(text: str) -> list[str]:
    """The log lines of standard error without their prefixes, led by their letters."""
    return [f"{line[28]} {line.split('] ', 1)[1]}" for line in text.splitlines()]


def test_the_server_is_started_with_the_flags_in_the_references_mode() -> None:
    server = _Server()
    assert _main("--model_base_path=/m", "--rest_api_port=1", server=server) == 0
    options = ServerOptions(model_base_path="/m", rest_api_port=1)
    assert server.started == [(options, None, ServeMode())]


def test_the_process_leaves_at_once_when_a_model_will_not_end() -> None:
    left: list[int] = []
    assert main(["x", "--model_base_path=/m"], _Server(has_ended=False), left.append) == 0
    assert left == [0]


def test_the_command_line_is_the_processs_own_by_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/tensorflow_model_server", "--help"])
    assert main() == 255
    assert capsys.readouterr().out.startswith("usage: /usr/bin/tensorflow_model_server\nFlags:\n")


def test_help_prints_usage_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    server = _Server()
    assert _main("--port=1", "--help", server=server) == 255
    out, err = capsys.readouterr()
    assert out.startswith("usage: /bin/model_server\nFlags:\n\t--port=8500")
    assert err == ""
    assert server.started == []


def test_a_bad_value_is_named_and_usage_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    server = _Server()
    assert _main("--port=x", "--enable_batching=maybe", "--version", server=server) == 255
    out, err = capsys.readouterr()
    assert _logged(err) == [
        "E Couldn't interpret value x for flag port.",
        "E Couldn't interpret value maybe for flag enable_batching.",
    ]
    assert out.startswith("usage: /bin/model_server\n")
    assert server.started == []


def test_version_is_printed_without_any_model(capsys: pytest.CaptureFixture[str]) -> None:
    server = _Server()
    assert _main("--version", server=server) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"TensorFlow ModelServer: {__version__}+salver"
    assert lines[1].startswith("TensorFlow Library: ")
    assert len(lines) == 2
    assert server.started == []


def test_an_unknown_argument_is_named_and_the_server_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = _Server()
    arguments = ("--rest_api_prot=1", "--port=2", "odd", "--model_base_path=/m")
    assert _main(*arguments, server=server) == 0
    out, err = capsys.readouterr()
    assert out.startswith("unknown argument: --rest_api_prot=1\nusage: /bin/model_server\nFlags:\n")
    assert _logged(err)[:2] == [
        "W Ignoring --rest_api_prot=1: did you mean --rest_api_port?",
        "W Ignoring odd",
    ]
    assert server.started[0][0].port == 2


def test_a_flag_without_effect_gives_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    _main("--skip_initialize_tpu", "--skip_initialize_tpu", "--model_base_path=/m")
    assert _logged(capsys.readouterr().err) == [
        "W --skip_initialize_tpu has no effect: there is no TPU runtime here"
    ]


def test_a_server_that_cannot_start_says_so_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _main(server=_Server(InvalidArgument("Both are empty!", hint="Give one."))) == 255
    out, err = capsys.readouterr()
    assert out == "Failed to start server. Error: INVALID_ARGUMENT: Both are empty!\n"
    assert _logged(err) == ["E Give one."]


def test_an_error_without_a_hint_logs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(server=_Server(Unknown("1 servable(s) did not become available: {}"))) == 255
    out, err = capsys.readouterr()
    assert out.startswith("Failed to start server. Error: UNKNOWN: 1 servable(s)")
    assert err == ""


def test_an_interrupt_before_the_server_listens_to_signals_ends_it_quietly() -> None:
    assert _main(server=_Server(KeyboardInterrupt())) == 130


def test_logging_goes_to_standard_error() -> None:
    _main("--version")
    assert logging.getLogger().handlers


def test_a_file_of_flags_is_taken_and_variables_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "flags"
    file.write_text("--model_base_path=/m\n--rest_api_port=2")
    monkeypatch.setenv("SALVER_FLAG_WORKERS", "2")
    server = _Server()
    assert _main(f"--flagfile={file}", "--rest_api_port=1", server=server) == 0
    options = ServerOptions(model_base_path="/m", rest_api_port=1, flagfile=str(file))
    assert server.started == [(options, None, ServeMode())]


def test_a_wrong_file_of_flags_ends_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "flags"
    file.write_text("--model_bas_path=/m")
    server = _Server()
    assert _main(f"--flagfile={file}", server=server) == 255
    assert "flags:1: there is no flag --model_bas_path" in capsys.readouterr().out
    assert not server.started
