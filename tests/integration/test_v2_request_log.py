"""Inferences of the Open Inference Protocol in a request log: replay by either API, and warmup."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import salver
from tests.integration.serving import Server, eventually, run_command

StartServer = Callable[..., Server]


def config(base_path: Path, prefix: Path, kind: str) -> str:
    return f"""model_config_list {{ config {{
      name: "several" base_path: "{base_path}" model_platform: "tensorflow"
      logging_config {{
        log_collector_config {{ type: "{kind}" filename_prefix: "{prefix}" }}
        sampling_config {{ sampling_rate: 1.0 }}
      }}
    }} }}"""


@pytest.mark.parametrize("kind", ["file", "jsonl"])
def test_a_log_is_replayed_by_either_api_and_warms_up(
    kind: str, tmp_path: Path, model_path: Callable[[str], Path], start_server: StartServer
) -> None:
    base_path = tmp_path / "several"
    shutil.copytree(model_path("several"), base_path)
    file = tmp_path / "models.config"
    file.write_text(config(base_path, tmp_path / "logs" / "log", kind))
    server = start_server(f"--model_config_file={file}")
    inputs = {"a": np.ones((2, 2)), "b": [1, 2], "text": ["one", "zwölf"]}
    for url in (server.url, f"grpc://{server.grpc_target}"):
        with salver.Client(url, protocol="v2") as client:
            first = sorted(client.predict("several", inputs))[0]
            client.predict("several", inputs, outputs=[first])
    logged = tmp_path / "logs"
    eventually("the calls are logged", lambda: logged.exists() and any(logged.iterdir()))
    server.stop()
    (log,) = logged.iterdir()
    file.write_text(config(base_path, tmp_path / "other" / "log", kind))
    if kind == "file":
        for version in base_path.iterdir():
            (version / "assets.extra").mkdir(exist_ok=True)
            shutil.copy(log, version / "assets.extra" / "tf_serving_warmup_requests")
    server = start_server(f"--model_config_file={file}")
    if kind == "file":
        server.err.wait_for("Number of warmup records read: 4")
    for url in (server.url, f"grpc://{server.grpc_target}"):
        for protocol in ("tfs", "v2"):
            done = run_command(
                "salver", "replay", str(log), f"--to={url}", f"--protocol={protocol}"
            )
            assert "4 sent: 4 same, 0 different, 0 failed" in done.stdout, done.stdout
            assert done.returncode == 0
