from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from tests.integration.grpc_clients.plain import (
    example,
    message,
    model_spec,
    predict_request,
    tensor,
    values,
)

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind
from salver.errors import FailedPrecondition, NotFound, Unavailable
from salver.request_log.grpc_sender import GrpcSender
from salver.request_log.reading import LoggedRecord
from salver.request_log.sending import Redirection
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.tensorflow_types import number_of


class Canned(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Gives the answer it has for a method, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.answers: dict[str, Any] = {}

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]

        def answer(request: bytes, context: Any) -> bytes:
            self.asked.append((name, request))
            if name not in self.answers:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
            return bytes(self.answers[name].SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def canned() -> Iterator[tuple[Canned, str]]:
    handler = Canned()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"127.0.0.1:{port}"
    server.stop(None).wait()


def record(kind: LogKind, spec: ModelSpec, request: Any) -> LoggedRecord:
    sent = request if isinstance(request, dict) else request.SerializeToString()
    return LoggedRecord("log:1", kind, spec, sent, None)


def send(target: str, sent: LoggedRecord, redirection: Redirection | None = None) -> Any:
    sender = GrpcSender(target, redirection or Redirection(), 10)
    try:
        return {name: array.tolist() for name, array in sender(sent).outputs.items()}
    finally:
        sender.close()


def answer(value: float = 3.0) -> Any:
    built = message("PredictResponse")
    built.outputs["y"].CopyFrom(tensor([value]))
    return built


def metadata() -> Any:
    signatures = message("SignatureDefMap")
    info = signatures.signature_def["serving_default"].inputs["x"]
    info.name, info.dtype = "x:0", number_of(DataType.INT32)
    built = message("GetModelMetadataResponse")
    built.metadata["signature_def"].Pack(signatures)
    return built


M = ModelSpec("m")


def test_a_message_is_sent_as_it_was(canned: tuple[Canned, str]) -> None:
    handler, target = canned
    handler.answers["Predict"] = answer()
    built = predict_request(model_spec("m"), {"x": tensor([1.0])}, outputs=["y"])
    assert send(target, record(LogKind.PREDICT, M, built)) == {"y": [3.0]}
    assert handler.asked == [("Predict", built.SerializeToString())]


def test_a_message_is_sent_to_another_servable(canned: tuple[Canned, str]) -> None:
    handler, target = canned
    handler.answers["Predict"] = answer()
    built = predict_request(model_spec("m", label="l"), {"x": tensor([1.0])})
    sent = record(LogKind.PREDICT, ModelSpec("m", None, "l"), built)
    send(target, sent, Redirection(version=2, signature="s"))
    built.model_spec.CopyFrom(model_spec("m", 2, signature="s"))
    assert handler.asked == [("Predict", built.SerializeToString())]


@pytest.mark.parametrize(("signature", "asked"), [(None, "r"), ("s", "s")])
def test_each_task_is_sent_to_another_servable(
    signature: str | None, asked: str, canned: tuple[Canned, str]
) -> None:
    handler, target = canned
    handler.answers["MultiInference"] = message("MultiInferenceResponse")
    built = message("MultiInferenceRequest")
    built.tasks.add(model_spec=model_spec("m", signature="r"), method_name="x")
    sent = record(LogKind.MULTI_INFERENCE, ModelSpec("m", signature_name="r"), built)
    assert send(target, sent, Redirection(version=2, signature=signature)) == {}
    built.tasks[0].model_spec.CopyFrom(model_spec("m", 2, signature=asked))
    assert handler.asked == [("MultiInference", built.SerializeToString())]


def test_json_is_sent_with_the_dtypes_of_the_model(canned: tuple[Canned, str]) -> None:
    handler, target = canned
    handler.answers |= {"Predict": answer(), "GetModelMetadata": metadata()}
    sender = GrpcSender(target, Redirection(), 10)
    for _ in range(2):
        sender(record(LogKind.PREDICT, M, {"instances": [1, 2]}))
    sender.close()
    assert [name for name, _ in handler.asked] == ["GetModelMetadata", "Predict", "Predict"]
    request = message("PredictRequest")
    request.MergeFromString(handler.asked[1][1])
    assert request.model_spec == model_spec("m")
    assert request.inputs["x"].dtype == number_of(DataType.INT32)
    assert values(request.inputs["x"]) == [1, 2]


def test_json_for_a_signature_that_is_not_there(canned: tuple[Canned, str]) -> None:
    handler, target = canned
    handler.answers["GetModelMetadata"] = metadata()
    with pytest.raises(FailedPrecondition, match='Serving signature key "s" not found'):
        send(target, record(LogKind.PREDICT, M, {"inputs": [1]}), Redirection(signature="s"))


@pytest.mark.parametrize("kind", [LogKind.CLASSIFY, LogKind.REGRESS])
def test_examples_in_json_are_sent(kind: LogKind, canned: tuple[Canned, str]) -> None:
    handler, target = canned
    name = kind.name.capitalize()
    built = "Classification" if kind is LogKind.CLASSIFY else "Regression"
    handler.answers[name] = message(f"{built}Response")
    send(target, record(kind, M, {"examples": [{"x": 1.5}]}))
    request = message(f"{built}Request")
    request.MergeFromString(handler.asked[0][1])
    assert list(request.input.example_list.examples) == [example(x=1.5)]


def test_sessions_in_json_are_sent(canned: tuple[Canned, str]) -> None:
    handler, target = canned
    handler.answers["SessionRun"] = message("SessionRunResponse")
    body = {"model_spec": {"name": "m"}, "fetch": ["y:0"]}
    send(target, record(LogKind.SESSION_RUN, M, body))
    expected = message("SessionRunRequest", model_spec=model_spec("m"), fetch=["y:0"])
    assert handler.asked == [("SessionRun", expected.SerializeToString())]


def test_what_the_server_says_is_the_error(canned: tuple[Canned, str]) -> None:
    _, target = canned
    built = predict_request(model_spec("m"), {})
    with pytest.raises(NotFound, match="no such model"):
        send(target, record(LogKind.PREDICT, M, built))
    with pytest.raises(Unavailable):
        send("127.0.0.1:1", record(LogKind.PREDICT, M, built))
