import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.odd_messages import odd_fields
from tests.shelf import cancelled

from salver.codecs.protobuf.example_messages import (
    decode_classification_request,
    decode_multi_inference_request,
    decode_regression_request,
)
from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.service_messages import (
    decode_metadata_request,
    decode_session_run_request,
    decode_status_request,
)
from salver.codecs.protobuf.wire import length_delimited
from salver.errors import Code, InvalidArgument, NotFound, ServingError
from salver.inference.later import Later
from salver.metrics.outcomes import FailureKey, Outcomes
from salver.protocols.api import Api
from salver.protocols.calls import served_methods
from salver.protocols.methods import Call, MethodTable, Stream
from salver.tfs.rpc.calls import servable_request
from salver.tfs.rpc.counted import failure_counters, named_model, named_servable
from salver.vocabulary.requests import ServableRequest

SERVICE = "/tensorflow.serving.PredictionService"
Method = Callable[[bytes, Call], "bytes | Coroutine[Any, Any, bytes]"]


def request(name: str) -> bytes:
    return length_delimited(1, encode_model_spec(ModelSpec(name, 3)))


def raising(error: Exception) -> Method:
    def method(_data: bytes, _call: Call) -> bytes:
        raise error

    return method


def raising_later(error: Exception) -> Method:
    async def method(_data: bytes, _call: Call) -> bytes:
        raise error

    return method


class Counted:
    """A table with one method, counted."""

    def __init__(self, method: Method, path: str = f"{SERVICE}/Predict") -> None:
        self.outcomes = Outcomes()
        api = Api(methods={path: method}, call_failed=failure_counters(self.outcomes))
        found = served_methods(api, ())[path]
        assert not isinstance(found, Stream)
        self.method: Method = found

    @property
    def failures(self) -> dict[FailureKey, int]:
        return self.outcomes.read().failures


@pytest.mark.parametrize("name", ["Predict", "Classify", "Regress"])
def test_an_error_at_once_is_counted_and_goes_on(name: str) -> None:
    counted = Counted(raising(NotFound("no")), f"{SERVICE}/{name}")
    with pytest.raises(NotFound):
        counted.method(request("m"), Call())
    assert counted.failures == {("m", None, Code.NOT_FOUND, "GRPC", "tfs"): 1}


async def test_an_error_later_is_counted_with_the_version_that_failed() -> None:
    error = InvalidArgument("no")
    error.version = 7
    counted = Counted(raising_later(error))
    with pytest.raises(InvalidArgument):
        await counted.method(request("m"), Call())  # type: ignore[misc]
    assert counted.failures == {("m", 7, Code.INVALID_ARGUMENT, "GRPC", "tfs"): 1}


async def test_a_fault_of_ours_is_internal() -> None:
    counted = Counted(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        counted.method(request("m"), Call())
    assert counted.failures == {("m", None, Code.INTERNAL, "GRPC", "tfs"): 1}


async def test_no_memory_is_resource_exhausted() -> None:
    counted = Counted(raising_later(MemoryError()))
    with pytest.raises(MemoryError):
        await counted.method(request("m"), Call())  # type: ignore[misc]
    assert counted.failures == {("m", None, Code.RESOURCE_EXHAUSTED, "GRPC", "tfs"): 1}


async def test_a_client_that_leaves_is_counted_as_cancelled() -> None:
    async def method(_data: bytes, _call: Call) -> bytes:
        await asyncio.Event().wait()
        return b""

    counted = Counted(method)
    answer = counted.method(request("m"), Call())
    assert isinstance(answer, Coroutine)
    await cancelled(asyncio.ensure_future(answer))
    assert counted.failures == {("m", None, Code.CANCELLED, "GRPC", "tfs"): 1}


async def test_an_answer_that_is_given_up_before_it_began_is_closed() -> None:
    closed: list[str] = []
    counted = Counted(lambda _data, _call: Later(answer(), lambda: closed.append("closed")))

    async def answer() -> bytes:
        raise AssertionError

    made = counted.method(request("m"), Call())
    assert isinstance(made, Coroutine)
    made.close()
    assert closed == ["closed"]


async def test_answers_pass_as_they_are() -> None:
    async def later(_data: bytes, _call: Call) -> bytes:
        return b"later"

    at_once, in_time = Counted(lambda _data, _call: b"at once"), Counted(later)
    assert at_once.method(request("m"), Call()) == b"at once"
    assert await in_time.method(request("m"), Call()) == b"later"  # type: ignore[misc]
    assert at_once.failures == in_time.failures == {}


def test_other_methods_are_left_alone() -> None:
    async def stream(_: AsyncIterator[bytes], __: Call) -> AsyncGenerator[bytes, None]:
        yield b""

    async def unary(_data: bytes, _call: Call) -> bytes:
        return b""

    table: MethodTable = {f"{SERVICE}/MultiInference": unary, "/x/Y": Stream(stream)}
    api = Api(methods=table, call_failed=failure_counters(Outcomes()))
    assert served_methods(api, ()) == table


def test_a_request_without_a_spec_names_no_model() -> None:
    assert named_model(b"") == ""
    assert named_model(length_delimited(2, b"an input")) == ""


def test_a_spec_in_two_parts_is_one() -> None:
    parts = length_delimited(1, encode_model_spec(ModelSpec("a")))
    assert named_model(parts + length_delimited(3, b"y") + request("m")) == "m"


@pytest.mark.parametrize(
    "field", [b"\x20\x96\x01", b"\x21" + bytes(8), b"\x25" + bytes(4), length_delimited(9, b"x")]
)
def test_fields_of_any_kind_are_passed_over(field: bytes) -> None:
    assert named_model(field + request("m") + field) == "m"


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x21\x00", length_delimited(1, b"\x0a\xff")]
)
def test_what_is_no_message_counts_nowhere(data: bytes) -> None:
    assert named_model(data) is None
    counted = Counted(raising(ServingError("no")))
    with pytest.raises(ServingError):
        counted.method(data, Call())
    assert counted.failures == {}


