"""TFLite models behind a real server, beside the SavedModels they were made from."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from salver.instruments.installing import install_command
from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    message,
    model_spec,
    predict_request,
    values,
)
from tests.integration.serving import PATIENCE_S, Server, run_command, running

pytest.importorskip("ai_edge_litert")

Launch = Callable[..., Server]
HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] == "{hidden}" else find(name, path, target)
PathFinder.find_spec = classmethod(find_spec)
"""


@pytest.fixture(scope="session")
def lite_only(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The base path of a model without the SavedModel it was made from."""
    directory = tmp_path_factory.mktemp("tflite")

    def find(name: str) -> Path:
        base = directory / name
        if not base.exists():
            (base / "1").mkdir(parents=True)
            shutil.copy(model_path(name) / "1" / "model.tflite", base / "1")
        return base

    return find


LiteOnly = Callable[[str], Path]


@pytest.fixture(scope="module")
def server(
    lite_only: LiteOnly,
    model_path: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Serves `lite` and `lite_net` from TFLite, and `saved` and `saved_net` from SavedModels."""
    bases = {
        "lite": lite_only("lite"),
        "lite_net": lite_only("lite_net"),
        "quantized": lite_only("lite_quantized"),
        "metadata": lite_only("lite_metadata"),
        "fixed": lite_only("lite_fixed"),
        "saved": model_path("lite"),
        "saved_net": model_path("lite_net"),
    }
    config = tmp_path_factory.mktemp("config") / "models.config"
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}\n'
        for name, base in bases.items()
    )
    config.write_text(f"model_config_list {{ {entries} }}")
    with running(f"--model_config_file={config}") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as connection:
        yield connection


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("predict", {"instances": [1.0, 2.0, 5.0]}),
    ("predict", {"inputs": [1.0]}),
    ("predict", {"inputs": []}),
    (
        "predict",
        {
            "signature_name": "mixed",
            "instances": [{"a": [1.5, 2.0], "b": 2}, {"a": [3.0, -4.0], "b": 3}],
        },
    ),
    ("predict", {"signature_name": "strings", "inputs": ["a", "bc", ""]}),
    ("predict", {"signature_name": "strings", "inputs": [{"b64": "/8M="}]}),
    ("regress", {"signature_name": "regress", "examples": [{"x": 1.0}, {"x": 2.0}]}),
    ("classify", {"signature_name": "classify", "examples": [{"x": 1.0}]}),
    ("predict", {"instances": ["no number"]}),
    ("predict", {"signature_name": "mixed", "inputs": {"a": [[1.0, 2.0]]}}),
    ("classify", {"signature_name": "regress", "examples": [{"x": 1.0}]}),
]


@pytest.mark.parametrize(("method", "body"), REQUESTS)
def test_over_rest_the_answer_is_that_of_the_saved_model(
    method: str, body: dict[str, Any], server: Server
) -> None:
    answers = [server.post(f"/v1/models/{name}:{method}", body) for name in ("lite", "saved")]
    lite, saved = answers
    assert lite.status_code == saved.status_code
    assert lite.json() == saved.json()


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_a_net_answers_as_the_saved_model_over_both_apis(
    rows: int, server: Server, client: Client
) -> None:
    images = np.random.default_rng(rows).uniform(0, 1, (rows, 8, 8, 1)).astype(np.float32)
    answers = [
        np.array(server.predict(name, images.tolist()).json()["predictions"])
        for name in ("lite_net", "saved_net")
    ]
    answers += [
        np.array(client.predict(name, {"image": images})["output_0"])
        for name in ("lite_net", "saved_net")
    ]
    for answer in answers:
        assert answer.shape == (rows, 10)
        np.testing.assert_allclose(answer, answers[-1], rtol=2e-6, atol=1e-6)


def test_strings_and_numbers_go_over_grpc(client: Client) -> None:
    assert client.predict("lite", {"x": np.array([2.0], np.float32)}) == {"y": [3.0]}
    spec = model_spec("lite", signature="strings")
    request = predict_request(spec, {"text": np.array([b"a\x00", b"\xff"], object)})
    answer = client.call("Predict", request)
    assert values(answer.outputs["column"]) == [[b"a\x00"], [b"\xff"]]


def test_a_quantized_model_takes_and_gives_whole_numbers(server: Server) -> None:
    answer = server.predict("quantized", np.full((2, 8, 8, 1), 255).tolist())
    assert answer.status_code == 200, answer.text
    (first, second) = answer.json()["predictions"]
    assert first == second
    assert all(-128 <= score <= 127 for score in first)
    assert server.predict("quantized", np.full((1, 8, 8, 1), 0.5).tolist()).status_code == 400


def test_a_wrong_dtype_over_grpc_is_told_in_tensorflows_words(client: Client) -> None:
    request = predict_request(model_spec("lite"), {"x": np.array([2], np.int32)})
    assert client.refusal("Predict", request) == (
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but int32 is provided",
    )


def test_a_shape_the_model_cannot_take_is_told_and_leaves_it_well(server: Server) -> None:
    refused = server.predict("fixed", [[0.0] * 4] * 3)
    assert refused.status_code == 500
    assert refused.json()["error"].startswith("Failed to allocate tensors: ")
    answer = server.post("/v1/models/fixed:predict", {"inputs": [[1.0, 2.0, 3.0, 4.0]]})
    assert answer.json() == {"outputs": [[1.0, 2.0], [3.0, 4.0]]}


