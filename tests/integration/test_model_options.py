"""Servers whose configuration is YAML, with limits and options for one model, which change."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.serving import PATIENCE_S, Server, eventually, run_command, running

Write = Callable[..., None]


@pytest.fixture
def write(model_path: Callable[[str], Path], tmp_path: Path) -> Write:
    """Puts a configuration in place, by the options of each model."""

    def write(**salver: Any) -> None:
        models = [
            {
                "name": name,
                "base_path": str(model_path(name)),
                "model_platform": "tensorflow",
                "salver": salver.get(name, {}),
            }
            for name in ("failing", "half_plus_two")
        ]
        new = tmp_path / "new"
        new.write_text("models:\n" + "".join(f"- {json.dumps(each)}\n" for each in models))
        new.rename(tmp_path / "models.yaml")

    return write


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def server(request: pytest.FixtureRequest, write: Write, tmp_path: Path) -> Iterator[Server]:
    write(failing={"max_concurrent_runs": 1, "max_queued_runs": 1})
    with running(
        f"--model_config_file={tmp_path / 'models.yaml'}",
        "--model_config_file_poll_wait_seconds=1",
        "--rest_api_timeout_in_ms=0",
        "--grpc_max_threads=8",
        f"--workers={request.param}",
    ) as started:
        yield started


class Waiting:
    """Calls of a model that wait for somebody who writes to a pipe."""

    def __init__(self, server: Server, directory: Path) -> None:
        self._url = f"{server.url}/v1/models/failing:predict"
        self._directory = directory
        self._pipes: list[Path] = []
        self._clients = ThreadPoolExecutor(32)
        self.calls: list[Future[int]] = []

    def ask(self, count: int) -> None:
        for _ in range(count):
            pipe = self._directory / f"pipe-{len(self._pipes)}"
            os.mkfifo(pipe)
            self._pipes.append(pipe)
            self.calls.append(self._clients.submit(self._call, pipe))

    def _call(self, pipe: Path) -> int:
        body = {"signature_name": "read_file", "instances": [str(pipe)]}
        return requests.post(self._url, json=body, timeout=PATIENCE_S).status_code

    def refused(self) -> int:
        return sum(call.done() and call.result() == 503 for call in self.calls)

    def release(self) -> set[int]:
        def write(pipe: Path, call: "Future[int]") -> None:
            pause = threading.Event()
            while not call.done():
                with suppress(OSError):  # nobody reads it yet
                    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
                pause.wait(0.02)

        for pipe, call in zip(self._pipes, self.calls, strict=True):
            threading.Thread(target=write, args=(pipe, call), daemon=True).start()
        return {call.result(PATIENCE_S) for call in self.calls}


def test_limits_of_one_model_hold_and_change_without_a_load(
    server: Server, write: Write, tmp_path: Path
) -> None:
    waiting = Waiting(server, tmp_path)
    try:
        waiting.ask(10)
        eventually("some are refused", lambda: waiting.refused() >= 6)
        assert server.predict("half_plus_two", [1.0]).status_code == 200
        assert len(waiting.calls) - waiting.refused() >= 2  # one runs, one waits
        before = waiting.refused()
        write(failing={"max_concurrent_runs": 1, "max_queued_runs": 1000})
        eventually("the configuration is read", lambda: can_wait(waiting, before))
        assert server.states("failing") == {1: "AVAILABLE"}  # its runs would keep it from going
    finally:
        assert waiting.release() <= {400, 503}


def can_wait(waiting: Waiting, refused_before: int) -> bool:
    """Whether a call more is queued."""
    waiting.ask(1)
    with suppress(TimeoutError):
        return waiting.calls[-1].result(0.3) != 503
    return True


def test_options_that_no_backend_has_are_told_and_mended(server: Server, write: Write) -> None:
    write(half_plus_two={"options": {"no_such_option": "1"}})

    def error() -> str:
        status = server.get("/v1/models/half_plus_two").json()["model_version_status"]
        return str(status[0]["status"]["error_message"])

    eventually("the version fails", lambda: "no_such_option" in error())
    assert server.predict("failing", [1]).status_code != 404
    write(half_plus_two={"options": {"saved_model_tags": "no_such_tag"}})
    server.err.wait_for("no_such_tag")  # and would be tried again in a minute
    write(half_plus_two={"options": {"saved_model_tags": "serve"}})
    eventually(
        "it is loaded again", lambda: server.predict("half_plus_two", [1.0]).status_code == 200
    )


def test_what_a_server_cannot_do_for_one_model_is_refused_and_the_others_go_on(
    server: Server, write: Write
) -> None:
    write(half_plus_two={"replicas": {"max": 2}})
    server.err.wait_for("Model half_plus_two sets salver.replicas, which this server cannot do")
    assert server.predict("half_plus_two", [1.0]).status_code == 200
    if len(server.workers()) == 2:
        server.process.send_signal(signal.SIGHUP)
        server.err.wait_for("SIGHUP: the workers stay as they are")
    assert server.predict("half_plus_two", [1.0]).status_code == 200


def test_a_server_that_is_given_a_wrong_file_says_where_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models:\n- nme: a\n")
    done = run_command("tensorflow_model_server", "--port=0", f"--model_config_file={path}")
    assert done.returncode == 255
    done = run_command("tensorflow_model_server", f"--model_config_file={path}")
    assert done.returncode == 255
    assert "2:3: ModelConfig has no field" in done.stderr
