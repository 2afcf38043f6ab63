"""The Open Inference Protocol of a real server: over sockets, and by Triton's own client."""

import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.integration.serving import Server, running

CLIENTS = Path(__file__).resolve().parent / "oip_clients"


@pytest.fixture(scope="module")
def server(all_models_config: Path) -> Iterator[Server]:
    with running(
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
    ) as server:
        yield server


def url(server: Server, path: str) -> str:
    return f"{server.url}/v2{path}"


def test_what_a_server_and_its_models_say_is_json(server: Server) -> None:
    assert requests.get(url(server, "/health/ready"), timeout=9).json() == {"ready": True}
    assert requests.get(url(server, ""), timeout=9).json()["name"] == "salver"
    said = requests.get(url(server, "/models/half_plus_two"), timeout=9).json()
    assert (said["platform"], said["versions"]) == ("tensorflow_savedmodel", ["123"])
    assert [of["datatype"] for of in (*said["inputs"], *said["outputs"])] == ["FP32", "FP32"]
    answer = requests.get(url(server, "/models/versions/versions/canary/ready"), timeout=9)
    assert answer.json() == {"name": "versions", "ready": True}
    assert requests.get(url(server, "/models/nope"), timeout=9).status_code == 404


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_a_body_may_be_compressed(server: Server, coding: str | None) -> None:
    head = {
        "inputs": [
            {
                "name": "x",
                "shape": [50_000, 1],
                "datatype": "FP32",
                "parameters": {"binary_data_size": 200_000},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    body = text + np.ones(50_000, np.float32).tobytes()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    if coding is not None:
        headers["Content-Encoding"] = coding
        headers["Accept-Encoding"] = coding
        body = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    target = url(server, "/models/half_plus_two/infer")
    answer = requests.post(target, body, headers=headers, timeout=9)
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("Content-Encoding") == coding
    assert answer.headers["salver-model-version"] == "123"
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.content[length:] == np.full(50_000, 2.5, np.float32).tobytes()


def test_it_is_there_on_the_grpc_port_and_can_be_turned_off(
    server: Server, all_models_config: Path
) -> None:
    with running(
        f"--model_config_file={all_models_config}",
        "--allow_version_labels_for_unavailable_models",
        "--enable_open_inference_protocol=false",
    ) as without:
        assert requests.get(url(without, ""), timeout=9).status_code == 404
        assert requests.get(f"{without.url}/v1/models", timeout=9).status_code == 200
    over_grpc = f"http://{server.grpc_target}/v2/health/live"
    assert requests.get(over_grpc, timeout=9).json() == {"live": True}


@pytest.fixture(scope="module")
def triton(server: Server) -> Any:
    if find_spec("tritonclient") is None:
        pytest.skip("tritonclient is not installed")
    settings = json.dumps({"url": server.url.removeprefix("http://")})
    child = subprocess.run(
        [sys.executable, CLIENTS / "triton_http.py", settings],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1])


def test_tritons_client_is_answered(triton: Any) -> None:
    assert [triton[name] for name in ("live", "ready", "model_ready", "version_ready")] == [
        True
    ] * 4
    assert not triton["unknown_ready"]
    assert triton["server"]["name"] == "salver"
    assert triton["metadata"]["inputs"][0]["name"] == "x"
    for name in ("binary", "json", "mixed"):
        assert triton[name] == [[2.5], [3.0], [4.5]]
    assert triton["later"] == [[2.5]] * 3
    assert (triton["id"], triton["label"], triton["of_label"]) == ("mine", "123", "123")
    assert triton["several"] == "several"
    assert triton["gzip"]
    assert triton["deflate"]
    assert triton["words"] == ["c3a4", "ff", ""]
    assert triton["classes"] == "6.000000:8"


def test_tritons_client_reads_what_is_wrong(triton: Any) -> None:
    assert triton["unknown"] == ["404", "Request for unknown model: 'nope' is not found"]
    assert triton["wrong_dtype"] == [
        "400",
        "inference input 'x' data-type is 'INT32', but model 'half_plus_two' expects 'FP32'",
    ]
    assert triton["wrong_name"] == [
        "400",
        "unexpected inference input 'z' for model 'half_plus_two'",
    ]
