"""Several servers on this machine: calls of gRPC to the wrong one are answered by the right one."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import grpc
import numpy as np
import pytest

from salver.peers.map import Placed
from tests.integration.grpc_clients.plain import (
    METHODS,
    Client,
    connected,
    message,
    model_spec,
    outcome,
    predict_request,
)
from tests.integration.peers import Peers, peers
from tests.integration.serving import PATIENCE_S, eventually
from tests.messages import method_types

SERVICE = "/inference.GRPCInferenceService"
INFER, _ = method_types(f"{SERVICE}/ModelInfer")
STREAM = f"{SERVICE}/ModelStreamInfer"
SLOW = dedent(
    """
    import os, time

    class Model:
        inputs = {"x": ("float32", [-1])}
        outputs = {"y": ("float32", [-1])}

        def predict(self, inputs):
            path = os.path.dirname(os.path.abspath(__file__))
            open(path + "/begun", "a").write("begun\\n")
            while not os.path.exists(path + "/go"):
                time.sleep(0.01)
            return {"y": inputs["x"]}
    """
)
MANY = dedent(
    """
    class Model:
        inputs = {"n": ("int64", [])}
        outputs = {"i": ("int64", [])}

        def predict(self, inputs):
            for i in range(int(inputs["n"])):
                yield {"i": i}
    """
)


def written(directory: Path, code: str) -> Path:
    at = directory / "1"
    at.mkdir(parents=True)
    (at / "model.py").write_text(code)
    return directory


@pytest.fixture(scope="module", params=["native", "grpcio"])
def made(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    model_path: Callable[[str], Path],
) -> Iterator[Peers]:
    directory = tmp_path_factory.mktemp("peers")
    half = model_path("half_plus_two")
    models = {
        "n1": {"here": half},
        "n2": {
            "there": half,
            "slow": written(directory / "slow", SLOW),
            "stuck": written(directory / "stuck", SLOW),
            "many": written(directory / "many", MANY),
        },
    }
    flags = (f"--trusted_model_paths={directory}", f"--grpc_transport={request.param}")
    with peers(directory, models, *flags) as made:
        yield made


@pytest.fixture
def right(made: Peers) -> Iterator[Client]:
    with connected(made.servers["n2"].grpc_target) as client:
        yield client


@pytest.fixture
def wrong(made: Peers) -> Iterator[Client]:
    with connected(made.servers["n1"].grpc_target) as client:
        yield client


def infer(model: str, array: Any, name: str = "x", datatype: str = "FP32", **more: Any) -> Any:
    return INFER(
        model_name=model,
        inputs=[INFER.InferInputTensor(name=name, datatype=datatype, shape=array.shape)],
        raw_input_contents=[array.tobytes()],
        **more,
    )


def sent() -> dict[str, Any]:
    x = np.array([1, 2, 5], np.float32)
    spec = model_spec("there")
    return {
        METHODS["Predict"][0]: predict_request(spec, {"x": x}),
        METHODS["GetModelMetadata"][0]: message(
            "GetModelMetadataRequest", model_spec=spec, metadata_field=["signature_def"]
        ),
        METHODS["GetModelStatus"][0]: message("GetModelStatusRequest", model_spec=spec),
        f"{SERVICE}/ModelInfer": infer("there", x),
        f"{SERVICE}/ModelMetadata": method_types(f"{SERVICE}/ModelMetadata")[0](name="there"),
        f"{SERVICE}/ModelReady": method_types(f"{SERVICE}/ModelReady")[0](name="there"),
    }


@pytest.mark.parametrize("path", list(sent()))
def test_the_wrong_server_gives_the_answer_of_the_right_one(
    right: Client, wrong: Client, path: str
) -> None:
    request = sent()[path].SerializeToString()
    answer = wrong.raw(path, request)
    assert answer
    assert answer == right.raw(path, request)


def test_large_messages_go_both_ways(right: Client, wrong: Client) -> None:
    x = np.arange(2_000_000, dtype=np.float32)
    path = METHODS["Predict"][0]
    request = predict_request(model_spec("there"), {"x": x}).SerializeToString()
    assert wrong.raw(path, request) == right.raw(path, request)


def test_a_call_that_fails_there_fails_as_there(right: Client, wrong: Client) -> None:
    x = np.array([1], np.float32)
    bad = predict_request(model_spec("there"), {"z": x})
    unknown = predict_request(model_spec("there", 9), {"x": x})
    for request in (bad, unknown):
        ends = []
        for client in (wrong, right):
            with pytest.raises(grpc.RpcError) as caught:
                client.call("Predict", request)
            error: Any = caught.value
            hints = [value for key, value in error.trailing_metadata() if key == "salver-hint"]
            ends.append((error.code(), error.details(), hints))
        assert ends[0] == ends[1]


def test_what_no_server_has_is_refused_in_the_usual_words(wrong: Client) -> None:
    request = predict_request(model_spec("nowhere"), {"x": np.array([1], np.float32)})
    code, said = wrong.refusal("Predict", request)
    assert code == "NOT_FOUND"
    assert "Servable not found for request" in said


def test_a_deadline_holds_on_the_way(made: Peers, wrong: Client) -> None:
    request = infer("stuck", np.array([1], np.float32)).SerializeToString()
    code, _ = outcome(lambda: wrong.raw(f"{SERVICE}/ModelInfer", request, timeout=0.3))
    assert code == "DEADLINE_EXCEEDED"


def test_a_call_that_is_given_up_is_given_up_there(made: Peers, wrong: Client) -> None:
    def given_up() -> float:
        return made.count("n1", "salver_peer_requests_total", peer="n2", outcome="cancelled")

    before = given_up()
    request = infer("slow", np.array([1], np.float32)).SerializeToString()
    call = wrong.channel.unary_unary(f"{SERVICE}/ModelInfer").future(request, timeout=PATIENCE_S)
    begun = made.map_file.parent / "slow" / "1" / "begun"
    eventually("the run has begun", begun.exists)
    call.cancel()
    eventually("the call has ended", lambda: given_up() > before)
    (begun.parent / "go").touch()
    answered = wrong.raw(f"{SERVICE}/ModelInfer", request)
    assert answered


def test_each_request_of_a_stream_is_answered_where_its_model_is(wrong: Client) -> None:
    response = method_types(STREAM)[1]

    def many(model: str, id: str, count: int) -> bytes:
        made = infer(model, np.array(count, np.int64), "n", "INT64", id=id)
        return bytes(made.SerializeToString())

    def half(model: str, id: str) -> bytes:
        return bytes(infer(model, np.array([2], np.float32), id=id).SerializeToString())

    requests = [half("here", "a"), half("there", "b"), many("many", "c", 3), half("nowhere", "d")]
    stream = wrong.channel.stream_stream(STREAM)(iter(requests), timeout=PATIENCE_S)
    answers = [response.FromString(each) for each in stream]
    by_id: dict[str, list[Any]] = {}
    for each in answers:
        by_id.setdefault(each.infer_response.id, []).append(each)
    for id in "ab":
        (answer,) = by_id[id]
        assert np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32) == [3.0]
    assert len(by_id["c"]) == 3
    assert "not found" in by_id["d"][0].error_message


def test_readiness_is_that_of_the_server_that_was_asked(wrong: Client) -> None:
    ready = method_types(f"{SERVICE}/ServerReady")
    assert ready[1].FromString(wrong.raw(f"{SERVICE}/ServerReady", b"")).ready


def test_many_callers_share_the_way(made: Peers, wrong: Client) -> None:
    request = sent()[METHODS["Predict"][0]].SerializeToString()
    path = METHODS["Predict"][0]
    expected = wrong.raw(path, request)
    wrongly: list[Any] = []

    def ask() -> None:
        wrongly.extend(
            answer for _ in range(50) if (answer := wrong.raw(path, request)) != expected
        )

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrongly
    connections = made.count("n1", "salver_peer_connections", peer="n2")
    assert 1 <= connections <= 2  # one of each protocol


def test_calls_go_to_another_replica_when_one_is_killed(
    tmp_path: Path, model_path: Callable[[str], Path]
) -> None:
    half = model_path("half_plus_two")
    models = {"n1": {"here": half}, "n2": {"there": half}, "n3": {"there": half}}
    with peers(tmp_path, models) as made:
        made.place({"there": Placed(("n2", "n3"))})
        request = predict_request(model_spec("there"), {"x": np.array([1], np.float32)})
        with connected(made.servers["n1"].grpc_target) as client:
            for _ in range(20):
                client.call("Predict", request)
            made.servers["n2"].process.kill()
            made.servers["n2"].process.wait()
            for _ in range(50):
                client.call("Predict", request)
            made.servers["n3"].process.kill()
            made.servers["n3"].process.wait()

            def refused() -> bool:
                return client.refusal("Predict", request)[0] == "UNAVAILABLE"

            eventually("nobody is left", refused)
