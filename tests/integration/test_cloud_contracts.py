"""The image's entrypoint as SageMaker and Vertex AI start it, and what they ask."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.integration.serving import SOURCES, Lines, Server, eventually, free_port

StartContainer = Callable[..., AbstractContextManager[Server]]
ENTRYPOINT = Path(__file__).resolve().parents[2] / "docker" / "tf_serving_entrypoint.sh"
_PROGRAM = f"""#!{sys.executable}
import os, sys
import salver.config.cloud
salver.config.cloud._SAGEMAKER_MODELS = os.environ.get("MODELS_OF_THE_TEST", "")
from salver.cli.salver import main
sys.exit(main())
"""


@pytest.fixture
def container(tmp_path: Path) -> StartContainer:
    """Starts the entrypoint with the real command behind it."""
    program = tmp_path / "bin" / "salver"
    program.parent.mkdir()
    program.write_text(_PROGRAM)
    program.chmod(0o755)

    @contextmanager
    def start(*arguments: str, port: int, **environment: str) -> Iterator[Server]:
        process = subprocess.Popen(
            [ENTRYPOINT, *arguments],
            env={
                "PATH": f"{program.parent}:{os.defpath}",
                "PYTHONPATH": str(SOURCES),
                "HOME": str(tmp_path),
                **environment,
            },
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        url = f"http://127.0.0.1:{port}"
        server = Server(process, url, port, 0, Lines(process.stdout), Lines(process.stderr))
        try:
            yield server
        finally:
            server.dispose()

    return start


def _is_up(server: Server, path: str) -> bool:
    assert server.process.poll() is None, server.err.text()
    try:
        return server.get(path).status_code == 200
    except OSError:
        return False


def test_sagemaker_serves_the_models_of_its_directory(
    container: StartContainer, model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    models = tmp_path / "ml" / "model"
    (models / "export").mkdir(parents=True)
    (models / "export" / "half").symlink_to(model_path("half_plus_two"))
    (models / "three").symlink_to(model_path("half_plus_three"))
    port = free_port()
    variables = {"SAGEMAKER_BIND_TO_PORT": str(port), "MODELS_OF_THE_TEST": str(models)}
    with container("serve", port=port, **variables) as server:
        eventually("/ping answers", lambda: _is_up(server, "/ping"))
        answer = server.post("/invocations", {"instances": [1.0]})
        assert answer.json() == {"predictions": [2.5]}
        csv = {"Content-Type": "text/csv", "Accept": "application/jsonlines", "Host": "model.aws"}
        named = {"X-Amzn-SageMaker-Custom-Attributes": "tfs-model-name=three"}
        answer = server.session.post(
            f"{server.url}/invocations", data="1.0\n3.0", headers={**csv, **named}, timeout=60
        )
        assert answer.headers["content-type"] == "application/jsonlines"
        assert json.loads(answer.text) == {"predictions": [3.5, 4.5]}
        assert server.stop() == 0


def test_vertex_serves_a_model_that_has_no_versions_by_several_workers(
    container: StartContainer, model_path: Callable[[str], Path]
) -> None:
    port = free_port()
    variables = {
        "SALVER_FLAG_CLOUD_CONTRACT": "vertex",
        "SALVER_FLAG_WORKERS": "2",
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/v1/models/whatever",
        "AIP_PREDICT_ROUTE": "/v1/models/whatever:predict",
        "AIP_STORAGE_URI": str(model_path("half_plus_two") / "00000123"),
    }
    with container(port=port, **variables) as server:
        eventually("the health route answers", lambda: _is_up(server, "/v1/models/whatever"))
        for _ in range(4):
            body = {"instances": [1.0], "parameters": {"signature_name": "serving_default"}}
            answer = server.post("/v1/models/whatever:predict", body)
            assert answer.json() == {"predictions": [2.5]}
        assert server.stop() == 0


def test_a_cloud_that_has_put_no_model_there_is_told_so(
    container: StartContainer, tmp_path: Path
) -> None:
    with container("serve", port=1, MODELS_OF_THE_TEST=str(tmp_path / "none")) as server:
        assert server.wait() == 1
        assert "the cloud has put no model there" in server.err.wait_for("no model")
