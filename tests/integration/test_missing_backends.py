"""What a person learns who has not installed what a model needs, or has a model of another kind."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.instruments.installing import install_command
from tests.integration.chromium import browsing
from tests.integration.grpc_clients.plain import connected, message
from tests.integration.serving import SOURCES, Server, run_command, running
from tests.integration.test_tflite import HIDE

Launch = Callable[..., Server]
NO_TENSORFLOW = (
    "Serving a SavedModel needs TensorFlow, which is not installed here. Install it with: "
    + install_command("tensorflow")
)
NO_LITERT = (
    "Serving a TFLite model needs LiteRT, which is not installed here. Install it with: "
    + install_command("litert")
)
NO_KERAS = (
    "Serving a Keras file needs TensorFlow and Keras 3; not installed here: keras. "
    "Install them with: " + install_command("tensorflow")
)
NO_ONNX_RUNTIME = (
    "Serving an ONNX model needs ONNX Runtime, which is not installed here. Install it with: "
    + install_command("onnxruntime")
)
WITHOUT_TENSORFLOW = HIDE.format(hidden="tensorflow")
WITHOUT_LITERT = HIDE.format(hidden="ai_edge_litert")
WITHOUT_KERAS = HIDE.format(hidden="keras")
WITHOUT_ONNX_RUNTIME = HIDE.format(hidden="onnxruntime")


@pytest.fixture
def half(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two")


@pytest.fixture
def lite(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    file = tmp_path / "lite.tflite"
    shutil.copy(model_path("lite_plain") / "1" / "model.tflite", file)
    return file


@pytest.mark.parametrize("flags", [(), ("--lazy_load_models",)], ids=["at once", "when asked"])
@pytest.mark.parametrize(
    ("model", "prelude", "line"),
    [
        ("half_plus_two", WITHOUT_TENSORFLOW, NO_TENSORFLOW),
        ("lite", WITHOUT_LITERT, NO_LITERT),
        ("keras_trained", WITHOUT_KERAS, NO_KERAS),
        ("onnx_half_plus_two", WITHOUT_ONNX_RUNTIME, NO_ONNX_RUNTIME),
    ],
    ids=["SavedModel", "TFLite", "Keras", "ONNX"],
)
def test_a_server_with_nothing_to_serve_says_what_to_install_and_ends(
    model: str,
    prelude: str,
    line: str,
    flags: tuple[str, ...],
    lite: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    launch_server: Launch,
) -> None:
    path = lite if model == "lite" else request.getfixturevalue("model_path")(model)
    nothing = f"--conversion_cache={tmp_path / 'cache'}"  # what is converted needs no Keras
    server = launch_server(str(path), nothing, *flags, command="salver", prelude=prelude)
    assert server.wait() == 1
    server.err.finish()
    last = server.err.text().splitlines()[-1]
    assert last.startswith(f"salver: {line}")


def test_where_something_is_left_the_rest_tells_its_error(
    half: Path, lite: Path, launch_server: Launch
) -> None:
    server = launch_server(str(half), str(lite), command="salver", prelude=WITHOUT_LITERT)
    server.out.wait_for("serves 2 models")
    assert server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}
    (status,) = server.get("/v1/models/lite").json()["model_version_status"]
    assert status["state"] == "END"
    assert status["status"]["error_code"] == "FAILED_PRECONDITION"
    assert status["status"]["error_message"].startswith(NO_LITERT)
    reason = server.get("/healthz/ready").json()["reason"]
    assert reason.startswith(f"no version is available of: lite ({NO_LITERT}")
    with browsing() as page:
        page.open(f"{server.url}/#/model/lite")
        page.wait_for_text("main", "Serving a TFLite model needs LiteRT")


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A prelude that hides LiteRT from workers too, which are other programs."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_LITERT)
    paths = f"{tmp_path}{os.pathsep}{SOURCES}"
    return f"import os; os.environ['PYTHONPATH'] = {paths!r}\n{WITHOUT_LITERT}"


def test_several_processes_find_out_at_once_too(
    lite: Path, bare: str, launch_server: Launch
) -> None:
    server = launch_server(str(lite), "--workers=2", command="salver", prelude=bare)
    assert server.wait() == 1
    server.err.finish()
    assert server.err.text().splitlines()[-1].startswith(f"salver: {NO_LITERT}")


def test_the_reference_s_command_fails_at_once_with_the_line(
    model_path: Callable[[str], Path], launch_server: Launch
) -> None:
    server = launch_server(
        "--model_name=m",
        f"--model_base_path={model_path('half_plus_two')}",
        prelude=WITHOUT_TENSORFLOW,
    )
    assert server.wait() == 255
    server.out.finish()
    failure = "1 servable(s) did not become available: {{{name: m version: 123} due to error: "
    assert f"{failure}FAILED_PRECONDITION: {NO_TENSORFLOW}" in server.out.text()


def test_a_running_server_of_the_reference_s_command_tells_the_error_too(
    half: Path, lite: Path, tmp_path: Path, start_server: Launch
) -> None:
    base = tmp_path / "lite"
    (base / "1").mkdir(parents=True)
    lite.rename(base / "1" / "model.tflite")
    server = start_server(
        "--model_name=half",
        f"--model_base_path={half}",
        "--enable_playground",
        prelude=WITHOUT_LITERT,
    )
    request = message("ReloadConfigRequest")
    for name, path in (("half", half), ("lite", base)):
        request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
    with connected(server.grpc_target) as client:
        code, text = client.refusal("HandleReloadConfigRequest", request, timeout=60)
    assert code == "UNKNOWN"
    assert f"FAILED_PRECONDITION: {NO_LITERT}" in text
    (status,) = server.get("/v1/models/lite").json()["model_version_status"]
    assert (status["state"], status["status"]["error_message"]) == ("END", NO_LITERT)
    reason = server.get("/healthz/ready").json()["reason"]
    assert reason == f"no version is available of: lite ({NO_LITERT})"
    with browsing() as page:
        page.open(f"{server.url}/#/model/lite")
        page.wait_for_text("main", "Serving a TFLite model needs LiteRT")


def test_a_polled_configuration_may_bring_something_to_serve(
    half: Path, lite: Path, tmp_path: Path, launch_server: Launch
) -> None:
    (tmp_path / "lite" / "1").mkdir(parents=True)
    lite.rename(tmp_path / "lite" / "1" / "model.tflite")
    config = tmp_path / "models.conf"
    entry = (
        'model_config_list {{ config {{ name: "m" base_path: "{}" '
        'model_platform: "tensorflow" }} }}'
    )
    config.write_text(entry.format(tmp_path / "lite"))
    server = launch_server(
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        command="salver",
        prelude=WITHOUT_LITERT,
    )
    server.out.wait_for("serves 1 model")
    config.write_text(entry.format(half))
    server.wait_until("m", 123)


def test_what_no_backend_is_for_is_told_with_its_conversion(tmp_path: Path, half: Path) -> None:
    (tmp_path / "digits.mlmodel").touch()
    done = run_command("salver", "serve", str(tmp_path / "digits.mlmodel"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"salver: {tmp_path}/digits.mlmodel cannot be served: digits.mlmodel is a Core ML model, "
        "which is not served. It cannot be converted back: export the model it was made of as a "
        "SavedModel, a Keras file or a TFLite file, and serve that."
    )
    with running(str(tmp_path / "digits.mlmodel"), str(half), command="salver") as server:
        assert line in server.err.text()
        assert server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_cannot_be_read_ends_the_start(workers: int, launch_server: Launch) -> None:
    server = launch_server("hdfs://bucket/m", f"--workers={workers}", command="salver")
    assert server.wait() == 1
    server.err.finish()
    *_, line, advice = server.err.text().splitlines()
    assert line == "salver: File system scheme 'hdfs' not implemented (file: 'hdfs://bucket/m')"
    assert advice.endswith("hdfs dfs -get hdfs://bucket/m DIRECTORY.")


def test_beside_other_models_it_is_told_of_and_they_are_served(
    half: Path, launch_server: Launch
) -> None:
    server = launch_server("hdfs://bucket/m", str(half), command="salver")
    server.out.wait_for("not available: File system scheme 'hdfs' not implemented")
    assert server.predict("half_plus_two", [2.0]).json() == {"predictions": [3.0]}
    listed = {model["name"]: model for model in server.get("/v1/models").json()["models"]}
    text = "File system scheme 'hdfs' not implemented (file: 'hdfs://bucket/m')"
    assert listed["m"]["error"] == text
    assert "error" not in listed["half_plus_two"]
    assert server.get("/healthz/ready").json()["reason"] == (
        f"no version is available of: m ({text})"
    )
    with browsing() as page:
        page.open(f"{server.url}/#/model/m")
        page.wait_for_text("main", text)


def test_the_reference_s_command_ends_over_such_a_store(launch_server: Launch) -> None:
    server = launch_server("--model_name=m", "--model_base_path=hdfs://bucket/m")
    assert server.wait() == 255
    server.out.finish()
    assert server.out.text().splitlines()[-1] == (
        "Failed to start server. Error: UNIMPLEMENTED: File system scheme 'hdfs' not implemented "
        "(file: 'hdfs://bucket/m')"
    )


@pytest.mark.parametrize(
    ("package", "uri", "text"),
    [
        ("obstore", "s3://bucket/m", "Models in object stores take obstore"),
        ("huggingface_hub", "hf://owner/m", "Models of a hub take huggingface-hub"),
    ],
)
def test_a_store_whose_library_is_missing_says_what_to_install(
    package: str, uri: str, text: str, launch_server: Launch
) -> None:
    prelude = f"import sys; sys.modules[{package!r}] = None"
    server = launch_server(uri, command="salver", prelude=prelude)
    assert server.wait() == 1
    server.err.finish()
    *_, line, advice = server.err.text().splitlines()
    assert line == f"salver: {text}, which is not installed here"
    assert advice.strip() == install_command("remote")


def test_nothing_of_stores_is_imported_for_models_on_this_machine(half: Path) -> None:
    prelude = (
        "import atexit, sys; atexit.register(lambda: print('imported', sorted("
        "{'obstore', 'huggingface_hub', 'salver.remote', 'salver.config.remote', 'tarfile'} "
        "& set(sys.modules)), file=sys.stderr))"
    )
    with running(str(half), command="salver", prelude=prelude) as server:
        assert server.stop() == 0
        server.err.finish()
        assert "imported []" in server.err.text()
