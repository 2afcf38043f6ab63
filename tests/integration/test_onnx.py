"""ONNX models behind a real server."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    model_spec,
    predict_request,
    values,
)
from tests.integration.serving import Server, eventually, run_command, running, start

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests import onnx_models

MODELS: dict[str, Callable[[], Any]] = {
    "half": onnx_models.half_plus_two,
    "several": onnx_models.several,
    "words": onnx_models.words,
    "classifier": onnx_models.classifier,
    "regressor": onnx_models.regressor,
    "looping": onnx_models.looping,
    "layers": onnx_models.layers,
}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models")
    for name, make in MODELS.items():
        onnx_models.save(make(), base / name / "1")
    flags = (f"--workers={request.param}", "--onnxruntime_num_shared_threads=2")
    with running(str(base), *flags, command="salver") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as connection:
        yield connection


@pytest.mark.parametrize(
    ("model", "method", "body", "answer"),
    [
        ("half", "predict", {"instances": [1.0, 2.0]}, {"predictions": [2.5, 3.0]}),
        (
            "several",
            "predict",
            {"inputs": {"z_matrix": [[1.0, 0.0, 0.0]], "a_bias": [1.0, 2.0]}},
            {"outputs": {"a_total": 4.0, "z_sum": [[1.0, 3.0]]}},
        ),
        ("words", "predict", {"instances": ["a", "ö"]}, {"predictions": ["aa", "öö"]}),
        (
            "regressor",
            "regress",
            {"signature_name": "regress", "examples": [{"age": 1.0, "height": 2.0}]},
            {"results": [9.0]},
        ),
        ("looping", "predict", {"inputs": {"times": 3, "step": 2.0}}, {"outputs": 8.0}),
    ],
)
def test_rest_answers(model: str, method: str, body: Any, answer: Any, server: Server) -> None:
    for _ in range(5):  # in the pool, then in the loop
        given = server.post(f"/v1/models/{model}:{method}", body)
        assert (given.status_code, given.json()) == (200, answer)


def test_rest_classifies_with_the_labels_of_the_file(server: Server) -> None:
    body = {"signature_name": "classify", "examples": [{"x": [1.0, 0.0, 0.5, 2.0]}]}
    (result,) = server.post("/v1/models/classifier:classify", body).json()["results"]
    assert [label for label, _ in result] == ["cat", "dog", "eel"]
    assert sum(score for _, score in result) == pytest.approx(1)


@pytest.mark.parametrize("rows", [1, 4, 2000])
def test_grpc_answers_small_and_large(rows: int, client: Client) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 64)).astype(np.float32)
    for _ in range(5):
        answer = client.call("Predict", predict_request(model_spec("layers"), {"x": x}))
        assert np.shape(values(answer.outputs["y"])) == (rows, 64)


def test_a_request_for_some_outputs_gets_those(client: Client) -> None:
    inputs = {"z_matrix": np.ones((1, 3), np.float32), "a_bias": np.zeros(2, np.float32)}
    request = predict_request(model_spec("several"), inputs, outputs=["a_total"])
    assert list(client.call("Predict", request).outputs) == ["a_total"]


def test_what_does_not_fit_is_told_in_the_words_of_onnx_runtime(server: Server) -> None:
    for _ in range(5):
        answer = server.post("/v1/models/layers:predict", {"instances": [[1.0, 2.0]]})
        assert answer.status_code == 400
        assert "Got: 2 Expected: 64" in answer.json()["error"]


def test_metadata_have_what_a_form_is_made_of(server: Server) -> None:
    definition = server.get("/v1/models/several/metadata").json()["metadata"]["signature_def"]
    inputs = definition["signature_def"]["serving_default"]["inputs"]
    assert inputs["z_matrix"]["dtype"] == "DT_FLOAT"
    assert [each["size"] for each in inputs["z_matrix"]["tensor_shape"]["dim"]] == ["-1", "3"]


def test_a_run_past_its_deadline_is_ended(server: Server, client: Client) -> None:
    """Otherwise each would keep its thread, and a core, for ever."""
    endless = predict_request(
        model_spec("looping"), {"times": np.int64(2**62), "step": np.float32(1)}
    )
    for _ in range(6):  # more than there are threads for one model
        with pytest.raises(grpc.RpcError) as raised:
            client.call("Predict", endless, timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def is_idle() -> bool:
        return all(
            _cpu_s(pid) - before < 0.1 for pid, before in _after_a_while(server.workers()).items()
        )

    eventually("nothing computes any more", is_idle)
    finite = {"inputs": {"times": 1, "step": 1.0}}
    assert server.post("/v1/models/looping:predict", finite).json() == {"outputs": 2.0}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _after_a_while(pids: list[int]) -> dict[int, float]:
    before = {pid: _cpu_s(pid) for pid in pids}
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        threading.Event().wait(0.1)
    return before


def test_requests_that_come_together_are_one_run(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.half_plus_two(), tmp_path / "half" / "1")
    onnx_models.save(onnx_models.half_plus_two(rows=1), tmp_path / "fixed" / "1")
    parameters = tmp_path / "batching"
    parameters.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 200000 } "
        "num_batch_threads { value: 1 } max_enqueued_batches { value: 100 }"
    )
    flags = ("--enable_batching", f"--batching_parameters_file={parameters}")
    paths = (str(tmp_path / "half"), str(tmp_path / "fixed"))
    with running(*paths, *flags, command="salver") as server, ThreadPoolExecutor(8) as pool:
        for name in ("half", "fixed"):
            asked = [pool.submit(server.predict, name, [float(n)]) for n in range(8)]
            for number, answer in enumerate(asked):
                assert answer.result().json() == {"predictions": [number / 2 + 2]}
        page = server.get("/metrics").text
    runs = [
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("salver_runs_total{") and 'placement="batch"' in line
    ]
    assert len(runs) == 2
    assert 2 <= sum(runs) < 16


def test_a_warmup_file_is_answered_before_a_version_serves(tmp_path: Path) -> None:
    version = tmp_path / "half" / "1"
    onnx_models.save(onnx_models.half_plus_two(), version)
    source = tmp_path / "requests.jsonl"
    source.write_text('{"instances": [1.0, 2.0]}')
    made = run_command("salver", "warmup", "make", str(version), "--from", str(source))
    assert made.returncode == 0, made.stderr
    with running(str(tmp_path / "half"), command="salver") as server:
        assert "warmup" in server.err.text().lower()
        assert server.predict("half", [2.0]).json() == {"predictions": [3.0]}


def test_salver_show_prints_the_signatures(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.classifier(), tmp_path, "pets.onnx")
    shown = run_command("salver", "show", str(path))
    assert shown.returncode == 0, shown.stderr
    for part in ("ONNX model", "probabilities", "classify"):
        assert part in shown.stdout


def test_a_version_that_fails_leaves_the_old_one_serving(tmp_path: Path) -> None:
    base = tmp_path / "half"
    file = onnx_models.save(onnx_models.half_plus_two(), base / "1")
    flags = ("--file_system_poll_wait_seconds=1", "--max_num_load_retries=0")
    with running(str(base), *flags, command="salver") as server:
        whole = file.read_bytes()
        for version, content in enumerate((whole[: len(whole) // 2], bytes(999)), 2):
            made = tmp_path / "unfinished"
            made.mkdir()
            (made / "model.onnx").write_bytes(content)
            made.rename(base / str(version))
            server.wait_until("half", version, "END")
            assert server.predict("half", [2.0]).json() == {"predictions": [3.0]}
        shutil.copytree(base / "1", base / "9")
        server.wait_until("half", 9)
        server.wait_until("half", 1, "END")
        assert server.predict("half", [2.0]).json() == {"predictions": [3.0]}


def test_options_of_one_model_are_those_of_its_session(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.half_plus_two(), tmp_path / "a" / "1")
    config = tmp_path / "models.yaml"
    config.write_text(
        f"models: [{{name: a, base_path: {tmp_path / 'a'}, model_platform: onnxruntime, "
        "salver: {options: {intra_op_num_threads: '2', execution_mode: sequential}}}, "
        f"{{name: b, base_path: {tmp_path / 'a'}, model_platform: onnxruntime, "
        "salver: {options: {execution_mode: sideways}}}]\n"
    )
    server = start(f"--model_config_file={config}", command="salver")
    try:
        server.out.wait_for("serves")
        server.wait_until("a", 1)
        assert server.predict("a", [2.0]).json() == {"predictions": [3.0]}
        (status,) = server.get("/v1/models/b").json()["model_version_status"]
        assert "execution_mode is 'sideways'" in status["status"]["error_message"]
    finally:
        server.dispose()
