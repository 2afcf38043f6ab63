"""Models that are loaded when they are asked for, in real servers."""

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    message,
    model_spec,
    predict_request,
    values,
)
from tests.integration.serving import Server, eventually

NAMES = tuple("abcde")
DAMAGED = "damaged"
LIMIT = 2
HAMMERS = 8
TURNS = 25

StartServer = Callable[..., Server]


@pytest.fixture
def models(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    """Base paths of models that can be changed, and a file that configures them."""
    source = next(model_path("half_plus_two").iterdir())
    for name in (*NAMES, DAMAGED):
        shutil.copytree(source, tmp_path / name / "1")
    # It looks as it should, until somebody wants its variables.
    index = tmp_path / DAMAGED / "1" / "variables" / "variables.index"
    index.write_bytes(b"rubbish" * 20)
    configure(tmp_path, (*NAMES, DAMAGED))
    return tmp_path


def configure(models: Path, names: tuple[str, ...]) -> None:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}\n'
        for name in names
    )
    (models / "next").write_text(f"model_config_list {{ {entries} }}")
    (models / "next").rename(models / "models.config")


@pytest.fixture
def server(models: Path, start_server: StartServer) -> Server:
    return start_server(
        f"--model_config_file={models / 'models.config'}",
        f"--max_loaded_models={LIMIT}",
        "--model_config_file_poll_wait_seconds=1",
    )


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as client:
        yield client


def resident(server: Server) -> set[str]:
    return {
        model["name"]
        for model in server.get("/v1/models").json()["models"]
        for version in model["model_version_status"]
        if version.get("in_memory")
    }


def metric(server: Server, name: str) -> float:
    lines = server.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


def test_a_model_is_available_before_it_is_in_memory(server: Server, client: Client) -> None:
    assert server.states("a") == {1: "AVAILABLE"}
    assert resident(server) == set()
    assert server.get("/v1/models/a/metadata").json()["model_spec"]["version"] == "1"
    asked = message("GetModelMetadataRequest", model_spec=model_spec("a"))
    asked.metadata_field.append("signature_def")
    assert client.call("GetModelMetadata", asked).model_spec.version.value == 1
    assert resident(server) == set()
    assert server.predict("a", [1.0]).json() == {"predictions": [2.5]}
    assert resident(server) == {"a"}


def test_a_model_can_be_brought_into_memory_before_it_is_asked_for(server: Server) -> None:
    url = f"http://{server.grpc_target}/admin/v1/models/b:load"
    assert requests.post(url, timeout=30).status_code == requests.codes.OK
    eventually("it is in memory", lambda: resident(server) == {"b"})


def test_grpc_waits_for_a_model_too(server: Server, client: Client) -> None:
    answer = client.call(
        "Predict", predict_request(model_spec("b"), {"x": np.array([1.0, 2.0], np.float32)})
    )
    assert values(answer.outputs["y"]) == [2.5, 3.0]
    assert resident(server) == {"b"}


def test_threads_that_ask_more_models_than_fit_are_all_answered(
    server: Server, client: Client
) -> None:
    def over_rest(number: int) -> int:
        chooser = random.Random(number)
        with requests.Session() as session:
            for _ in range(TURNS):
                url = f"{server.url}/v1/models/{chooser.choice(NAMES)}:predict"
                answer = session.post(url, json={"instances": [number]}, timeout=60)
                assert answer.json() == {"predictions": [number / 2 + 2]}, answer.text
        return TURNS

    def over_grpc(number: int) -> int:
        chooser = random.Random(number)
        for _ in range(TURNS):
            inputs = {"x": np.array([number], np.float32)}
            request = predict_request(model_spec(chooser.choice(NAMES)), inputs)
            assert values(client.call("Predict", request).outputs["y"]) == [number / 2 + 2]
        return TURNS

    with ThreadPoolExecutor(HAMMERS) as pool:
        calls = [pool.submit((over_rest, over_grpc)[n % 2], n) for n in range(HAMMERS)]
        highest = 0.0
        while not all(call.done() for call in calls):
            highest = max(highest, metric(server, "salver_resident_versions"))
    assert sum(call.result() for call in calls) == HAMMERS * TURNS
    assert 0 < highest <= LIMIT
    assert len(resident(server)) <= LIMIT
    assert metric(server, "salver_evictions_total") > 0


def test_a_model_that_does_not_load_answers_with_its_error(server: Server, models: Path) -> None:
    first = server.predict(DAMAGED, [1.0])
    again = server.predict(DAMAGED, [1.0])
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.status_code == 500
    assert "It is tried again" in first.json()["hint"]
    status = server.get(f"/v1/models/{DAMAGED}").json()["model_version_status"][0]
    assert (status["state"], status["in_memory"]) == ("AVAILABLE", False)
    assert status["status"]["error_message"] == first.json()["error"]
    index = Path("1", "variables", "variables.index")
    (models / DAMAGED / index).write_bytes((models / "a" / index).read_bytes())
    eventually("it is tried again", lambda: server.predict(DAMAGED, [1.0]).status_code == 200)


def test_rubbish_is_refused_without_being_asked_for(
    models: Path, launch_server: StartServer
) -> None:
    (models / "a" / "1" / "saved_model.pb").write_bytes(b"rubbish")
    server = launch_server(
        f"--model_config_file={models / 'models.config'}",
        "--lazy_load_models",
        "--max_num_load_retries=0",
    )
    server.err.wait_for("Can't parse")
    assert server.wait() == 255


def test_a_new_version_of_a_model_in_memory_is_loaded_before_it_takes_over(
    server: Server, models: Path
) -> None:
    assert server.predict("a", [1.0]).status_code == 200
    for name in ("a", "b"):
        shutil.copytree(models / name / "1", models / "new")
        (models / "new").rename(models / name / "2")
        server.wait_until(name, 2)
        server.wait_until(name, 1, "END")
    assert resident(server) == {"a"}


def test_a_reload_brings_and_takes_models(server: Server, models: Path) -> None:
    assert server.predict("a", [1.0]).status_code == 200
    shutil.copytree(models / "a" / "1", models / "f" / "1")
    configure(models, ("b", "f"))
    server.wait_until("f", 1)
    server.wait_until("a", 1, "END")
    assert server.predict("a", [1.0]).status_code == 404
    assert server.predict("f", [1.0]).json() == {"predictions": [2.5]}
    assert resident(server) == {"f"}


def test_a_server_that_is_told_to_stop_answers_who_waits_for_a_model(
    server: Server, models: Path
) -> None:
    def ask(name: str) -> "tuple[int, object]":
        answer = requests.post(
            f"{server.url}/v1/models/{name}:predict", json={"instances": [1.0]}, timeout=60
        )
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(1) as pool:
        asked: Future[tuple[int, object]] = pool.submit(ask, "a")
        server.err.wait_for("Bringing servable version {name: a version: 1} into memory")
        server.process.send_signal(signal.SIGTERM)
        status, answer = asked.result()
    assert status == 200, answer
    assert answer == {"predictions": [2.5]}
    assert server.wait() == 0
