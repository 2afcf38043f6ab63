"""Keras files behind real servers: converted while others serve, kept, answered as by Keras."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.instruments.installing import install_command
from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    model_spec,
    predict_request,
    values,
)
from tests.integration.serving import Server, eventually, run_command, running

ModelPath = Callable[[str], Path]
Launch = Callable[..., Server]
SERVED = {"pictures": "keras_trained", "h5": "keras_h5", "two": "keras_branches"}


@pytest.fixture(scope="session")
def cache(model_path: ModelPath) -> str:
    """The flag for a cache of conversions that is kept as long as the generated files are."""
    return f"--conversion_cache={model_path('keras_trained').parent / 'conversions'}"


@pytest.fixture(scope="module")
def server(
    cache: str, model_path: ModelPath, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("config") / "models.config"
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{model_path(made)}" model_platform: "tensorflow" }}'
        for name, made in [*SERVED.items(), ("words", "keras_words")]
    )
    config.write_text(f"model_config_list {{ {entries} }}")
    with running(f"--model_config_file={config}", cache) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as connection:
        yield connection


def _expected(base: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(base / "expected.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return (
        {name[3:]: value for name, value in found.items() if name.startswith("in_")},
        {name[4:]: value for name, value in found.items() if name.startswith("out_")},
    )


@pytest.mark.parametrize("name", SERVED)
def test_over_rest_the_answer_is_that_of_predict(
    name: str, server: Server, model_path: ModelPath
) -> None:
    inputs, outputs = _expected(model_path(SERVED[name]))
    body = {"inputs": {key: value.tolist() for key, value in inputs.items()}}
    answer = server.post(f"/v1/models/{name}:predict", body)
    assert answer.status_code == 200, answer.text
    found = answer.json()["outputs"]
    found = found if isinstance(found, dict) else {"output_0": found}
    assert set(found) == set(outputs)
    for key, value in outputs.items():
        np.testing.assert_allclose(np.float32(found[key]), value, rtol=1e-5, atol=1e-6)


def test_over_grpc_too(server: Server, client: Client, model_path: ModelPath) -> None:
    inputs, outputs = _expected(model_path("keras_branches"))
    answer = client.call("Predict", predict_request(model_spec("two"), inputs))
    for key, value in outputs.items():
        np.testing.assert_allclose(values(answer.outputs[key]), value, rtol=1e-5, atol=1e-6)


def test_words_are_looked_up_in_the_vocabulary_of_the_model(
    server: Server, model_path: ModelPath
) -> None:
    inputs, outputs = _expected(model_path("keras_words"))
    rows = [
        {"word": word.decode(), "size": size.tolist()}
        for word, size in zip(inputs["word"], inputs["size"], strict=True)
    ]
    answer = server.post("/v1/models/words:predict", {"instances": rows})
    np.testing.assert_allclose(
        np.float32(answer.json()["predictions"]), outputs["score"], rtol=1e-5, atol=1e-6
    )


def test_show_says_what_is_served(cache: str, model_path: ModelPath) -> None:
    file = model_path("keras_trained") / "1" / "model.keras"
    shown = run_command("salver", "show", str(file), cache)
    assert shown.returncode == 0, shown.stderr
    assert "inputs['picture'] tensor_info:" in shown.stdout
    assert "shape: (-1, 8, 8, 3)" in shown.stdout


def test_the_file_itself_can_be_served_warm_and_with_labels(
    cache: str,
    model_path: ModelPath,
    tmp_path: Path,
    start_server: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Path(cache.partition("=")[2])
    kept.mkdir(parents=True, exist_ok=True)
    (tmp_path / "salver").symlink_to(kept)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = tmp_path / "mine"
    shutil.copytree(model_path("keras_trained") / "1", directory)
    file = directory / "model.keras"
    file.rename(directory / "pets.keras")
    requests = tmp_path / "requests.jsonl"
    requests.write_text(json.dumps({"instances": np.zeros((1, 8, 8, 3)).tolist()}))
    made = run_command("salver", "warmup", "make", str(directory), "--from", str(requests))
    assert made.returncode == 0, made.stderr
    server = start_server(str(directory / "pets.keras"), command="salver")
    server.err.wait_for("Number of warmup records read: 1.")
    assert "Converting" not in server.err.text()
    answer = server.predict("pets", np.zeros((1, 8, 8, 3)).tolist())
    assert answer.headers["salver-model-version"] == "1"
    assert len(answer.json()["predictions"][0]) == 3


def test_code_in_a_file_is_not_run_unless_one_says_so(
    cache: str, model_path: ModelPath, launch_server: Launch, start_server: Launch
) -> None:
    base = str(model_path("keras_lambda"))
    refusing = launch_server(base, cache, command="salver")
    refusing.out.wait_for("has a Lambda layer, that is Python code in the file, which Keras' safe")
    trusting = start_server(base, cache, "--keras_safe_mode=false", command="salver")
    answer = trusting.predict("keras_lambda", [[1.0, 2.0]])
    assert answer.json() == {"predictions": [[2.0, 4.0]]}


def test_classes_of_ones_own_come_from_a_module(
    cache: str, model_path: ModelPath, start_server: Launch
) -> None:
    base = model_path("keras_custom")
    server = start_server(
        str(base), cache, f"--keras_custom_objects={base / 'classes.py'}", command="salver"
    )
    inputs, outputs = _expected(base)
    answer = server.predict("keras_custom", inputs["args_0"].tolist())
    np.testing.assert_allclose(
        np.float32(answer.json()["predictions"]), outputs["output_0"], rtol=1e-5
    )


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in listed for child in file.read_text().split()]


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_two_servers_convert_once_and_answer_meanwhile(
    model_path: ModelPath, tmp_path: Path, launch_server: Launch
) -> None:
    flags = (str(model_path("keras_branches")), f"--conversion_cache={tmp_path / 'cache'}")
    servers = [launch_server(*flags, command="salver") for _ in range(2)]
    for server in servers:
        _wait_until_available(server, "keras_branches")
    logs = "\n".join(server.err.text() for server in servers)
    assert logs.count("Converted ") == 1, logs
    assert [path.suffix for path in sorted((tmp_path / "cache").iterdir())] == [".entry", ".lock"]


def _state(server: Server, model: str) -> str:
    try:
        return server.states(model).get(1, "")
    except OSError:
        return ""


def _wait_until_available(server: Server, model: str) -> None:
    eventually("the model is available", lambda: _state(server, model) == "AVAILABLE")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_server_that_ends_ends_its_conversion(
    how: signal.Signals, model_path: ModelPath, tmp_path: Path, launch_server: Launch
) -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("this system does not list children")
    cache = tmp_path / "cache"
    base = model_path("keras_words")
    server = launch_server(str(base), f"--conversion_cache={cache}", command="salver")
    eventually("the model loads", lambda: _state(server, "keras_words") == "LOADING")
    child = eventually(
        "a child converts",
        lambda: [pid for pid in _children(server.process.pid) if "child.py" in _command_of(pid)],
    )[0]
    status = server.stop(how)
    assert status == (-how if how is signal.SIGKILL else 0)
    eventually("the child has ended", lambda: "child.py" not in _command_of(child))
    if how is not signal.SIGKILL:
        assert not list(cache.glob("*.partial"))
        assert not list(cache.glob("*.entry"))


def test_a_file_that_is_replaced_after_it_failed_is_tried_again(
    cache: str, model_path: ModelPath, tmp_path: Path, launch_server: Launch
) -> None:
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    (version / "model.keras").write_bytes(b"half of it")
    server = launch_server(
        str(tmp_path / "m"), cache, "--load_retry_interval_micros=100000000", command="salver"
    )
    server.err.wait_for("is no Keras file, or only a part of one: it is not a whole ZIP archive")
    whole = tmp_path / "whole.keras"
    shutil.copy(model_path("keras_trained") / "1" / "model.keras", whole)
    os.replace(whole, version / "model.keras")
    _wait_until_available(server, "m")


HIDE_KERAS = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] == "keras" else find(name, path, target)
PathFinder.find_spec = classmethod(find_spec)
"""


def test_without_keras_the_error_says_what_to_install(
    model_path: ModelPath, tmp_path: Path, launch_server: Launch
) -> None:
    server = launch_server(
        str(model_path("keras_trained")),
        f"--conversion_cache={tmp_path}",
        command="salver",
        prelude=HIDE_KERAS,
    )
    assert server.wait() == 1  # nothing else is left to serve
    server.err.wait_for(
        "salver: Serving a Keras file needs TensorFlow and Keras 3; not installed here: "
        f"keras. Install them with: {install_command('tensorflow')}"
    )
