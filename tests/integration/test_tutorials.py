"""Two tutorials for TensorFlow Serving, command for command, on models trained as they train them.

The first serves a regression model in two versions, by path, by a configuration of all versions,
and by labels. The second serves a conv net, asks for three instances, drops version 2 in, and asks
for a version that does not exist.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.serving import Server

StartServer = Callable[..., Server]
REGRESSION = "/v1/models/regression_experiments"
INSTANCES = '{"instances":[[1.0], [2.0], [5.0]]}'

CFG1 = """
model_config_list {{
  config {{
    name: 'regression_experiments'
    base_path: '{base_path}'
    model_platform: 'tensorflow'
    model_version_policy: {{all: {{}}}}
  }}
}}
"""

CFG2 = """
model_config_list {{
  config {{
    name: 'regression_experiments'
    base_path: '{base_path}'
    model_platform: 'tensorflow'
    model_version_policy {{
      specific {{
        versions: 1
        versions: 2
      }}
    }}
    version_labels {{
      key: 'production'
      value: 1
    }}
    version_labels {{
      key: 'test'
      value: 2
    }}
  }}
}}
"""


def curl(*arguments: str) -> Any:
    """What curl prints, as JSON; skips where there is no curl."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    child = subprocess.run(
        ["curl", "--silent", "--show-error", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def curl_predict(url: str) -> list[float]:
    answer = curl(
        "-X", "POST", url, "-H", "Content-Type: application/json", "-d", INSTANCES
    )  # fmt: skip
    return [float(row[0]) for row in answer["predictions"]]


@pytest.fixture
def saved_models(model_path: Callable[[str], Path]) -> Path:
    return model_path("regression")


@pytest.fixture
def configured(
    saved_models: Path, tmp_path: Path, start_server: StartServer
) -> Callable[[str], Server]:
    def start(config: str) -> Server:
        file = tmp_path / "models.conf"
        file.write_text(config.format(base_path=saved_models))
        return start_server(
            "--allow_version_labels_for_unavailable_models", f"--model_config_file={file}"
        )

    return start


class TestRegression:
    def test_the_latest_of_two_versions_is_served_and_shown_in_the_status(
        self, saved_models: Path, start_server: StartServer
    ) -> None:
        server = start_server(
            "--model_name=regression_experiments", f"--model_base_path={saved_models}"
        )
        # With one slash, as the tutorial has it.
        assert curl("-X", "GET", f"http:/127.0.0.1:{server.port}{REGRESSION}") == {
            "model_version_status": [
                {
                    "version": "2",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        }
        predicted = curl_predict(f"{server.url}{REGRESSION}:predict")
        assert predicted == pytest.approx([4.0, 7.0, 16.0], abs=1.0)

    def test_under_the_policy_all_each_version_answers_for_itself(
        self, configured: Callable[[str], Server]
    ) -> None:
        server = configured(CFG1)
        server.wait_until("regression_experiments", 1)
        server.wait_until("regression_experiments", 2)  # either may be first
        status = curl("-X", "GET", f"{server.url}{REGRESSION}")["model_version_status"]
        assert [(v["version"], v["state"]) for v in status] == [
            ("2", "AVAILABLE"),
            ("1", "AVAILABLE"),
        ]
        first = curl_predict(f"{server.url}{REGRESSION}/versions/1:predict")
        second = curl_predict(f"{server.url}{REGRESSION}/versions/2:predict")
        assert first != second
        assert curl_predict(f"{server.url}{REGRESSION}:predict") == second

    def test_labels_name_versions(self, configured: Callable[[str], Server]) -> None:
        server = configured(CFG2)
        server.wait_until("regression_experiments", 1)
        for label, version in (("production", 1), ("test", 2)):
            by_label = curl_predict(f"{server.url}{REGRESSION}/labels/{label}:predict")
            by_number = curl_predict(f"{server.url}{REGRESSION}/versions/{version}:predict")
            assert by_label == by_number
        unknown = server.post(f"{REGRESSION}/labels/canary:predict", json.loads(INSTANCES))
        assert unknown.status_code == 400
        assert unknown.json()["error"] == "Unrecognized servable version label: canary"

    def test_a_single_quoted_body_from_windows_is_told_what_is_wrong(
        self, saved_models: Path, start_server: StartServer
    ) -> None:
        """There, cmd.exe splits `'{"instances": ...}'` at the blanks and passes on the quotes."""
        server = start_server(
            "--model_name=regression_experiments", f"--model_base_path={saved_models}"
        )
        answer = server.post(f"{REGRESSION}:predict", data="'{instances:[[1.0],")
        assert answer.status_code == 400
        assert answer.json()["error"] == "JSON Parse error: Invalid value. at offset: 0"


class TestConvNet:
    def test_three_instances_then_version_2_while_running_then_a_version_that_is_not_there(
        self, model_path: Callable[[str], Path], tmp_path: Path, start_server: StartServer
    ) -> None:
        trained = model_path("convnet")
        images, labels = np.load(trained / "images.npy"), np.load(trained / "labels.npy")
        models = tmp_path / "fashion_model"
        shutil.copytree(trained / "1", models / "1")
        server = start_server("--model_name=fashion_model", f"--model_base_path={models}")

        request = {"signature_name": "serving_default", "instances": images[:3].tolist()}
        answer = server.post("/v1/models/fashion_model/versions/1:predict", request)
        assert answer.status_code == 200, answer.text
        assert answer.headers["salver-model-version"] == "1"
        probabilities = np.array(answer.json()["predictions"])
        assert probabilities.shape == (3, 10)
        assert probabilities.sum(axis=1) == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)

        shutil.copytree(trained / "2", models / "unfinished")
        (models / "unfinished").rename(models / "2")
        server.wait_until("fashion_model", 2)
        answer = server.post(
            "/v1/models/fashion_model/versions/2:predict", {"instances": images.tolist()}
        )
        digits = np.array(answer.json()["predictions"]).argmax(axis=1)
        assert (digits == labels).mean() > 0.8

        answer = server.post("/v1/models/fashion_model/versions/3:predict", request)
        assert answer.status_code == 404
        assert (
            answer.json()["error"] == "Servable not found for request: Specific(fashion_model, 3)"
        )