@pytest.mark.parametrize(
    ("method", "data", "named"),
    [
        ("PredictionService/Predict", request("m"), ServableRequest("m", 3)),
        ("PredictionService/GetModelMetadata", request("m"), ServableRequest("m", 3)),
        ("ModelService/GetModelStatus", request("m"), ServableRequest("m", 3)),
        ("SessionService/SessionRun", request("m"), ServableRequest("m", 3)),
        ("PredictionService/Predict", request(""), None),
        ("PredictionService/Predict", b"\x0a", None),
        ("PredictionService/MultiInference", b"", None),
        ("PredictionService/MultiInference", b"\x0a", None),
        (
            "PredictionService/MultiInference",
            length_delimited(1, request("m")) + length_delimited(1, request("n")),
            ServableRequest("m", 3),
        ),
        ("ModelService/HandleReloadConfigRequest", request("m"), None),
    ],
)
def test_the_servable_that_a_message_names_is_read_for_any_method(
    method: str, data: bytes, named: ServableRequest | None
) -> None:
    assert named_servable(f"/tensorflow.serving.{method}", data) == named


EMPTY = b"\x12\x00"  # a field of two bytes: a message holds millions of them
NUMBER = b"\x20\x01"


@pytest.mark.parametrize("method", ["PredictionService/Predict", "SessionService/SessionRun"])
@pytest.mark.parametrize("field", [EMPTY, NUMBER, request("")])
def test_a_message_of_very_many_fields_names_no_model_and_counts_nowhere(
    method: str, field: bytes
) -> None:
    at_most = request("m") + field * 4095
    assert named_servable(f"/tensorflow.serving.{method}", at_most) == ServableRequest("m", 3)
    assert named_model(at_most) == "m"
    assert named_servable(f"/tensorflow.serving.{method}", at_most + field) is None
    assert named_model(at_most + field) is None
    assert named_model(field * 100_000) is None


def test_very_many_tasks_name_no_model() -> None:
    method = "/tensorflow.serving.PredictionService/MultiInference"
    task = length_delimited(1, request("m"))
    assert named_servable(method, task * 4096) == ServableRequest("m", 3)
    assert named_servable(method, task * 4097) is None


@pytest.mark.parametrize("count", [1, 2])
def test_a_spec_beyond_any_use_is_not_read(count: int) -> None:
    part = length_delimited(1, encode_model_spec(ModelSpec("m")) + EMPTY * (40_000 // count))
    assert named_servable(f"{SERVICE}/Predict", part * count) is None
    assert named_model(part * count) is None
    task = length_delimited(1, part * count) + length_delimited(1, request("m"))
    assert named_servable(f"{SERVICE}/MultiInference", task) is None


_TEXTS = st.sampled_from([b"a", b"b", b"", b"a" * 300])
_SPECS = odd_fields({1: _TEXTS, 3: _TEXTS, 4: _TEXTS})
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "PredictionService/Predict": lambda data: decode_predict_request(data).spec,
    "PredictionService/Classify": lambda data: decode_classification_request(data).spec,
    "PredictionService/Regress": lambda data: decode_regression_request(data).spec,
    "PredictionService/GetModelMetadata": lambda data: decode_metadata_request(data).spec,
    "ModelService/GetModelStatus": decode_status_request,
    "SessionService/SessionRun": lambda data: decode_session_run_request(data).spec,
}


def agrees(method: str, data: bytes, read: Callable[[bytes], ModelSpec | None]) -> None:
    try:
        spec = read(data)
    except ServingError:
        return
    told = named_servable(f"/tensorflow.serving.{method}", data)
    if told is not None:
        assert spec is not None
        assert told == servable_request(spec), data.hex()


@pytest.mark.parametrize("method", _DECODERS)
@settings(max_examples=100)
@given(data=odd_fields({1: _SPECS, 2: _TEXTS, 3: _TEXTS}))
def test_the_model_that_is_told_is_the_one_that_is_asked(method: str, data: bytes) -> None:
    agrees(method, data, _DECODERS[method])


@settings(max_examples=100)
@given(data=odd_fields({1: odd_fields({1: _SPECS, 2: _TEXTS}), 2: _TEXTS}))
def test_so_is_that_of_tasks(data: bytes) -> None:
    def first(data: bytes) -> ModelSpec | None:
        tasks = decode_multi_inference_request(data).tasks
        return tasks[0].spec if tasks else None

    agrees("PredictionService/MultiInference", data, first)
