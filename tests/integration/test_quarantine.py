"""Models that end the process that runs them, and what the others notice of it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.integration.serving import PATIENCE_S, Server, eventually
from tests.runtime_killers import FATAL, doubling, reserving

StartServer = Callable[..., Server]

MOST_S = 10.0  # of an outage; a machine with nothing else to do shows less than 2 s
QUARANTINED = "Version 1 of model bad is quarantined: 3 worker deaths (SIGABRT)"


def write(base: Path, file: bytes, version: int = 1) -> None:
    (base / str(version)).mkdir(parents=True)
    (base / str(version) / "saved_model.pb").write_bytes(file)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write(tmp_path / "bad", reserving())
    write(tmp_path / "good", doubling())
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}\n'
        for name in ("bad", "good")
    )
    (tmp_path / "models.config").write_text(f"model_config_list {{\n{entries}}}")
    return tmp_path


@pytest.fixture
def server(models: Path, start_server: StartServer) -> Server:
    return start_server(
        f"--model_config_file={models / 'models.config'}",
        "--workers=2",
        "--file_system_poll_wait_seconds=1",
    )


def ask(server: Server, model: str, value: float) -> int:
    """The status of an answer; 0 where the connection ended without one."""
    try:
        return requests.post(
            f"{server.url}/v1/models/{model}:predict",
            json={"instances": [value]},
            timeout=PATIENCE_S,
        ).status_code
    except requests.ConnectionError:
        return 0


def ask_text(server: Server) -> str:
    return server.predict("bad", [FATAL]).text


def clear(server: Server, model: str) -> list[int]:
    url = f"http://{server.grpc_target}/admin/v1/models/{model}:clear_quarantine"
    answer = requests.post(url, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    versions: list[int] = answer.json()["cleared_versions"]
    return versions


def kill(server: Server) -> None:
    """Ask for what ends the process until the model is quarantined."""

    def is_quarantined() -> bool:
        ask(server, "bad", FATAL)
        return state(server) == ("END", QUARANTINED)

    eventually("the model is quarantined", is_quarantined, within_s=2 * PATIENCE_S)


def state(server: Server) -> tuple[str, str]:
    try:
        page = server.get("/v1/models/bad")
    except requests.ConnectionError:
        return "", ""
    status = page.json()["model_version_status"][0]
    return status["state"], status["status"]["error_message"]


def metric(server: Server, name: str) -> float:
    lines = server.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


@contextmanager
def asked(server: Server) -> Iterator[list[float]]:
    """Asks another model all the time; the seconds from one answer to the next."""
    gaps: list[float] = []
    stop = threading.Event()

    def work() -> None:
        last_s = time.monotonic()
        while not stop.is_set():
            if ask(server, "good", 2.0) == 200:
                now_s = time.monotonic()
                gaps.append(now_s - last_s)
                last_s = now_s

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield gaps
        before = len(gaps)
        eventually("it is answered again", lambda: len(gaps) > before + 3)
    finally:
        stop.set()
        thread.join()


@contextmanager
def attackers(server: Server, count: int) -> Iterator[None]:
    """Clients that ask for what ends the process, all the time."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            ask(server, "bad", FATAL)
            stop.wait(0.01)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_model_that_ends_its_process_each_time_is_kept_from_the_others(server: Server) -> None:
    with asked(server) as gaps:
        eventually("it is asked much", lambda: len(gaps) > 100)
        gaps.clear()
        with attackers(server, 4):
            eventually(
                "the model is quarantined",
                lambda: state(server) == ("END", QUARANTINED),
                within_s=2 * PATIENCE_S,
            )
            deaths = metric(server, "salver_worker_deaths_total")
            eventually(
                "it is tried again, and dies",
                lambda: "quarantined: 4 worker deaths" in ask_text(server),
                within_s=2 * PATIENCE_S,
            )
    print(f"longest outage of the other model: {max(gaps):.2f} s")  # noqa: T201
    assert max(gaps) < MOST_S
    assert deaths <= 4
    assert metric(server, "salver_worker_deaths_total") == deaths
    assert metric(server, 'salver_quarantined_versions{model_name="bad"}') == 1
    refused = server.predict("bad", [3.0])
    assert refused.status_code == 503
    assert refused.json()["error"].startswith("Version 1 of model bad is quarantined: ")
    assert "clear_quarantine" in refused.json()["hint"]


def test_a_quarantined_version_that_behaves_again_comes_back(
    server: Server,
) -> None:
    kill(server)
    assert ask(server, "bad", 3.0) == 503
    eventually(
        "it is back",
        lambda: ask(server, "bad", 3.0) == 200 and state(server)[0] == "AVAILABLE",
        within_s=3 * PATIENCE_S,
    )
    assert server.predict("bad", [3.0]).json() == {"predictions": [6.0]}
    eventually(
        "nothing is quarantined",
        lambda: metric(server, 'salver_quarantined_versions{model_name="bad"}') == 0,
    )


def test_a_new_version_is_free_of_what_the_old_one_did(server: Server, models: Path) -> None:
    kill(server)
    write(models / "bad", doubling(), 2)
    server.wait_until("bad", 2)
    assert server.predict("bad", [3.0]).json() == {"predictions": [6.0]}
    eventually(
        "nothing is quarantined",
        lambda: metric(server, 'salver_quarantined_versions{model_name="bad"}') == 0,
    )


def test_a_version_whose_files_change_is_free_again(server: Server, models: Path) -> None:
    kill(server)
    (models / "bad" / "1" / "new").write_bytes(doubling())
    (models / "bad" / "1" / "new").rename(models / "bad" / "1" / "saved_model.pb")
    server.wait_until("bad", 1)
    assert server.predict("bad", [FATAL]).status_code == 200


@pytest.mark.parametrize("how", ["route", "signal"])
def test_a_version_is_cleared_by_hand(server: Server, how: str) -> None:
    kill(server)
    if how == "route":
        assert server.post("/admin/v1/models/bad:clear_quarantine").status_code == 403
        assert clear(server, "bad") == [1]
    else:
        server.process.send_signal(signal.SIGHUP)
    server.wait_until("bad", 1)
    eventually("it answers", lambda: ask(server, "bad", 3.0) == 200)
    assert clear(server, "good") == []


def test_workers_that_a_model_ended_are_replaced_without_a_pause(
    server: Server,
) -> None:
    """Four deaths in a row would cost workers at fault pauses of 0, 0.5 and 1 s."""
    for _ in range(2):
        kill(server)
        assert clear(server, "bad") == [1]
        server.wait_until("bad", 1)
    with asked(server) as gaps:
        ask(server, "bad", FATAL)
    print(f"longest outage of the other model: {max(gaps):.2f} s")  # noqa: T201
    assert max(gaps) < MOST_S
