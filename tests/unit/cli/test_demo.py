import os
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import salver.cli.demo
from salver.cli.demo import demo
from salver.cli.salver import main
from salver.cli.serve import SERVE_DEFAULTS
from salver.config.models import ModelConfig
from salver.config.options import Announcement, ServedModel, ServeMode, ServerOptions
from salver.demo.models import Format
from salver.errors import FailedPrecondition
from salver.vocabulary.servable import Latest

needs_a_backend = pytest.mark.skipif(
    find_spec("tensorflow") is None and find_spec("ai_edge_litert") is None,
    reason="the demo's model needs TensorFlow or LiteRT, and neither is installed",
)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets this for its process, which here is that of all tests."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")


Serve = Callable[[ServerOptions, ModelConfig, ServeMode], bool]


class Server:
    """A server that records how it was started; what it does meanwhile is the test's."""

    def __init__(self, serve: Serve = lambda *_: True) -> None:
        self.started: list[tuple[ServerOptions, ModelConfig]] = []
        self._serve = serve

    def __call__(
        self, options: ServerOptions, models: tuple[ModelConfig, ...] | None, mode: ServeMode
    ) -> bool:
        assert models is not None
        (model,) = models
        self.started.append((options, model))
        assert (Path(model.base_path) / "1" / "assets" / "salver.json").exists()
        return self._serve(options, model, mode)


def start(*arguments: str, server: Server | None = None, **more: Any) -> int:
    left: list[int] = []
    status = demo(list(arguments), SERVE_DEFAULTS, server or Server(), left.append, **more)
    assert left in ([], [status])
    return status


@needs_a_backend
def test_the_first_version_is_served_from_a_directory_that_goes_with_it() -> None:
    server = Server()
    assert start("--host=127.0.0.1", "--workers=2", server=server) == 0
    ((options, model),) = server.started
    assert (options.workers, options.enable_playground) == (2, True)
    assert options.allowed_hosts == "localhost"
    assert (model.name, model.version_policy) == ("digits", Latest(2))
    assert not Path(model.base_path).exists()


@needs_a_backend
def test_an_empty_list_of_hosts_does_not_switch_the_check_off() -> None:
    server = Server()
    assert start("--allowed_hosts=", server=server) == 0
    assert server.started[0][0].allowed_hosts == "localhost"


@needs_a_backend
def test_a_free_port_is_taken_where_the_usual_one_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        usual = ServerOptions(rest_api_port=port, host="127.0.0.1")
        server = Server()
        assert demo([], usual, server, lambda _: None) == 0
        ((options, _),) = server.started
        assert options.rest_api_port not in (0, port)
        server = Server()
        assert demo([f"--rest_api_port={port}"], usual, server, lambda _: None) == 0
        assert server.started[0][0].rest_api_port == port  # which the server then refuses


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["path"], "there is no path"),
        (["--prot=1"], "there is no --prot=1: did you mean --port?"),
        (
            ["--model_base_path=/m"],
            "--model_base_path: the demo has a model of its own; salver serve takes others",
        ),
        (["--rest_api_port=0"], "--rest_api_port=0 leaves nowhere to draw"),
        (["--port=x"], "Couldn't interpret value x for flag port."),
    ],
)
def test_what_it_does_not_know_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(*arguments) == 2
    assert capsys.readouterr().err == f"salver demo: {told}\n"


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert start("--help") == 0
    assert "--write_models DIR" in capsys.readouterr().out


def announced(**more: Any) -> Announcement:
    model = ServedModel(name="digits", base_path="/x", **more)
    return Announcement(
        rest_url="http://127.0.0.1:8501",
        playground_url="http://127.0.0.1:8501/",
        grpc_address="127.0.0.1:8500",
        models=(model,),
    )


@needs_a_backend
def test_a_model_that_does_not_load_ends_it_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *sent: signals.append(sent))

    def serve(_options: ServerOptions, _model: ModelConfig, mode: ServeMode) -> bool:
        assert mode.announce is not None
        mode.announce(announced(error="libtensorflow is broken"))
        return True

    assert start("--once", server=Server(serve)) == 1
    assert len(signals) == 1
    told = capsys.readouterr().err
    assert told == "salver demo: the model does not load: libtensorflow is broken\n"


@needs_a_backend
@pytest.mark.parametrize(
    ("environment", "is_shown"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "w"}, True),
        ({}, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1"}, False),
    ],
)
def test_the_page_is_opened_where_somebody_sits_before_a_screen(
    environment: dict[str, str],
    is_shown: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    opened: list[str] = []

    def serve(_options: ServerOptions, _model: ModelConfig, mode: ServeMode) -> bool:
        assert mode.announce is not None
        mode.announce(announced(versions=(1,)))
        return True

    assert start(server=Server(serve), show=opened.append) == 0
    address = "http://127.0.0.1:8501/#/model/digits"
    assert opened == [address] * is_shown
    told = capsys.readouterr().out
    assert f"Draw one:  {address}\n" in told
    assert 'curl -d \'{"instances":[[[' in told
    assert "In 20 s a second, better version takes its place." in told
    assert told.endswith("\nStopped.\n")


def test_models_are_written_and_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salver", "demo", f"--write_models={tmp_path / 'm o'}"]) == 0
    told = capsys.readouterr().out
    assert f"{tmp_path}/m o/half_plus_two/00000123" in told
    assert told.endswith(f"Serve them: salver serve '{tmp_path}/m o'\n")
    assert main(["salver", "demo", "--write_models", str(tmp_path / "m o")]) == 0
    assert capsys.readouterr().out.count("(was there already)") == 7


def test_without_a_backend_models_are_written_but_not_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Format:
        raise FailedPrecondition("neither is installed", hint="pip install one")

    monkeypatch.setattr(salver.cli.demo, "usable_format", none)
    assert main(["salver", "demo"]) == 1
    assert capsys.readouterr().err == "salver: neither is installed\n  pip install one\n"
    assert main(["salver", "demo", f"--write_models={tmp_path}"]) == 0
    assert (tmp_path / "digits" / "2" / "saved_model.pb").exists()
