import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.messages import method_types
from tests.odd_messages import odd_fields

from salver.codecs.oip.infer_message import decode_infer_request
from salver.codecs.oip.service_messages import decode_request
from salver.errors import Code, InvalidArgument, NotFound, ServingError
from salver.metrics.outcomes import Outcomes
from salver.oip.rpc.counted import failure_counters, named_servable
from salver.oip.rpc.infer import servable_of
from salver.vocabulary.requests import ServableRequest

SERVICE = "/inference.GRPCInferenceService"


def message(method: str, **fields: Any) -> bytes:
    data: bytes = method_types(f"{SERVICE}/{method}")[0](**fields).SerializeToString()
    return data


@pytest.mark.parametrize(
    "method", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"]
)
def test_a_call_names_a_model_and_a_version(method: str) -> None:
    path = f"{SERVICE}/{method}"
    assert named_servable(path, message(method, name="m")) == ServableRequest("m")
    both = message(method, name="m", version="7")
    assert named_servable(path, both) == ServableRequest("m", 7)
    label = message(method, name="m", version="stable")
    assert named_servable(path, label) == ServableRequest("m", None, "stable")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_request_for_inference_names_them_too(method: str) -> None:
    data = message(method, model_name="m", model_version="7", raw_input_contents=[b"x" * 9])
    assert named_servable(f"{SERVICE}/{method}", data) == ServableRequest("m", 7)


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_a_change_of_the_repository_names_a_model(method: str) -> None:
    data = message(method, repository_name="r", model_name="m")
    assert named_servable(f"{SERVICE}/{method}", data) == ServableRequest("m")
    assert named_servable(f"{SERVICE}/{method}", b"") is None


def test_other_calls_name_none() -> None:
    data = message("SystemSharedMemoryStatus", name="m")
    assert named_servable(f"{SERVICE}/SystemSharedMemoryStatus", data) is None
    assert named_servable(f"{SERVICE}/ModelReady", b"") is None


@given(st.binary(max_size=20))
def test_what_is_no_message_names_none(data: bytes) -> None:
    named = named_servable(f"{SERVICE}/ModelInfer", data)
    assert named is None or named.name


def test_failures_of_inference_are_counted_by_model_and_code() -> None:
    outcomes = Outcomes(lambda name: name == "m")
    [(path, count)] = failure_counters(SERVICE, outcomes).items()
    assert path == f"{SERVICE}/ModelInfer"
    data = message("ModelInfer", model_name="m")
    error = InvalidArgument("no")
    error.version = 7
    count(data, error)
    for other in (NotFound("no"), MemoryError(), asyncio.CancelledError(), ZeroDivisionError()):
        count(data, other)
    count(b"\x0a\x05", NotFound("it is no request"))
    codes = (Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED, Code.CANCELLED, Code.INTERNAL)
    failures = outcomes.read().failures
    assert failures.pop(("m", 7, Code.INVALID_ARGUMENT, "GRPC", "v2")) == 1
    assert failures == {("m", None, code, "GRPC", "v2"): 1 for code in codes}


_TEXTS = st.sampled_from([b"a", b"b", b"", b"1", b"\xff", b"a" * 300])


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
@settings(max_examples=100)
@given(data=odd_fields({1: _TEXTS, 2: _TEXTS, 3: _TEXTS, 7: _TEXTS}))
def test_the_model_that_is_told_is_the_one_that_is_asked_for_inference(
    method: str, data: bytes
) -> None:
    try:
        read = decode_infer_request(data)
        asked = servable_of(read.model_name, read.model_version)
    except ServingError:
        return
    assert named_servable(f"{SERVICE}/{method}", data) in (None, asked)


@pytest.mark.parametrize(
    "method", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"]
)
@settings(max_examples=100)
@given(data=odd_fields({1: _TEXTS, 2: _TEXTS, 3: _TEXTS}))
def test_the_model_that_is_told_is_the_one_that_is_asked(method: str, data: bytes) -> None:
    try:
        read = decode_request(f"{method}Request", data)
        asked = servable_of(read.name, read.version)
    except ServingError:
        return
    assert named_servable(f"{SERVICE}/{method}", data) in (None, asked)


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
@settings(max_examples=100)
@given(data=odd_fields({1: _TEXTS, 2: _TEXTS, 3: _TEXTS}))
def test_so_is_the_one_that_is_to_be_loaded(method: str, data: bytes) -> None:
    try:
        read = decode_request(f"{method}Request", data)
    except ServingError:
        return
    assert named_servable(f"{SERVICE}/{method}", data) in (None, ServableRequest(read.model_name))
