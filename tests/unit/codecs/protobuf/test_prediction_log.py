from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import Draw, Field, broken, joined, sized, unknown_fields

from salver._pb import message_class
from salver.codecs.protobuf.prediction_log import (
    LoggedRequest,
    LogKind,
    decode_prediction_log,
    encode_prediction_log,
)
from salver.errors import Internal

LOG = message_class("tensorflow.serving.PredictionLog")
METADATA = message_class("tensorflow.serving.LogMetadata")
KINDS = {
    LogKind.CLASSIFY: "Classification",
    LogKind.REGRESS: "Regression",
    LogKind.MULTI_INFERENCE: "MultiInference",
    LogKind.SESSION_RUN: "SessionRun",
    LogKind.PREDICT: "Predict",
    LogKind.PREDICT_STREAMED: "Predict",
}

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def request_of(kind: LogKind, name: str) -> bytes:
    message = message_class(f"tensorflow.serving.{KINDS[kind]}Request")()
    if kind is LogKind.MULTI_INFERENCE:
        message.tasks.add().model_spec.name = name
    else:
        message.model_spec.name = name
    data: bytes = message.SerializeToString()
    return data


def response_of(kind: LogKind, name: str) -> bytes:
    message = message_class(f"tensorflow.serving.{KINDS[kind]}Response")()
    if kind is LogKind.MULTI_INFERENCE:
        message.results.add().model_spec.name = name
    else:
        message.model_spec.name = name
    data: bytes = message.SerializeToString()
    return data


@st.composite
def logged_requests(draw: Draw) -> LoggedRequest:
    kind = draw(st.sampled_from(list(LogKind)))
    response = draw(st.none() | names.map(lambda name: response_of(kind, name)))
    metadata = draw(st.just(b"") | names.map(lambda dc: METADATA(dc=dc).SerializeToString()))
    return LoggedRequest(kind, request_of(kind, draw(names)), response, metadata)


def written(logged: LoggedRequest) -> bytes:
    return encode_prediction_log(logged.kind, logged.request, logged.response, logged.metadata)


def read_by_protobuf(data: bytes) -> LoggedRequest | None:
    """The same by message classes alone."""
    message = LOG.FromString(data)
    choice = message.WhichOneof("log_type")
    if choice is None:
        return None
    log = getattr(message, choice)

    def part(name: str) -> bytes | None:
        if choice == "predict_streamed_log":
            parts = getattr(log, name)
            return bytes(parts[0].SerializeToString()) if parts else None
        return bytes(getattr(log, name).SerializeToString()) if log.HasField(name) else None

    return LoggedRequest(
        LogKind[choice.removesuffix("_log").upper()],
        part("request") or b"",
        part("response"),
        message.log_metadata.SerializeToString(),
    )


@given(logged_requests())
def test_what_is_written_is_read_by_us_and_by_protobuf(logged: LoggedRequest) -> None:
    data = written(logged)
    assert decode_prediction_log(data) == logged
    assert read_by_protobuf(data) == logged


@pytest.mark.parametrize("kind", LogKind)
def test_a_kind_is_named_and_numbered_as_its_field(kind: LogKind) -> None:
    field = LOG.DESCRIPTOR.fields_by_name[f"{kind.name.lower()}_log"]
    assert field.number == kind.value


def test_there_is_a_kind_for_every_field_but_the_metadata() -> None:
    assert len(LOG.DESCRIPTOR.fields) == len(LogKind) + 1


@pytest.mark.parametrize("data", [b"", LOG(log_metadata=METADATA(dc="a")).SerializeToString()])
def test_a_record_without_a_kind_is_none(data: bytes) -> None:
    assert decode_prediction_log(data) is None


def test_the_request_is_kept_as_it_is_written() -> None:
    request = b"\x1a\x01b\x1a\x01a" + b"\xf2\x7f\x01?"  # an unknown field behind
    logged = decode_prediction_log(encode_prediction_log(LogKind.PREDICT, request))
    assert logged == LoggedRequest(LogKind.PREDICT, request, None, b"")


def test_a_field_nobody_knows_is_passed_over() -> None:
    request = request_of(LogKind.PREDICT, "a")
    body = joined([(1, 2, sized(request)), (3, 2, sized(b"new"))])
    logged = decode_prediction_log(joined([(6, 2, sized(body))]))
    assert logged == LoggedRequest(LogKind.PREDICT, request, None, b"")


def test_of_a_stream_the_first_messages_count() -> None:
    requests = [request_of(LogKind.PREDICT, name) for name in "ab"]
    responses = [response_of(LogKind.PREDICT, name) for name in "cd"]
    body = joined([(1, 2, sized(part)) for part in requests])
    body += joined([(2, 2, sized(part)) for part in responses])
    data = joined([(7, 2, sized(body))])
    assert decode_prediction_log(data) == LoggedRequest(
        LogKind.PREDICT_STREAMED, requests[0], responses[0], b""
    )


def test_a_stream_without_messages_is_an_empty_request() -> None:
    body = joined([(9, 0, b"\x01")])
    assert decode_prediction_log(joined([(7, 2, sized(body))])) == LoggedRequest(
        LogKind.PREDICT_STREAMED, b"", None, b""
    )


@st.composite
def unusual(draw: Draw) -> bytes:
    """A record with its fields in any order, repeated, and others between them."""
    fields: list[Field] = []
    for _ in range(draw(st.integers(1, 3))):
        logged = draw(logged_requests())
        parts: list[Field] = [(1, 2, sized(logged.request, draw(st.integers(1, 3))))]
        if logged.response is not None:
            parts.append((2, 2, sized(logged.response)))
        parts += draw(st.lists(unknown_fields(st.sampled_from([3, 15, 16, 4000])), max_size=1))
        body = joined(draw(st.permutations(parts)))
        fields.append((logged.kind, 2, sized(body, draw(st.integers(1, 3)))))
        if logged.metadata:
            fields.append((1, 2, sized(logged.metadata)))
    fields += draw(st.lists(unknown_fields(st.sampled_from([8, 15, 16, 4000])), max_size=1))
    return joined(draw(st.permutations(fields)))


def normal(logged: LoggedRequest | None) -> Any:
    """Its messages parsed, so that the order of their fields does not count."""
    if logged is None:
        return None
    name = f"tensorflow.serving.{KINDS[logged.kind]}"
    response = logged.response
    return (
        logged.kind,
        message_class(f"{name}Request").FromString(logged.request),
        None if response is None else message_class(f"{name}Response").FromString(response),
        METADATA.FromString(logged.metadata),
    )


@given(unusual())
def test_a_record_means_what_it_means_to_protobuf_however_it_is_written(data: bytes) -> None:
    assert normal(decode_prediction_log(data)) == normal(read_by_protobuf(data))


@given(broken(logged_requests().map(written)))
def test_a_broken_record_is_refused_or_read_as_protobuf_does(data: bytes) -> None:
    try:
        found = decode_prediction_log(data)
    except Internal as error:
        assert error.message == "Failed to parse tensorflow.serving.PredictionLog"  # noqa: PT017
        return
    try:
        expected = read_by_protobuf(data)
    except Exception:  # noqa: BLE001 - something within a message, which is not looked into
        assert found is not None
        return
    assert normal(found) == normal(expected)
