"""A whole life of a server of two workers, its supervisor in this process."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from salver.cli.starting import worker_command
from salver.config.models import ModelConfig
from salver.config.options import Announcement, ServeMode, ServerOptions
from salver.errors import InvalidArgument, Unavailable
from salver.workers import supervisor

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = [signal.getsignal(number) for number in _SIGNALS]
    yield
    assert [signal.getsignal(number) for number in _SIGNALS] == before


@pytest.fixture
def options() -> ServerOptions:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    return ServerOptions(host="127.0.0.1", port=0, rest_api_port=port, workers=2)


@pytest.fixture
def models(model_path: Callable[[str], Path]) -> tuple[ModelConfig, ...]:
    base_path = str(model_path("half_plus_two"))
    return (ModelConfig(name="m", base_path=base_path, model_platform="tensorflow"),)


def get(announced: Announcement, path: str) -> str:
    connection = HTTPConnection(announced.rest_url.removeprefix("http://"), timeout=60)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def life(
    options: ServerOptions,
    models: tuple[ModelConfig, ...],
    ask: Callable[[Announcement], Any],
    **mode: Any,
) -> Any:
    """Serve, ask, stop; what `ask` found."""
    found: list[Any] = []

    def announce(announced: Announcement) -> None:
        def ask_and_stop() -> None:
            try:
                found.append(ask(announced))
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=ask_and_stop).start()

    mode_of = ServeMode(announce=announce, **mode)
    assert supervisor.run(options, models, mode=mode_of, command=worker_command())
    return found[0]


@pytest.mark.parametrize("is_open_first", [False, True])
def test_serves_by_workers_and_announces_itself_once(
    options: ServerOptions, models: tuple[ModelConfig, ...], is_open_first: bool
) -> None:
    def ask(announced: Announcement) -> tuple[Announcement, str, str]:
        return announced, get(announced, "/v1/models/m"), get(announced, "/metrics")

    changed = replace(options, open_ports_before_load=is_open_first)
    announced, status, page = life(changed, models, ask, tolerate_failed_models=is_open_first)
    (model,) = announced.models
    assert (model.name, model.versions) == ("m", (123,))
    assert "serving_default" in model.signatures
    assert '"AVAILABLE"' in status
    assert "salver_workers{} 2\n" in page
    assert 'salver_worker_resident_memory_bytes{worker="1"}' in page
    with pytest.raises(ConnectionRefusedError):
        get(announced, "/")


def test_each_hangup_reads_the_files_again_and_replaces_the_workers(
    options: ServerOptions,
    models: tuple[ModelConfig, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "salver")
    file = tmp_path / "monitoring.config"
    file.write_text('prometheus_config { enable: true path: "/one" }')

    def ask(announced: Announcement) -> tuple[str, str]:
        before = get(announced, "/one")
        file.write_text("no such field")
        os.kill(os.getpid(), signal.SIGHUP)
        _until(lambda: "SIGHUP: the workers stay as they are" in caplog.text)
        file.write_text('prometheus_config { enable: true path: "/two" }')
        os.kill(os.getpid(), signal.SIGHUP)
        _until(lambda: "SIGHUP: replacing the workers one by one" in caplog.text)
        os.kill(os.getpid(), signal.SIGHUP)
        _until(lambda: "SIGHUP: the workers will be replaced again" in caplog.text)
        _until(lambda: caplog.text.count("All workers have been replaced") == 2)
        return before, get(announced, "/two")

    changed = replace(options, monitoring_config_file=str(file))
    before, after = life(changed, models, ask)
    assert "salver_workers{} 2\n" in before
    assert "salver_workers{} 2\n" in after
    assert "salver_worker_deaths_total{} 0\n" in after


def _until(is_so: Callable[[], bool]) -> None:
    turn = threading.Event()
    for _ in range(6000):
        if is_so():
            return
        turn.wait(0.01)
    raise AssertionError("it never came to that")


def test_a_model_that_does_not_load_ends_the_start(
    options: ServerOptions, models: tuple[ModelConfig, ...], tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    broken = (replace(models[0], base_path=str(tmp_path)),)
    changed = replace(options, max_num_load_retries=0)
    with pytest.raises(Exception, match="did not become available"):
        supervisor.run(changed, broken, command=worker_command())


def test_where_failures_are_tolerated_the_rest_is_served(
    options: ServerOptions, models: tuple[ModelConfig, ...], tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    both = (*models, replace(models[0], name="broken", base_path=str(tmp_path)))

    def ask(announced: Announcement) -> Announcement:
        return announced

    changed = replace(options, max_num_load_retries=0)
    announced = life(changed, both, ask, tolerate_failed_models=True)
    assert [bool(model.error) for model in announced.models] == [False, True]


def test_told_to_stop_while_it_starts_it_stops(
    options: ServerOptions,
    models: tuple[ModelConfig, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiting = (replace(models[0], base_path=str(tmp_path)),)  # for a first version

    def stop() -> None:
        _until(lambda: "No versions of servable m found" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert supervisor.run(options, waiting, command=worker_command())
    stopping.join()


def test_workers_that_cannot_even_start_end_it(
    options: ServerOptions, models: tuple[ModelConfig, ...]
) -> None:
    with pytest.raises(Unavailable, match="end when they start: exit status 3"):
        supervisor.run(options, models, command=["/bin/sh", "-c", "exit 3"])


def test_what_the_files_say_is_read_before_anything_is_started(options: ServerOptions) -> None:
    with pytest.raises(InvalidArgument, match="model_base_path"):
        supervisor.run(options, command=[])
