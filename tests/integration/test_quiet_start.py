"""What a person at a terminal sees of `salver serve`, and what not."""

import os
import pty
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server, _command, _environment, free_port, run_command

Launch = Callable[..., Server]
ModelPath = Callable[[str], Path]
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def quiet(launch_server: Launch, *arguments: str, workers: int = 1) -> Server:
    return launch_server(*arguments, f"--workers={workers}", command="salver", is_quiet=True)


@WORKERS
def test_a_start_that_goes_well_says_nothing_but_the_banner(
    model_path: ModelPath, launch_server: Launch, workers: int
) -> None:
    server = quiet(launch_server, str(model_path("half_plus_two")), workers=workers)
    server.out.wait_for("Try:")
    assert server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}
    assert server.stop() == 0
    lines = [line for line in server.err.text().splitlines() if "loading" not in line]
    assert [line[9:] for line in lines] == ["SIGTERM: draining. A second signal ends at once."]


@WORKERS
def test_verbose_says_it_all(model_path: ModelPath, launch_server: Launch, workers: int) -> None:
    server = quiet(launch_server, str(model_path("half_plus_two")), "--verbose", workers=workers)
    server.out.wait_for("Try:")
    server.err.wait_for("Exporting HTTP/REST API at:localhost:")
    server.err.wait_for("Successfully loaded servable version {name: half_plus_two version: 123}")
    server.err.wait_for("Reading SavedModel from: ")  # TensorFlow itself


@WORKERS
def test_errors_and_warnings_are_shown(
    model_path: ModelPath, launch_server: Launch, workers: int
) -> None:
    server = quiet(
        launch_server,
        str(model_path("half_plus_two")),
        str(model_path("corrupt_pb")),
        "--max_num_load_retries=0",
        workers=workers,
    )
    server.out.wait_for("corrupt_pb     not available: Can't parse")
    line = server.err.wait_for("{name: corrupt_pb version: 1} failed: DATA_LOSS: Can't parse")
    assert line[9:].startswith("error: ")


@WORKERS
def test_the_banner_waits_for_the_last_model_and_a_conversion_is_told(
    model_path: ModelPath, launch_server: Launch, tmp_path: Path, workers: int
) -> None:
    file = tmp_path / "house.keras"
    shutil.copy(model_path("keras_trained") / "1" / "model.keras", file)
    server = quiet(
        launch_server,
        str(model_path("half_plus_two")),
        str(file),
        f"--conversion_cache={tmp_path / 'cache'}",
        workers=workers,
    )
    server.err.wait_for(f"Converting {file} to a SavedModel; this takes seconds")
    assert "Salver " not in server.out.text()
    server.wait_until("half_plus_two", 123)
    assert server.predict("half_plus_two", [2.0]).status_code == 200  # the other one answers
    banner = server.out.wait_for("house ")
    assert banner == f"  house          version 1  {file}"
    server.err.wait_for(f"Converted {file} in ")
    assert "still loading" not in server.out.text()


def test_a_version_that_comes_later_is_told(
    model_path: ModelPath, launch_server: Launch, tmp_path: Path
) -> None:
    base = tmp_path / "m"
    shutil.copytree(model_path("half_plus_two") / "00000123", base / "1")
    server = quiet(launch_server, str(base))
    server.out.wait_for("Try:")
    shutil.copytree(base / "1", base / "new")
    (base / "new").rename(base / "2")
    assert server.err.wait_for("version 2")[9:] == "m: version 2 is ready"


@pytest.mark.parametrize("name", ["cut.keras", "plain"])
def test_an_error_names_what_was_given(
    model_path: ModelPath, launch_server: Launch, tmp_path: Path, name: str
) -> None:
    given = tmp_path / name
    if name == "plain":
        given.mkdir()
        (given / "saved_model.pb").write_bytes(b"\x0a\xff")
    else:
        given.write_bytes(b"PK\x03\x04 cut")
    server = quiet(launch_server, str(given), "--max_num_load_retries=0")
    line = server.out.wait_for("not available: ")
    assert str(given) in line
    assert "salver-serve-" not in server.err.text() + server.out.text()


@WORKERS
def test_a_port_that_is_taken_comes_with_one_that_is_free(
    model_path: ModelPath, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        ended = run_command(
            "salver",
            "serve",
            str(model_path("half_plus_two")),
            f"--rest_api_port={port}",
            "--port=0",
            f"--workers={workers}",
        )
    assert ended.returncode == 1
    first, second = ended.stderr.splitlines()
    assert first == (
        f"salver: Failed to start HTTP Server at localhost:{port}: Address already in use"
    )
    assert second.startswith("  --rest_api_port=")
    assert second.endswith(" takes another port, which is free now.")


def test_a_grpc_port_that_was_asked_for_and_is_taken_likewise(model_path: ModelPath) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        model = str(model_path("half_plus_two"))
        rest = f"--rest_api_port={free_port()}"
        ended = run_command("salver", "serve", model, rest, f"--port={port}")
    assert ended.returncode == 1
    first, second = ended.stderr.splitlines()
    assert first == "salver: Failed to BuildAndStart gRPC server"
    assert second.startswith(f"  127.0.0.1, port {port}: Address already in use. --port=")


def test_at_a_terminal_one_line_shows_what_is_being_loaded(
    model_path: ModelPath, tmp_path: Path
) -> None:
    """The line is written again and again, and gives way to the banner."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        _command(
            "salver",
            [
                "serve",
                str(model_path("keras_trained") / "1" / "model.keras"),
                f"--conversion_cache={tmp_path}",
                f"--rest_api_port={free_port()}",
                "--port=0",
            ],
        ),
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = bytearray()
    has_tried = threading.Event()

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the other end is closed
                return
            said.extend(data)
            if b"Try:" in said:
                has_tried.set()

    reading = threading.Thread(target=read)
    reading.start()
    try:
        assert has_tried.wait(120), said.decode()
    finally:
        process.terminate()
        process.wait(60)
        reading.join()
        os.close(ours)
    text = said.decode()
    shown = [part for part in text.split("\r\x1b[K") if part.startswith("Loading model … ")]
    assert len(shown) > 2
    assert "\r\x1b[K\r\nSalver " in text


if sys.platform == "win32":  # there are no pseudo-terminals
    pytestmark = pytest.mark.skip("needs a pseudo-terminal")
