"""Models of OpenVINO behind a real server."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.grpc_clients.plain import Client, connected
from tests.integration.serving import Server, run_command, running

pytest.importorskip("openvino")

ModelPath = Callable[[str], Path]
ROWS = np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def base(model_path: ModelPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("openvino") / "net"
    shutil.copytree(model_path("openvino_net"), copied)
    return copied


@pytest.fixture(scope="module")
def server(
    base: Path, model_path: ModelPath, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("config") / "models.config"
    onnx = model_path("openvino_onnx")
    config.write_text(
        f'model_config_list {{ config {{ name: "net" base_path: "{base}" '
        'model_platform: "tensorflow" } '
        f'config {{ name: "onnx" base_path: "{onnx}" model_platform: "openvino" '
        'salver { options { key: "num_threads" value: "1" } } } }'
    )
    flags = ("--file_system_poll_wait_seconds=1", "--max_num_load_retries=0")
    with running(f"--model_config_file={config}", *flags) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as connection:
        yield connection


def expected(base: Path, rows: Any) -> Any:
    weights = np.load(base / "weights.npz")
    scores = np.exp(np.maximum(rows @ weights["first"], 0) @ weights["second"])
    return scores / scores.sum(axis=1, keepdims=True)


def test_both_apis_answer_what_numpy_computes(server: Server, client: Client, base: Path) -> None:
    wanted = expected(base, ROWS)
    for _ in range(20):  # also where it is run in the event loop
        found = server.predict("net", ROWS.tolist()).json()["predictions"]
        np.testing.assert_allclose(found, wanted, atol=2e-6)
    np.testing.assert_allclose(client.predict("net", {"x": ROWS})["y"], wanted, atol=2e-6)


def test_an_onnx_file_is_run_by_the_platform_that_is_asked_for(server: Server) -> None:
    assert server.predict("onnx", [[1.0, 2.0]]).json()["predictions"] == [[2.0, 4.0]]


def test_what_does_not_fit_is_refused(server: Server) -> None:
    answer = server.predict("net", [[1.0]])
    assert answer.status_code == 400
    assert answer.json()["error"] == "Input x must have shape [-1, 16], not [1, 1]"


def test_broken_files_keep_the_old_version_serving(
    server: Server, base: Path, tmp_path: Path
) -> None:
    xml, weights = ((base / "1" / f"model.{ending}").read_bytes() for ending in ("xml", "bin"))
    broken = [
        (xml[: len(xml) // 2], weights),
        (xml, weights[:50]),
        (xml.replace(b'type="MatMul"', b'type="NoSuch"'), weights),
        (xml.replace(b'shape="64, 5"', b'shape="64, 99999999"'), weights),
    ]
    for version, (graph, content) in enumerate(broken, start=2):
        partial = tmp_path / "partial"
        partial.mkdir()
        (partial / "model.xml").write_bytes(graph)
        (partial / "model.bin").write_bytes(content)
        partial.rename(base / str(version))
        server.wait_until("net", version, "END")
        assert server.predict("net", ROWS.tolist()).status_code == 200


def test_show_tells_of_it_without_opening_openvino(base: Path) -> None:
    done = run_command("salver", "show", str(base / "1"))
    assert done.returncode == 0, done.stderr
    assert "inputs['x']" in done.stdout
    assert "shape: (-1, 16)" in done.stdout


def test_failing_requests_keep_nothing(server: Server) -> None:
    def fail(_: int) -> int:
        return server.predict("net", [[1.0] * 20_000]).status_code

    for _ in range(60):
        assert fail(0) == 400
    before = server.resident_bytes()
    for _ in range(150):
        assert fail(0) == 400
    assert server.resident_bytes() - before < 8 << 20
