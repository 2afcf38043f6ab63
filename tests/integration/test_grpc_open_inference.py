"""The Open Inference Protocol over gRPC: by its own messages, tritonclient and KServe's SDK."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from tests.integration.environments import environment_with
from tests.integration.grpc_clients.plain import Client, connected, outcome
from tests.integration.serving import Server
from tests.integration.test_grpc_official import run_client
from tests.messages import method_types

SERVICE = "/inference.GRPCInferenceService"
REQUEST, RESPONSE = method_types(f"{SERVICE}/ModelInfer")
X = np.array([[1], [2], [5]], np.float32)


def infer_request(model: str, array: Any = X, **more: Any) -> Any:
    return REQUEST(
        model_name=model,
        inputs=[REQUEST.InferInputTensor(name="x", datatype="FP32", shape=array.shape)],
        raw_input_contents=[array.tobytes()],
        **more,
    )


def call(client: Client, method: str, request: Any) -> Any:
    answer = client.raw(f"{SERVICE}/{method}", request.SerializeToString())
    return method_types(f"{SERVICE}/{method}")[1].FromString(answer)


def ask(client: Client, method: str, **fields: Any) -> Any:
    return call(client, method, method_types(f"{SERVICE}/{method}")[0](**fields))


def refusal(client: Client, request: Any) -> tuple[str, str]:
    return outcome(lambda: call(client, "ModelInfer", request))


class TestProtocol:
    def test_tensors_go_in_and_come_out(self, client: Client) -> None:
        for id in ("", "1", "2"):
            response = call(client, "ModelInfer", infer_request("half_plus_two", id=id))
            assert response == RESPONSE(
                model_name="half_plus_two",
                model_version="123",
                id=id,
                outputs=[RESPONSE.InferOutputTensor(name="y", datatype="FP32", shape=[3, 1])],
                raw_output_contents=[np.array([2.5, 3, 4.5], np.float32).tobytes()],
            )

    def test_a_large_image_is_answered(self, client: Client) -> None:
        image = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
        request = infer_request("slicer", image)
        request.inputs[0].name = "image"
        response = call(client, "ModelInfer", request)
        assert response.raw_output_contents == [image[0, 0, 0].tobytes()]

    def test_the_server_is_alive_and_ready(self, client: Client) -> None:
        assert ask(client, "ServerLive").live
        assert ask(client, "ServerReady").ready
        assert ask(client, "ModelReady", name="half_plus_two").ready
        assert not ask(client, "ModelReady", name="unknown").ready

    def test_reflection_lists_the_service(self, client: Client) -> None:
        package = "grpc.reflection.v1alpha"
        request = message_class(f"{package}.ServerReflectionRequest")
        response = message_class(f"{package}.ServerReflectionResponse")
        reflect = client.channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            request_serializer=lambda sent: sent.SerializeToString(),
            response_deserializer=response.FromString,
        )
        symbol = "inference.GRPCInferenceService.ModelInfer"
        asked = [request(list_services=""), request(file_containing_symbol=symbol)]
        services, file = reflect(iter(asked))
        names = [service.name for service in services.list_services_response.service]
        assert "inference.GRPCInferenceService" in names
        assert len(file.file_descriptor_response.file_descriptor_proto) == 2

    @pytest.mark.parametrize(
        ("edit", "code", "text"),
        [
            (lambda r: setattr(r, "model_name", "unknown"), "NOT_FOUND", "unknown"),
            (
                lambda r: r.inputs[0].shape.__setitem__(0, 2**62),
                "INVALID_ARGUMENT",
                "input byte size mismatch for input 'x'",
            ),
            (
                lambda r: r.inputs[0].contents.fp32_contents.append(1),
                "INVALID_ARGUMENT",
                "contents field must not be specified when using raw_input_contents",
            ),
            (
                lambda r: r.parameters["sequence_id"].MergeFrom(
                    message_class("inference.InferParameter")(int64_param=1)
                ),
                "UNIMPLEMENTED",
                "sequences are not supported",
            ),
        ],
    )
    def test_what_is_wrong_is_refused_with_its_code(
        self, client: Client, edit: Callable[[Any], object], code: str, text: str
    ) -> None:
        request = infer_request("half_plus_two")
        edit(request)
        assert refusal(client, request)[0] == code
        assert text in refusal(client, request)[1]


def test_lies_about_sizes_take_no_memory(client: Client, all_models_server: Server) -> None:
    lies = [infer_request("half_plus_two") for _ in range(3)]
    lies[0].inputs[0].shape[:] = [2**31, 2**31]
    lies[1].inputs[0].shape[:] = [2**62, 0]
    lies[2].inputs[0].shape[0] = 2**40
    texts = REQUEST(
        model_name="strings",
        inputs=[REQUEST.InferInputTensor(name="words", datatype="BYTES", shape=[2**40])],
        raw_input_contents=[b"\xff\xff\xff\xff"],
    )
    for request in (*lies, texts):
        assert refusal(client, request)[0] == "INVALID_ARGUMENT"
    before = all_models_server.resident_bytes()
    for _ in range(200):
        for request in (*lies, texts):
            refusal(client, request)
    assert all_models_server.resident_bytes() - before < 20 << 20


@pytest.fixture(scope="module")
def triton(all_models_server: Server) -> Any:
    if find_spec("tritonclient") is None:
        pytest.skip("tritonclient is not installed")
    return run_client("triton.py", target=all_models_server.grpc_target)


class TestTritonClient:
    def test_infers(self, triton: Any) -> None:
        found = triton["inferred"]
        y = [[2.5], [3.0], [4.5]]
        for name in ("infer", "timeout", "compressed"):
            assert found[name] == {"model": ["half_plus_two", "123", ""], "y": y}
        assert found["again"] == ["0", "1", "2"]
        assert found["version"] == {"model": ["versions", "123", ""], "y": y}
        assert found["label"]["model"] == ["versions", "124", ""]
        assert found["classes"]["y"] == [["2.500000:0"], ["3.000000:0"], ["4.500000:0"]]
        assert found["signature"]["total"] == 8.0

    def test_infers_batches_strings_and_every_datatype(self, triton: Any) -> None:
        found = triton["inferred"]
        assert found["batch"]["upper"] == ["X", "Y"]
        assert found["batch"]["product"] == [[3, 3], [4, 4]]
        assert (found["strings"]["ids"], found["strings"]["lengths"]) == ([1, 4, 4], [5, 4, 2])
        assert set(found["every_dtype"].values()) == {True}

    def test_infers_by_callbacks_and_in_asyncio(self, triton: Any) -> None:
        assert [result["y"] for result in triton["async"]] == [[[2.5], [3.0], [4.5]]]
        assert triton["asyncio"]["infer"] == [2.5, 3.0, 3.5]
        assert triton["asyncio"]["live"] is triton["asyncio"]["ready"] is True

    def test_is_told_what_is_wrong(self, triton: Any) -> None:
        codes = {name: status for name, (status, _) in triton["failed"].items()}
        assert codes == {
            **dict.fromkeys(
                (
                    "unknown model",
                    "unknown version",
                    "unknown metadata",
                    "unknown config",
                    "unknown statistics",
                    "no region",
                ),
                "StatusCode.NOT_FOUND",
            ),
            **dict.fromkeys(("load", "unload"), "StatusCode.UNAVAILABLE"),
            **dict.fromkeys(
                ("wrong shape", "wrong type", "wrong name"), "StatusCode.INVALID_ARGUMENT"
            ),
            **dict.fromkeys(("sequence", "memory", "trace", "logs"), "StatusCode.UNIMPLEMENTED"),
        }

    def test_is_told_so_in_the_words_that_people_match_on(self, triton: Any) -> None:
        said = {name: message for name, (_, message) in triton["failed"].items()}
        assert said["unknown model"] == "Request for unknown model: 'unknown' is not found"
        assert said["unknown version"] == (
            "Request for unknown model: 'half_plus_two' version 9 is not found"
        )
        assert said["wrong type"] == (
            "inference input 'x' data-type is 'INT32', but model 'half_plus_two' expects 'FP32'"
        )
        assert said["wrong name"] == "unexpected inference input 'z' for model 'half_plus_two'"
        assert said["no region"] == "Unable to find system shared memory region: 'r'"

    def test_is_told_of_the_server(self, triton: Any) -> None:
        told = triton["told"]
        assert told["live"] is told["ready"] is True
        assert told["server"]["name"] == "salver"
        assert told["model"] == {
            "name": "half_plus_two",
            "versions": ["123"],
            "platform": "tensorflow_savedmodel",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "1"]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": ["-1", "1"]}],
        }
        assert (told["config"]["name"], told["config"]["platform"]) == (
            "half_plus_two", "tensorflow_savedmodel",
        )  # fmt: skip
        assert told["config"]["input"][0]["data_type"] == "TYPE_FP32"
        assert told["label config"]["name"] == "versions"
        [counted] = told["statistics"]["model_stats"]
        assert (counted["name"], counted["version"]) == ("half_plus_two", "123")
        assert int(counted["inference_stats"]["success"]["count"]) > 0
        assert len(told["all statistics"]["model_stats"]) > 10
        ready = {each["name"] for each in told["index"] if each["state"] == "READY"}
        assert {"half_plus_two", "versions", "strings"} <= ready
        assert told["model ready"] == [True, True, False, False]
        assert told["memory"] == [{}, {}]
        assert told["trace"]["trace_level"] == {"value": ["OFF"]}
        assert told["logs"]["log_error"] == {"bool_param": True}


@pytest.fixture(scope="session")
def kserve_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_with(tmp_path_factory.mktemp("kserve") / "venv", "kserve>=0.15")


def test_kserves_sdk_asks_as_well(all_models_server: Server, kserve_python: Path) -> None:
    python = kserve_python
    server = all_models_server
    found = run_client("kserve_sdk.py", python, target=server.grpc_target, url=server.url)
    assert found["rest"] == {
        "live": True,
        "ready": True,
        "model ready": True,
        "raw": {"y": [[2.5], [3.0], [4.5]]},
        "typed": {"y": [[2.5], [3.0], [4.5]]},
    }
    assert found["live"] is found["ready"] is found["model ready"] is True
    assert found["raw"] == found["typed"] == {"y": [[2.5], [3.0], [4.5]]}
    assert found["strings"] == {"ids": [1, 4], "lengths": [5, 4]}


def test_models_are_unloaded_and_loaded_by_request(
    start_server: Callable[..., Server], model_path: Callable[[str], Path]
) -> None:
    server = start_server(
        "--model_name=half_plus_two",
        f"--model_base_path={model_path('half_plus_two')}",
        "--model_control_mode=explicit",
    )
    with connected(server.grpc_target) as client:
        ask(client, "RepositoryModelUnload", model_name="half_plus_two")
        assert not ask(client, "ModelReady", name="half_plus_two").ready
        code, _ = refusal(client, infer_request("half_plus_two"))
        assert code in ("NOT_FOUND", "UNAVAILABLE")
        [told] = ask(client, "RepositoryIndex").models
        assert (told.name, told.state) == ("half_plus_two", "UNAVAILABLE")
        ask(client, "RepositoryModelLoad", model_name="half_plus_two")
        assert ask(client, "ModelReady", name="half_plus_two").ready
        call(client, "ModelInfer", infer_request("half_plus_two"))


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
def test_a_request_cannot_bring_a_model_along(
    start_server: Callable[..., Server], model_path: Callable[[str], Path], name: str
) -> None:
    server = start_server(
        "--model_name=half_plus_two",
        f"--model_base_path={model_path('half_plus_two')}",
        "--model_control_mode=explicit",
    )
    value = message_class("inference.ModelRepositoryParameter")(string_param="{}")
    with connected(server.grpc_target) as client:
        code, text = outcome(
            lambda: ask(
                client,
                "RepositoryModelLoad",
                model_name="half_plus_two",
                parameters={name: value},
            )
        )
    assert code == "INVALID_ARGUMENT"
    assert f"parameter '{name}' is not supported" in text
