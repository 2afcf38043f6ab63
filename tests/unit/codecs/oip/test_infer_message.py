from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import Draw, Field, broken, joined, sized, unknown_fields

from salver._pb import message_class
from salver.codecs.oip.infer_message import (
    MOST_TENSORS,
    InferMessage,
    decode_infer_request,
)
from salver.errors import Internal, InvalidArgument, ServingError

REQUEST = message_class("inference.ModelInferRequest")
INPUT = REQUEST.InferInputTensor
CONTENTS = message_class("inference.InferTensorContents")
PARAMETER = message_class("inference.InferParameter")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
shapes = st.lists(st.integers(0, 300) | st.integers(-(2**63), 2**63 - 1), max_size=4)
parameters = st.dictionaries(
    text,
    st.one_of(
        st.builds(PARAMETER, bool_param=st.booleans()),
        st.builds(PARAMETER, int64_param=st.integers(-(2**63), 2**63 - 1)),
        st.builds(PARAMETER, string_param=text),
        st.builds(PARAMETER, double_param=st.floats(allow_nan=False)),
        st.builds(PARAMETER, uint64_param=st.integers(0, 2**64 - 1)),
        st.just(PARAMETER()),
    ),
    max_size=2,
)
contents = st.none() | st.builds(
    CONTENTS,
    fp32_contents=st.lists(st.integers(0, 9), max_size=3),
    int_contents=st.lists(st.integers(-9, 9), max_size=3),
    bytes_contents=st.lists(st.binary(max_size=3), max_size=3),
)
inputs = st.builds(
    INPUT, name=text, datatype=text, shape=shapes, parameters=parameters, contents=contents
)
outputs = st.builds(REQUEST.InferRequestedOutputTensor, name=text, parameters=parameters)
requests = st.builds(
    REQUEST,
    model_name=text,
    model_version=text,
    id=text,
    parameters=parameters,
    inputs=st.lists(inputs, max_size=3),
    outputs=st.lists(outputs, max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=300), max_size=3),
)


def plain(message: InferMessage) -> Any:
    """All that was read, so that it can be compared."""
    return (
        (message.model_name, message.model_version, message.id, dict(message.parameters)),
        [
            (
                each.name,
                each.datatype,
                each.shape,
                dict(each.parameters),
                None if each.contents is None else CONTENTS.FromString(bytes(each.contents)),
            )
            for each in message.inputs
        ],
        [(each.name, dict(each.parameters)) for each in message.outputs],
        [bytes(raw) for raw in message.raw],
    )


def values(of: Any) -> dict[str, Any]:
    choices = {name: value.WhichOneof("parameter_choice") for name, value in of.items()}
    return {name: getattr(of[name], choice) for name, choice in choices.items() if choice}


def parsed(data: bytes) -> Any:
    """The same by protobuf."""
    message = REQUEST.FromString(data)
    return (
        (message.model_name, message.model_version, message.id, values(message.parameters)),
        [
            (
                each.name,
                each.datatype,
                tuple(each.shape),
                values(each.parameters),
                each.contents if each.HasField("contents") else None,
            )
            for each in message.inputs
        ],
        [(each.name, values(each.parameters)) for each in message.outputs],
        list(message.raw_input_contents),
    )


@given(requests)
def test_a_request_is_read_as_it_was_written(request: Any) -> None:
    data = request.SerializeToString()
    assert plain(decode_infer_request(data)) == parsed(data)


@st.composite
def spelled(draw: Draw) -> bytes:
    """A request in no usual form: fields in any order, lengths too long, strangers between."""
    fields: list[Field] = []
    for _ in range(draw(st.integers(0, 3))):
        tensor = draw(inputs).SerializeToString()
        if draw(st.booleans()):  # numbers that are not packed
            tensor += joined([(3, 0, b"\x07")])
        fields.append((5, 2, sized(tensor, draw(st.integers(1, 5)))))
    for number in (1, 2, 3):
        fields += [(number, 2, sized(draw(text).encode(), draw(st.integers(1, 5))))]
    fields += [(7, 2, sized(raw, 2)) for raw in draw(st.lists(st.binary(max_size=5), max_size=3))]
    fields += draw(st.lists(unknown_fields(st.sampled_from([8, 15, 16, 2**29 - 1])), max_size=2))
    return joined(draw(st.permutations(fields)))


@given(spelled())
def test_any_spelling_of_a_request_is_read_as_protobuf_reads_it(data: bytes) -> None:
    assert plain(decode_infer_request(data)) == parsed(data)


@given(broken(requests.map(lambda request: bytes(request.SerializeToString()))) | broken(spelled()))
def test_a_broken_request_is_refused_where_protobuf_refuses_it(data: bytes) -> None:
    try:
        expected = parsed(data)
    except (DecodeError, UnicodeDecodeError):
        with pytest.raises((ServingError, DecodeError)):  # contents are read later
            plain(decode_infer_request(data))
    else:
        assert plain(decode_infer_request(data)) == expected


def test_nothing_is_a_request_for_nothing() -> None:
    assert plain(decode_infer_request(b"")) == (("", "", "", {}), [], [], [])


def test_large_raw_contents_are_not_copied() -> None:
    image = np.random.default_rng(0).random((224, 224, 3), np.float32)
    data = REQUEST(
        model_name="m",
        inputs=[INPUT(name="x", datatype="FP32", shape=image.shape)],
        raw_input_contents=[image.tobytes()],
    ).SerializeToString()
    message = decode_infer_request(data)
    [raw] = message.raw
    assert np.shares_memory(np.frombuffer(raw, np.uint8), np.frombuffer(data, np.uint8))
    assert message.raw_end == len(data)
    assert message.inputs[0].shape == (224, 224, 3)


def test_large_contents_are_not_copied() -> None:
    contents = CONTENTS(fp32_contents=[1.5] * 2000)
    data = REQUEST(inputs=[INPUT(name="x", contents=contents)]).SerializeToString()
    found = decode_infer_request(data).inputs[0].contents
    assert found is not None
    assert np.shares_memory(np.frombuffer(found, np.uint8), np.frombuffer(data, np.uint8))


def test_an_unusual_request_does_not_tell_where_its_raw_contents_end() -> None:
    data = REQUEST(raw_input_contents=[b"abc"]).SerializeToString()
    assert decode_infer_request(data).raw_end == len(data)
    assert decode_infer_request(data + b"\x78\x01").raw_end == 0


@pytest.mark.parametrize("field", ["inputs", "outputs", "raw_input_contents"])
@pytest.mark.parametrize("stranger", [b"", b"\x78\x01"], ids=["usual", "unusual"])
def test_more_tensors_than_any_model_has_are_refused(field: str, stranger: bytes) -> None:
    tag = bytes([REQUEST.DESCRIPTOR.fields_by_name[field].number << 3 | 2])
    assert len(decode_infer_request(stranger + (tag + b"\0") * 100).raw) in (0, 100)
    with pytest.raises(InvalidArgument, match="more than 16384 tensors"):
        decode_infer_request(stranger + (tag + b"\0") * (MOST_TENSORS + 1))


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0a\x01\xff", b"\x3a\xff\xff\xff\xff\x0f", b"\x2a\x02\x0a"]
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(Internal, match=r"Failed to parse inference\.ModelInferRequest"):
        decode_infer_request(data)
