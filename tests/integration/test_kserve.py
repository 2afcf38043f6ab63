"""Models as KServe has them served: each example, by the command line that KServe makes of it."""

import json
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.integration import manifests as of
from tests.integration.grpc_clients.plain import connected
from tests.integration.kubelet import Pod
from tests.integration.serving import PATIENCE_S, eventually
from tests.integration.test_grpc_open_inference import call, infer_request

SERVICES = {
    each["metadata"]["name"]: each for each in of.manifests("kserve/inferenceservices.yaml")
}
CATALOGUED = {  # what of our models stands for theirs
    "flowers": "half_plus_two",
    "flowers-grpc": "half_plus_two",
    "digits": "onnx_half_plus_two",
    "digits-grpc": "onnx_half_plus_two",
    "iris": "sklearn_matrix",
    "iris-pickled": "sklearn_pickle",
    "price": "xgboost_regression_ubj",
    "rank": "lightgbm_regression",
    "faces": "exported",
    "shelf": "onnx_half_plus_two",
}
HAS_VERSIONS = ("flowers", "flowers-grpc")  # others are a file that stands alone


def merged(service: Any) -> Any:
    """The spec of the pod that KServe makes of an InferenceService and its runtime.

    As KServe says: the name is written into the arguments, and those of the model stand behind.
    """
    model = service["spec"]["predictor"]["model"]
    runtime = of.one(
        "kserve/clusterservingruntimes.yaml", "ClusterServingRuntime", model["runtime"]
    )
    text = json.dumps(runtime["spec"]).replace("{{.Name}}", service["metadata"]["name"])
    spec = json.loads(text)
    assert model["modelFormat"] in spec["supportedModelFormats"]
    assert model["protocolVersion"] in spec["protocolVersions"]
    container = of.container_of(spec)
    container["args"] += model.get("args", [])
    return spec


def fetched(name: str, base: Path, place: Path) -> Path:
    """The storage of a model, as KServe's storage initializer leaves it."""
    (version,) = (each for each in base.iterdir() if each.is_dir() and each.name.isdecimal())
    if name in HAS_VERSIONS:
        shutil.copytree(version, place / version.name)
    elif name == "shelf":
        for model in ("one", "another"):
            shutil.copytree(version, place / model / "1")
    else:
        shutil.copytree(version, place, dirs_exist_ok=True)
    return place


@pytest.fixture
def pod_of(model_path: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[[str], Pod]]:
    """Starts what KServe would start for one of the examples."""
    pods: list[Pod] = []

    def start(name: str) -> Pod:
        place = tmp_path / "models"
        place.mkdir()
        pod = Pod(merged(SERVICES[name]), configs={}, claims={}, more=["--drain_delay_seconds=0.1"])
        pods.append(pod)
        pod.mount("/mnt/models", fetched(name, model_path(CATALOGUED[name]), place))
        pod.start()
        return pod

    yield start
    for pod in pods:
        pod.close()


def accepts(pod: Pod) -> bool:
    """What KServe's readiness probe asks: whether there is a connection to be had."""
    server = pod.server
    assert server.process.poll() is None, server.out.text() + server.err.text()
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def ask(pod: Pod, model: str, protocol: str) -> Any:
    """The answer of a model to its input, by one of KServe's protocols."""
    server = pod.server
    metadata = server.get(f"/v2/models/{model}").json()
    (given, *_) = metadata["inputs"]
    width = max(1, given["shape"][-1]) if len(given["shape"]) > 1 else 0
    rows = np.ones((2, width) if width else (2,))
    if protocol == "v1":
        return server.predict(model, rows.tolist()).json()["predictions"]
    if protocol == "v2":
        tensor = {**given, "shape": list(rows.shape), "data": rows.tolist()}
        answer = server.post(f"/v2/models/{model}/infer", {"inputs": [tensor]})
        return answer.json()["outputs"][0]["data"]
    with connected(server.grpc_target) as client:
        if protocol == "grpc-v1":
            return client.predict(model, {"x": [1.0, 1.0]})["y"]
        return call(client, "ModelInfer", infer_request(model, rows.astype(np.float32)))


def test_every_protocol_and_format_has_an_example() -> None:
    for runtime in of.manifests("kserve/clusterservingruntimes.yaml"):
        name, spec = runtime["metadata"]["name"], runtime["spec"]
        models = [each["spec"]["predictor"]["model"] for each in SERVICES.values()]
        models = [each for each in models if each["runtime"] == name]
        formats = {each["name"] for each in spec["supportedModelFormats"]}
        assert {each["modelFormat"]["name"] for each in models} == formats
    protocols = {s["spec"]["predictor"]["model"]["protocolVersion"] for s in SERVICES.values()}
    assert protocols == {"v1", "v2", "grpc-v1", "grpc-v2"}
    assert CATALOGUED.keys() == SERVICES.keys()


def test_runtimes_of_a_namespace_are_those_of_the_cluster() -> None:
    of_cluster = of.manifests("kserve/clusterservingruntimes.yaml")
    of_namespace = of.manifests("kserve/servingruntimes.yaml")
    assert [each["kind"] for each in of_namespace] == ["ServingRuntime"] * len(of_cluster)
    for one, other in zip(of_namespace, of_cluster, strict=True):
        assert {**one, "kind": other["kind"]} == other


@pytest.mark.parametrize("name", SERVICES)
def test_an_inference_service_is_served(name: str, pod_of: Callable[[str], Pod]) -> None:
    if name == "faces" and find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    model = SERVICES[name]["spec"]["predictor"]["model"]
    pod = pod_of(name)
    eventually("there is a connection", lambda: accepts(pod))
    for each in ("one", "another") if name == "shelf" else (name,):
        answer = ask(pod, each, model["protocolVersion"])
        assert answer, answer
    server = pod.server
    page = requests.get(f"{server.url}/metrics", timeout=PATIENCE_S)
    assert "salver_request_seconds" in page.text
    assert pod.terminate()


def test_a_pickle_is_not_run_unless_the_service_says_so(
    pod_of: Callable[[str], Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends and says why; KServe shows that of the pod."""
    model = dict(SERVICES["iris-pickled"]["spec"]["predictor"]["model"])
    del model["args"]
    service = {**SERVICES["iris-pickled"], "spec": {"predictor": {"model": model}}}
    monkeypatch.setitem(SERVICES, "iris-pickled", service)
    server = pod_of("iris-pickled").server
    assert server.wait() == 255
    assert "is not trusted (--trusted_model_paths)" in server.err.text()
