from pathlib import Path

import pytest

from salver import __version__
from salver.cli.commands import COMMANDS
from salver.cli.salver import main
from salver.cli.starting import Run
from salver.config.models import ModelConfig
from salver.config.options import ServeMode, ServerOptions
from salver.errors import Unavailable


def _failing(error: BaseException) -> Run:
    """A server that cannot start."""

    def run(
        options: ServerOptions, models: tuple[ModelConfig, ...] | None, mode: ServeMode
    ) -> bool:
        raise error

    return run


def _main(*arguments: str) -> int:
    return main(["salver", *arguments], _failing(AssertionError("nothing is to be served")))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "digits" / "1"
    path.mkdir(parents=True)
    (path / "saved_model.pb").touch()
    return path.parent


def test_a_path_with_nothing_to_serve_is_an_error_that_says_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("m.csv", "n.csv"):
        (tmp_path / name).touch()
    assert _main("serve", str(tmp_path)) == 1
    assert capsys.readouterr().err == (
        f"salver: {tmp_path} holds no model, only: m.csv, n.csv.\n"
        "  A model is a file, such as net.onnx, or a directory whose versions stand in directories "
        "named by numbers, such as MODEL/1/saved_model.pb.\n"
    )


def test_a_server_that_cannot_start_is_an_error(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _failing(Unavailable("The port is taken."))
    assert main(["salver", "serve", str(model)], run) == 1
    assert capsys.readouterr().err == "salver: The port is taken.\n"


def test_an_interrupt_before_the_server_listens_to_signals_ends_it_quietly(model: Path) -> None:
    assert main(["salver", "serve", str(model)], _failing(KeyboardInterrupt())) == 130


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_says_how_to_call_it(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(word) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: salver serve PATH|NAME=PATH")
    assert all(command.usage in out and command.help in out for command in COMMANDS)


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("", "a command is missing: one of serve, demo, show, "),
        ("serv", "there is no command 'serv': did you mean serve?"),
        ("Show", "there is no command 'Show': did you mean show?"),
        ("frobnicate", "there is no command 'frobnicate': see salver --help"),
        ("--helpp", "there is no command '--helpp': see salver --help"),
    ],
)
def test_an_unknown_command_is_answered_in_one_line(
    word: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(*word.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"salver: {advice}")
    assert said.count("\n") == 1


def test_a_path_in_the_place_of_a_command_is_one_to_serve(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(str(model)) == 2
    assert f"did you mean salver serve {model}?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--version",), ("serve", "--version")])
def test_version_names_ours_and_tensorflows(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"salver {__version__}"
    assert lines[1].startswith("TensorFlow Library: ")


def test_the_command_line_is_the_processs_own_by_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["salver", "--version"])
    assert main() == 0
    assert __version__ in capsys.readouterr().out
