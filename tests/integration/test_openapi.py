"""What /openapi.json says, held against what a running server answers."""

import os
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from salver.demo.models import Format, write_models
from tests.described import write_described
from tests.integration.serving import Server, running
from tests.openapi import validate

CANNOT = ("No matching distribution found", "Failed to establish a new connection", "Timeout")
# Of TRACE and the like no document says anything.
SETTINGS = "[phases.coverage]\nunexpected-methods = []\n[phases.stateful]\nenabled = false\n"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
ANSWERS = f"{CHECKS},response_schema_conformance,response_headers_conformance"
# What this server refuses by 501 and 503, as the document says; the last is not for the REST port.
REFUSED = ("set_trace", "set_model_trace", "set_logging", "repository_load", "repository_unload")
NOT_TRIED = ("clear_quarantine", *(f"v2_{each}" for each in REFUSED))
OF_ONE = "/openapi.json?model=prices"  # whose inputs are of several kinds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    write_described(models)
    write_models(models, Format.SAVED_MODEL)
    for name in ("digits.tflite", "half_plus_two.tflite"):
        (models / name).unlink()
    with running(str(models), command="salver") as server:
        yield server


@pytest.fixture(scope="module")
def schemathesis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its command, in an environment of its own: its plug-in would be in the way of these tests."""
    environment = tmp_path_factory.mktemp("schemathesis") / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "schemathesis>=4.3"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if pip.returncode and any(words in pip.stderr for words in CANNOT):
        pytest.skip("schemathesis cannot be had here")
    assert pip.returncode == 0, pip.stderr
    return environment / "bin" / "schemathesis"


def document(server: Server, query: str = "") -> dict[str, Any]:
    answer = server.get(f"/openapi.json{query}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_the_document_is_valid(server: Server) -> None:
    validate(document(server))
    validate(document(server, "?model=prices"))


def test_every_example_of_every_model_is_answered(server: Server) -> None:
    asked = 0
    for path, item in document(server)["paths"].items():
        body = item.get("post", {}).get("requestBody", {}).get("content", {})
        for example in body.get("application/json", {}).get("examples", {}).values():
            if "{" not in path:
                answer = server.post(path, example["value"])
                assert answer.status_code == 200, (path, example, answer.text)
                asked += 1
    assert asked > 20


@pytest.mark.parametrize(("mode", "checks"), [("positive", ANSWERS), ("negative", CHECKS)])
def test_requests_made_of_the_document_are_answered_as_it_says(
    server: Server, schemathesis: Path, tmp_path: Path, mode: str, checks: str
) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    left_out = [f"--exclude-operation-id={each}" for each in NOT_TRIED]
    done = subprocess.run(
        [
            *(
                schemathesis,
                "--config-file",
                settings,
                "run",
                f"{server.url}/openapi.json?model=prices",
            ),
            *("--mode", mode, "--checks", checks, "--max-examples=5", "--seed=1"),
            *("--request-timeout=20", "--continue-on-failure", "--max-failures=5"),
            *("--suppress-health-check=all", "--no-color", *left_out),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert server.get("/healthz/ready").status_code == 200


def test_each_worker_has_the_document(
    model_path: Callable[[str], Path], start_server: Callable[..., Server]
) -> None:
    flags = ("--model_name=m", f"--model_base_path={model_path('half_plus_two')}", "--workers=2")
    server = start_server(*flags)
    for _ in range(6):
        server.session.close()  # a connection of its own, so that both workers are met
        assert "/v1/models/m:predict" in document(server)["paths"]


def test_without_the_playground_it_is_there(
    model_path: Callable[[str], Path], start_server: Callable[..., Server]
) -> None:
    server = start_server("--model_name=m", f"--model_base_path={model_path('half_plus_two')}")
    assert server.get("/docs").status_code == 404
    first = server.get("/openapi.json")
    etag = first.headers["ETag"]
    assert server.get("/openapi.json", headers={"If-None-Match": etag}).status_code == 304
    head = server.session.head(f"{server.url}/openapi.json", timeout=20)
    assert (head.status_code, head.headers["ETag"]) == (200, etag)


def test_a_model_that_is_loaded_on_demand_is_not_loaded_for_it(
    model_path: Callable[[str], Path], start_server: Callable[..., Server]
) -> None:
    server = start_server(
        "--model_name=m",
        f"--model_base_path={model_path('half_plus_two')}",
        "--lazy_load_models",
    )
    document(server)
    (status,) = server.get("/v1/models/m").json()["model_version_status"]
    assert status["in_memory"] is False
    assert server.predict("m", [1.0]).status_code == 200
    assert "/v1/models/m:predict" in document(server)["paths"]
