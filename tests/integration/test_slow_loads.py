"""Models whose load does not return: the others are served, and such a load can be given up."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serving import Server, eventually
from tests.integration.test_workers import load_on, workers

StartServer = Callable[..., Server]
PATIENT = (
    "from salver.lifecycle import lateness; lateness.WARN_S = 0.5"  # of the process that decides
)


@pytest.fixture
def half(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two")


@pytest.fixture
def waiting(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    """A base path whose version 1 waits for its gate as it loads."""
    base = tmp_path / "waits"
    shutil.copytree(model_path("load_waits"), base)
    return base


@pytest.fixture
def gate(waiting: Path) -> Path:
    """The file that lets it go on."""
    return waiting / "open"


def entry(name: str, base_path: Path) -> str:
    return f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" }}'


@pytest.fixture
def config(tmp_path: Path, half: Path) -> Path:
    path = tmp_path / "models.conf"
    put(path, entry("m", half))
    return path


def put(path: Path, *entries: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    new.rename(path)


def polling(config: Path) -> tuple[str, ...]:
    return f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"


@pytest.mark.parametrize("processes", [1, 2])
def test_other_models_are_loaded_while_a_load_does_not_return(
    processes: int, config: Path, half: Path, waiting: Path, gate: Path, start_server: StartServer
) -> None:
    server = start_server(*polling(config), f"--workers={processes}", prelude=PATIENT)
    put(config, entry("m", half), entry("waits", waiting))
    server.wait_until("waits", 1, "LOADING")
    put(config, entry("m", half), entry("waits", waiting), entry("other", half))
    server.wait_until("other", 123)
    line = server.err.wait_for("Loading servable: {name: waits version: 1} has not returned for ")
    assert line.endswith("Other loads go on")
    (status,) = server.get("/v1/models/waits").json()["model_version_status"]
    assert status["status"] == {"error_code": "OK", "error_message": ""}
    assert status["hint"].startswith("still loading since 20")
    refusal = server.predict("waits", [2.0])
    assert refusal.status_code == 404
    assert f"1 (LOADING, {status['hint']})" in refusal.json()["hint"]
    assert server.get("/healthz/ready").json()["reason"] == (
        f"no version is available of: waits ({status['hint']})"
    )
    gate.touch()
    server.wait_until("waits", 1)
    assert "hint" not in server.get("/v1/models/waits").json()["model_version_status"][0]


def test_a_load_is_given_up_and_what_it_brings_is_closed(
    config: Path, half: Path, waiting: Path, gate: Path, start_server: StartServer
) -> None:
    server = start_server(*polling(config), "--load_timeout_seconds=2")
    put(config, entry("m", half), entry("waits", waiting))
    server.wait_until("waits", 1, "END")
    (status,) = server.get("/v1/models/waits").json()["model_version_status"]
    assert status["status"] == {
        "error_code": "DEADLINE_EXCEEDED",
        "error_message": "Loading servable: {name: waits version: 1} has not returned for 2 s",
    }
    assert "--load_timeout_seconds" in status["hint"]
    gate.touch()
    server.err.wait_for("{name: waits version: 1} has returned after it was given up")
    server.err.wait_for("Unloading just-loaded servable version {name: waits version: 1}")
    assert server.states("waits") == {1: "END"}
    (waiting / "1" / "assets" / "name.txt").touch()  # a change of its files
    server.wait_until("waits", 1)
    assert server.predict("waits", [2.0]).json() == {"predictions": [3.0]}


def test_a_new_version_whose_load_is_given_up_leaves_the_old_one(
    half: Path, waiting: Path, tmp_path: Path, start_server: StartServer
) -> None:
    base = tmp_path / "m"
    shutil.copytree(half / "00000123", base / "1")
    server = start_server("--model_name=m", f"--model_base_path={base}", "--load_timeout_seconds=2")
    (waiting / "1").rename(base / "2")
    server.wait_until("m", 2, "END")
    assert server.predict("m", [2.0]).headers["salver-model-version"] == "1"
    assert server.get("/healthz/ready").status_code == 200


def test_workers_whose_load_does_not_return_are_replaced_and_no_request_fails(
    config: Path, half: Path, waiting: Path, start_server: StartServer
) -> None:
    server = start_server(*polling(config), "--load_timeout_seconds=2", "--workers=2")
    before = workers(server)
    with load_on(server) as failures:
        put(config, entry("m", half), entry("waits", waiting))
        server.wait_until("waits", 1, "END")
        server.err.wait_for("is to be replaced: its load of {name: waits version: 1} does not")
        # One worker has loaded it first, and that one is replaced; the other was never asked.
        eventually("it is gone", lambda: len(workers(server) & before) == 1)
        eventually("there are two", lambda: len(workers(server)) == 2)
    assert failures == []
    assert server.states("waits") == {1: "END"}
    put(config, entry("m", half), entry("other", half))
    server.wait_until("other", 123)
    assert server.stop() == 0


def test_at_start_up_a_load_that_is_given_up_ends_the_start_as_any_that_fails(
    waiting: Path, launch_server: StartServer
) -> None:
    server = launch_server(
        "--model_name=waits", f"--model_base_path={waiting}", "--load_timeout_seconds=1"
    )
    assert server.wait() == 255
    assert (
        "{{name: waits version: 1} due to error: DEADLINE_EXCEEDED: Loading servable: "
        "{name: waits version: 1} has not returned for 1 s}"
    ) in server.out.text()


def test_graphs_that_loop_while_they_load_leave_the_others_their_threads(
    model_path: Callable[[str], Path], half: Path, tmp_path: Path, launch_server: StartServer
) -> None:
    path = tmp_path / "loops.conf"
    cpus = len(os.sched_getaffinity(0))
    loops = [entry(f"loop{number}", model_path("load_loops")) for number in range(cpus + 1)]
    put(path, *loops, entry("m", half))
    server = launch_server(f"--model_config_file={path}", command="salver", prelude=PATIENT)
    server.out.wait_for("still loading since ")  # they do not keep the others' banner back
    server.wait_until("m", 123)
    assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}
    assert server.states("loop0") == {1: "LOADING"}


def test_a_model_loaded_when_asked_for_is_given_up_too(
    half: Path, waiting: Path, tmp_path: Path, start_server: StartServer
) -> None:
    path = tmp_path / "lazy.conf"
    put(path, entry("m", half), entry("waits", waiting))
    server = start_server(
        f"--model_config_file={path}", "--max_loaded_models=1", "--load_timeout_seconds=2"
    )
    text = "Loading servable: {name: waits version: 1} has not returned for 2 s"
    refusal = server.predict("waits", [2.0])
    assert (refusal.status_code, refusal.json()["error"]) == (504, text)
    assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}  # in the same place
    assert server.predict("waits", [2.0]).json()["error"] == text  # at once
