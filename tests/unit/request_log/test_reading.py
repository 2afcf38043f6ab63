import io
import json

import pytest
from tests.integration.grpc_clients.plain import message, model_spec, predict_request, tensor

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
from salver.codecs.protobuf.tfrecord import write_record
from salver.request_log.reading import LoggedRecord, Unreadable, asked_by, read_log

REQUEST = predict_request(model_spec("m", 3), {"x": tensor([1.0])}).SerializeToString()


def read(data: bytes) -> list[LoggedRecord | Unreadable]:
    return list(read_log(io.BytesIO(data), "log"))


def response(value: float) -> bytes:
    built = message("PredictResponse")
    built.outputs["y"].CopyFrom(tensor([value]))
    return bytes(built.SerializeToString())


def record(kind: LogKind, request: bytes, answer: bytes | None = None) -> bytes:
    return write_record(encode_prediction_log(kind, request, answer))


def line(**more: object) -> bytes:
    value = {"model": "m", "method": "predict", "request": {"inputs": [1]}, **more}
    return json.dumps(value).encode() + b"\n"


def test_records_are_read_in_order() -> None:
    first, second = read(
        record(LogKind.PREDICT, REQUEST, response(2.0)) + record(LogKind.PREDICT, REQUEST)
    )
    assert isinstance(first, LoggedRecord)
    assert isinstance(second, LoggedRecord)
    assert (first.where, first.kind, first.request) == ("log, record 1", LogKind.PREDICT, REQUEST)
    assert first.spec == ModelSpec("m", 3)
    assert first.response is not None
    assert first.response.outputs["y"].tolist() == [2.0]
    assert second.response is None


def test_a_record_that_holds_nothing_is_skipped() -> None:
    assert not read(write_record(b""))
    assert not read(b"")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (record(LogKind.PREDICT_STREAMED, b""),
         "A call of the kind PREDICT_STREAMED cannot be replayed"),
        (record(LogKind.PREDICT, b"\xff"), "Failed to parse tensorflow.serving.PredictRequest"),
        (b"no log at all", "corrupted record at 0 (Is this even a TFRecord file?)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(data: bytes, problem: str) -> None:
    assert read(data) == [Unreadable("log, record 1", problem)]


def test_what_is_behind_damage_is_lost() -> None:
    whole = record(LogKind.PREDICT, REQUEST)
    found = read(whole + whole[:-1] + b"x" + whole)
    assert isinstance(found[0], LoggedRecord)
    assert found[1] == Unreadable("log, record 2", f"corrupted record at {len(whole) + 12}")


def test_the_first_task_says_which_servable() -> None:
    built = message("MultiInferenceRequest")
    assert asked_by(LogKind.MULTI_INFERENCE, built) == ModelSpec("")
    built.tasks.add(model_spec=model_spec("m", label="l"))
    assert asked_by(LogKind.MULTI_INFERENCE, built) == ModelSpec("m", None, "l")


def test_lines_of_json_are_told_by_how_they_begin() -> None:
    first, second, third = read(
        line(response={"outputs": [2.0]}, asked_version=3)
        + b"\n"
        + line(asked_label="l", method="regress", request={"signature_name": "s"})
        + b"no json\n"
    )
    assert isinstance(first, LoggedRecord)
    assert first.spec == ModelSpec("m", 3)
    assert first.request == {"inputs": [1]}
    assert first.response is not None
    assert first.response.outputs[""].tolist() == [2.0]
    assert isinstance(second, LoggedRecord)
    assert (second.where, second.kind) == ("log:3", LogKind.REGRESS)
    assert second.spec == ModelSpec("m", None, "l", "s")
    assert second.response is None
    assert isinstance(third, Unreadable)
    assert third.where == "log:4"
    assert third.problem.startswith("This is no line of a request log: JSONDecodeError")


@pytest.mark.parametrize(
    "data",
    [
        line(method="nothing"),
        line(method="predict_streamed"),
        line(request=[1]),
        line(response={"no": 1}),
        b'{"a": 1}\n',
        b"{}[ 12345\n",
        line(model=7),
        line(asked_version="7"),
        line(asked_version=True),
        line(asked_label=7),
        line(request={"signature_name": 7}),
    ],
)
def test_a_line_of_something_else_is_told(data: bytes) -> None:
    (found,) = read(data)
    assert isinstance(found, Unreadable)


def test_a_record_as_long_as_a_brace_is_no_text() -> None:
    request = REQUEST + b"\x1a" + bytes([123 - len(REQUEST) - 6]) + b"y" * (123 - len(REQUEST) - 6)
    data = record(LogKind.PREDICT, request)
    assert data.startswith(b"{\0\0\0")
    (found,) = read(data)
    assert isinstance(found, LoggedRecord)


@pytest.mark.parametrize("data", [record(LogKind.PREDICT, REQUEST), line()])
def test_what_is_appended_meanwhile_is_not_read(data: bytes) -> None:
    file = io.BytesIO(data * 2)
    found = 0
    for _ in read_log(file, "log"):
        found += 1
        end = file.tell()
        file.seek(0, io.SEEK_END)
        file.write(data)  # as the server does to which the log is sent
        file.seek(end)
        assert found <= 2
    assert found == 2
