import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from salver.backends import selection
from salver.cli.logging_setup import LogStyle
from salver.cli.starting import run_server, worker_command
from salver.config.models import ModelConfig
from salver.config.options import ServeMode, ServerOptions, settings_of
from salver.errors import InvalidArgument
from salver.server import process


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A start turns the collector off, and the server on again."""
    yield
    gc.enable()


_LEAVING = """
import logging.handlers, sys, threading
from salver.cli.starting import leave_at_once
threading.Thread(target=threading.Event().wait).start()
buffered = logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
logging.getLogger().addHandler(buffered)
logging.warning("last line of the log")
print("last words")
leave_at_once(7)
"""


def test_the_server_is_the_one_that_starts() -> None:
    with pytest.raises(InvalidArgument, match="At least one of server_options"):
        run_server(ServerOptions(port=0), None, ServeMode())


def test_leaving_waits_for_no_thread_and_loses_no_output() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAVING], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7
    assert done.stdout == "last words\nlast line of the log\n"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from salver.cli import model_server; "
        "model_server.main(['server', '--help']); "
        "heavy = 'asyncio', 'google.protobuf', 'numpy', 'tensorflow'; "
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_start_that_fails_waits_until_the_library_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_failed = threading.Event()
    opening = threading.Thread(target=has_failed.wait, args=(30,))

    def prepare(*_arguments: object, **_named: object) -> threading.Thread:
        opening.start()
        return opening

    def fail(*_arguments: object, **_named: object) -> bool:
        has_failed.set()
        raise InvalidArgument("no")

    monkeypatch.setattr(selection, "prepare", prepare)
    monkeypatch.setattr(process, "run", fail)
    with pytest.raises(InvalidArgument):
        run_server(ServerOptions(), None, ServeMode())
    assert has_failed.is_set()
    assert not opening.is_alive()


@pytest.mark.parametrize(
    ("options", "models", "known"),
    [
        (ServerOptions(model_base_path="/a"), None, [("tensorflow", "/a")]),
        (ServerOptions(model_base_path="/a", model_config_file="/c"), None, []),
        (
            ServerOptions(),
            (ModelConfig(name="m", base_path="/b", model_platform="tflite"),),
            [("tflite", "/b")],
        ),
    ],
)
def test_the_library_is_opened_that_the_models_need_as_far_as_they_are_known(
    options: ServerOptions,
    models: tuple[ModelConfig, ...] | None,
    known: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def prepare(*arguments: object) -> threading.Thread:
        asked.extend(arguments)
        thread = threading.Thread()
        thread.start()
        return thread

    monkeypatch.setattr(selection, "prepare", prepare)
    monkeypatch.setattr(process, "run", lambda *_arguments, **_named: True)
    run_server(options, models, ServeMode())
    assert asked == [known, settings_of(options)]


def test_nothing_compiled_is_imported_while_the_library_is_opened() -> None:
    # The dynamic loader has one lock, so such an import would wait for the end of that.
    program = """
import sys
from salver.backends import selection
from salver.cli import starting
starting.import_extensions()
before = set(sys.modules)
import salver.server.process
import salver.server.api_servers
late = {name: getattr(sys.modules[name], "__file__", None) for name in sys.modules.keys() - before}
print(*(name for name, path in late.items() if path and path.endswith(".so")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_what_the_default_flags_do_not_ask_for_is_not_imported() -> None:
    program = """
import sys
import salver.server.process
import salver.server.api_servers
late = (
    "grpc",
    "salver.backends.keras.backend",
    "salver.backends.tflite",
    "salver.bench",
    "salver.request_log.json_forms",
    "salver.rpc.aio_server",
    "salver.workers",
    "tensorflow",
    "watchfiles",
)
print(*(name for name in late if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("verbose", "level", "after"), [(True, None, None), (False, None, "3"), (False, "0", "0")]
)
def test_tensorflow_is_quiet_unless_the_flag_or_the_environment_says_otherwise(
    verbose: bool, level: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.cli.logging_setup._DRIVERS", ())
    monkeypatch.setattr(process, "run", lambda *_arguments, **_named: True)
    monkeypatch.setattr(selection, "prepare", lambda *_, **__: _ended())
    environment = dict(os.environ)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    monkeypatch.setattr("os.environ", environment)
    run_server(ServerOptions(verbose=verbose), None, ServeMode())
    assert environment.get("TF_CPP_MIN_LOG_LEVEL") == after


def _ended() -> threading.Thread:
    thread = threading.Thread()
    thread.start()
    return thread


def test_a_worker_logs_as_its_supervisor_does() -> None:
    assert worker_command()[-1].endswith("sys.exit(main(sys.argv))")
    style = LogStyle(25, is_plain=True)
    assert worker_command(style)[-1].endswith("main(sys.argv, log_level=25, is_plain=True))")
    style = LogStyle(20, is_json=True)
    assert worker_command(style)[-1].endswith(", log_level=20, is_plain=False, is_json=True))")