def test_the_metadata_of_the_model_is_that_of_its_signatures(
    server: Server, client: Client
) -> None:
    metadata = server.get("/v1/models/metadata/metadata").json()["metadata"]["signature_def"]
    assert set(metadata["signature_def"]) == {"serving_default", "doubtful"}
    x = metadata["signature_def"]["serving_default"]["inputs"]["x"]
    assert (x["dtype"], x["name"]) == ("DT_FLOAT", "x_in")
    request = message("GetModelMetadataRequest", metadata_field=["signature_def"])
    request.model_spec.CopyFrom(model_spec("lite"))
    assert "signature_def" in client.call("GetModelMetadata", request).metadata


def test_a_signature_there_is_not_is_told_with_those_there_are(server: Server) -> None:
    refused = server.post("/v1/models/lite:predict", {"signature_name": "no", "instances": [1.0]})
    assert (refused.status_code, refused.json()["hint"]) == (
        400,
        "The model has the signatures: classify, mixed, regress, serving_default, strings",
    )


def test_eight_clients_at_once_get_their_own_answers(server: Server) -> None:
    def ask(seed: int) -> None:
        random = np.random.default_rng(seed)
        with requests.Session() as session:
            for _ in range(40):
                x = random.integers(-99, 99, random.integers(1, 6)).astype(float).tolist()
                answer = session.post(
                    f"{server.url}/v1/models/lite:predict",
                    json={"instances": x},
                    timeout=PATIENCE_S,
                )
                assert answer.json() == {"predictions": [each * 0.5 + 2 for each in x]}

    with ThreadPoolExecutor(8) as threads:
        for each in [threads.submit(ask, seed) for seed in range(8)]:
            each.result()


@pytest.mark.parametrize("flags", [(), ("--prefer_tflite_model", "--num_tflite_pools=3")])
def test_where_there_are_both_the_flag_decides(
    flags: tuple[str, ...], model_path: Callable[[str], Path], start_server: Launch
) -> None:
    server = start_server(f"--model_base_path={model_path('lite')}", "--model_name=m", *flags)
    metadata = server.get("/v1/models/m/metadata").json()["metadata"]["signature_def"]
    x = metadata["signature_def"]["mixed"]["inputs"]["a"]["name"]
    assert x == ("mixed_a:0")
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert ("libtensorflow_cc" in maps, "_pywrap_litert" in maps) == (not flags, bool(flags))
    assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}


def test_a_tflite_model_is_served_and_shown_without_a_flag(
    lite_only: LiteOnly, start_server: Launch
) -> None:
    server = start_server(str(lite_only("lite")), command="salver")
    assert server.predict("lite", [2.0]).json() == {"predictions": [3.0]}
    shown = run_command("salver", "show", str(lite_only("lite")))
    assert "signature_def['mixed']:" in shown.stdout


def test_the_file_itself_can_be_served(lite_only: LiteOnly, tmp_path: Path) -> None:
    file = tmp_path / "half.tflite"
    shutil.copy(lite_only("lite_plain") / "1" / "model.tflite", file)
    with running(str(file), command="salver") as server:
        assert server.predict("half", [2.0]).json() == {"predictions": [3.0]}


def test_a_file_that_is_no_model_is_an_error_in_the_references_words(
    tmp_path: Path, launch_server: Launch
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.tflite").write_bytes(b"no model of any kind")
    server = launch_server(str(tmp_path / "m"), command="salver")
    server.out.wait_for("not available: Cannot build FlatBufferModel from buffer.")


def test_a_new_version_may_be_of_the_other_format(
    lite_only: LiteOnly,
    model_path: Callable[[str], Path],
    tmp_path: Path,
    start_server: Launch,
) -> None:
    base = tmp_path / "m"
    shutil.copytree(lite_only("lite") / "1", base / "1")
    server = start_server("--model_name=m", f"--model_base_path={base}")
    shutil.copytree(model_path("half_plus_two") / "00000123", base / "unfinished")
    (base / "unfinished").rename(base / "2")
    server.wait_until("m", 2)
    answer = server.predict("m", [2.0])
    assert (answer.json(), answer.headers["salver-model-version"]) == ({"predictions": [3.0]}, "2")


def test_without_tensorflow_tflite_is_served_and_a_saved_model_says_what_to_install(
    lite_only: LiteOnly, model_path: Callable[[str], Path], launch_server: Launch
) -> None:
    server = launch_server(
        f"lite={lite_only('lite')}",
        f"both={model_path('lite')}",
        f"saved={model_path('half_plus_two')}",
        command="salver",
        prelude=HIDE.format(hidden="tensorflow"),
    )
    install = (
        "Serving a SavedModel needs TensorFlow, which is not installed here. "
        f"Install it with: {install_command('tensorflow')}"
    )
    server.out.wait_for("serves 3 models")
    assert server.predict("lite", [2.0]).json() == {"predictions": [3.0]}
    server.err.wait_for(f"{{name: saved version: 123}} failed: FAILED_PRECONDITION: {install}")
    line = server.err.wait_for("{name: both version: 1} failed: ")
    assert line.endswith(f"{install}. Or serve its model.tflite: --prefer_tflite_model")
    assert "libtensorflow" not in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_without_litert_saved_models_are_served_and_tflite_says_what_to_install(
    lite_only: LiteOnly, model_path: Callable[[str], Path], launch_server: Launch
) -> None:
    server = launch_server(
        f"lite={lite_only('lite')}",
        f"saved={model_path('half_plus_two')}",
        command="salver",
        prelude=HIDE.format(hidden="ai_edge_litert"),
    )
    server.out.wait_for("serves 2 models")
    assert server.predict("saved", [2.0]).json() == {"predictions": [3.0]}
    server.err.wait_for(
        "{name: lite version: 1} failed: FAILED_PRECONDITION: Serving a TFLite model needs LiteRT, "
        f"which is not installed here. Install it with: {install_command('litert')}"
    )
