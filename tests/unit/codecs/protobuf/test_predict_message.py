from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import Draw, Field, broken, joined, long_varint, sized, unknown_fields

from salver._pb import message_class
from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec
from salver.codecs.protobuf.predict_message import (
    PredictMessage,
    around_output,
    decode_predict_request,
    encode_predict_response,
)
from salver.codecs.protobuf.tensor_proto import decode_tensor, encode_tensor
from salver.codecs.protobuf.wire import Bytes
from salver.errors import Code, Internal, ServingError
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import number_of

REQUEST = message_class("tensorflow.serving.PredictRequest")
RESPONSE = message_class("tensorflow.serving.PredictResponse")
TENSOR = message_class("tensorflow.TensorProto")
HALF_PLUS_TWO = np.array([1, 2, 5], np.float32)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
long_text = st.text(min_size=100, max_size=200)
specs = st.builds(ModelSpec, text, st.none() | st.integers(0, 9), st.none(), text)
tensors = st.binary(min_size=1, max_size=200).map(
    lambda content: TENSOR(dtype=4, tensor_content=content).SerializeToString()
)
parts = st.tuples(
    st.none() | specs,
    st.dictionaries(text | long_text, tensors, max_size=4),
    st.lists(text, max_size=4).map(tuple),
)


def request(spec: ModelSpec | None, inputs: dict[str, bytes], wanted: tuple[str, ...]) -> bytes:
    message = REQUEST(output_filter=wanted)
    if spec is not None:
        message.model_spec.ParseFromString(encode_model_spec(spec))
    for alias, tensor in inputs.items():
        message.inputs[alias].ParseFromString(tensor)
    data: bytes = message.SerializeToString()
    return data


def same(one: PredictMessage, other: PredictMessage) -> bool:
    """Whether they are equal; where an input was given twice its bytes may differ in order."""
    tensors = [
        {alias: TENSOR.FromString(data) for alias, data in message.inputs.items()}
        for message in (one, other)
    ]
    for named in tensors:
        for tensor in named.values():
            tensor.DiscardUnknownFields()
    return tensors[0] == tensors[1] and (one.spec, one.output_filter) == (
        other.spec,
        other.output_filter,
    )


@given(parts)
def test_a_request_is_read_as_it_was_written(whole: tuple[Any, ...]) -> None:
    spec, inputs, wanted = whole
    assert decode_predict_request(request(*whole)) == PredictMessage(spec, inputs, wanted)


def test_nothing_is_a_request_for_nothing() -> None:
    assert decode_predict_request(b"") == PredictMessage(None, {}, ())


def test_an_input_is_decoded_by_its_alias() -> None:
    data = request(ModelSpec("m"), {"x": encode_tensor(HALF_PLUS_TWO, as_content=False)}, ())
    message = decode_predict_request(data)
    assert decode_tensor(message.inputs["x"]).tolist() == [1.0, 2.0, 5.0]


@given(parts)
def test_the_end_of_the_inputs_is_that_of_the_last_tensor(whole: tuple[Any, ...]) -> None:
    data = request(*whole)
    message = decode_predict_request(data)
    end = message.inputs_end
    if not message.inputs:
        assert end == 0
    elif end:  # no alias is long
        last = [*message.inputs.values()][-1]
        assert data[end - len(last) : end] == last
        after = joined([(3, 2, sized(alias.encode())) for alias in message.output_filter])
        assert data[end:] == after


def test_an_unusual_request_does_not_tell_where_its_inputs_end() -> None:
    usual = request(ModelSpec("m"), {"x": encode_tensor(HALF_PLUS_TWO, as_content=False)}, ())
    assert decode_predict_request(usual).inputs_end == len(usual)
    assert decode_predict_request(usual + b"\x78\x01").inputs_end == 0


def test_a_large_input_is_not_copied() -> None:
    image = np.random.default_rng(0).random((224, 224, 3), np.float32)
    data = request(ModelSpec("m"), {"x": encode_tensor(image, as_content=True)}, ())
    array = decode_tensor(decode_predict_request(data).inputs["x"])
    assert np.array_equal(array, image)
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))


@st.composite
def spelled(draw: Draw) -> tuple[bytes, bytes]:
    """A request as it is usual, and as it is not."""
    spec, inputs, wanted = draw(parts)
    fields: list[Field] = []
    if spec is not None:  # in two parts, which protobuf merges
        spec = replace(spec, version=spec.version or 1)
        named = ModelSpec(spec.name, 77, None, "other")
        rest = b"\x1a" + sized(spec.signature_name.encode())
        rest += encode_model_spec(ModelSpec("", spec.version))
        fields += [(1, 2, sized(encode_model_spec(named), 2)), (1, 2, sized(rest))]
    for alias, tensor in inputs.items():
        key: Field = (1, 2, sized(alias.encode(), draw(st.integers(1, 5))))
        value: Field = (2, 2, sized(tensor, draw(st.integers(1, 5))))
        before: Field = (2, 2, sized(TENSOR(dtype=9, tensor_content=b"old").SerializeToString()))
        entry = draw(st.sampled_from([[key, value], [value, key], [before, value, key]]))
        if draw(st.booleans()):
            fields.append((2, 2, sized(joined([key, before]))))
        # No unknown fields in an entry: protobuf's Python takes such an entry for unknown itself.
        fields.append((2, 2, sized(joined(entry), draw(st.integers(1, 5)))))
    fields += [(3, 2, sized(alias.encode(), 2)) for alias in wanted]
    strangers = unknown_fields(st.sampled_from([4, 8, 15, 16, 2**29 - 1]))
    for stranger in draw(st.lists(strangers, max_size=3)):
        fields.insert(draw(st.integers(0, len(fields))), stranger)
    known = [(5, 2, b"\x00"), (6, 2, b"\x02id"), (7, 2, b"\x03\x0a\x01c")]
    fields[0:0] = draw(st.lists(st.sampled_from(known), max_size=2))
    return request(spec, inputs, wanted), joined(fields)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\x0a\x01x",
        b"\x12\x02\x08\x09",
        b"\x12\x02\x08\x09\x0a\x01x",
        b"\x0a\x01x\x0a\x01y\x12\x02\x08\x09",
        b"\x0a\x01x\x12\x00\x12\x02\x08\x09",
        b"\x0a\xc8\x01" + b"x" * 200 + b"\x12\x02\x08\x09",
    ],
    ids=["empty", "no value", "no key", "value first", "key twice", "value twice", "long key"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_an_entry_is_read_as_by_protobuf(entry: bytes, times: int) -> None:
    data = (b"\x12" + long_varint(len(entry), 1) + entry) * times
    expected = {a: t.SerializeToString() for a, t in REQUEST.FromString(data).inputs.items()}
    assert decode_predict_request(data).inputs == expected


@given(spelled())
def test_any_spelling_of_a_request_is_read_alike(pair: tuple[bytes, bytes]) -> None:
    usual, unusual = pair
    assert same(decode_predict_request(unusual), decode_predict_request(usual))


def _code(tensor: Bytes) -> Code:
    try:
        decode_tensor(tensor)
    except ServingError as error:
        return error.code
    return Code.OK


@given(broken(parts.map(lambda whole: request(*whole))) | st.binary(max_size=40))
def test_broken_bytes_are_an_internal_error_or_what_protobuf_reads(data: bytes) -> None:
    try:
        parsed = REQUEST.FromString(data)
    except DecodeError:
        try:
            message = decode_predict_request(data)
        except Internal:
            return
        # Only a tensor is broken, and that is found when it is decoded.
        assert Code.INTERNAL in [_code(tensor) for tensor in message.inputs.values()]
    else:
        parsed.DiscardUnknownFields()
        assert same(
            decode_predict_request(data), decode_predict_request(parsed.SerializeToString())
        )


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05\x0a",  # cut off
        b"\x0a\x01\x0a",  # the spec is malformed
        b"\x12\x05\x0a\x01\xff\x12\x00",  # a key that is not UTF-8
        b"\x1a\x01\xff",
        b"\x12\x03\x0a\x01x\x12",
        b"\x12\xff\xff\xff\xff\xff\x0f",  # a length of more than 31 bits
        b"\x0b",  # a group that does not end
        b"\x0c",  # or begin
        b"\x07",  # no wire type
        b"\x02\x00",  # no field number
    ],
)
def test_a_malformed_request_is_an_internal_error(data: bytes) -> None:
    with pytest.raises(Internal, match=r"^Failed to parse tensorflow\.serving\.PredictRequest$"):
        decode_predict_request(data)


def test_deep_groups_are_refused_and_do_not_exhaust_the_stack() -> None:
    with pytest.raises(Internal):
        decode_predict_request(b"\x43" * 100_000 + b"\x44" * 100_000)


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("array", [HALF_PLUS_TWO, HALF_PLUS_TWO[:0], np.ones((), np.complex64)])
def test_around_its_elements_is_the_rest_of_a_response(array: Array, as_content: bool) -> None:
    spec = ModelSpec("m", 7, None, "s")
    around = around_output(spec, "y", array, as_content=as_content)
    assert around is not None
    head, tail = around
    whole = encode_predict_response(spec, [("y", array)], as_content=as_content)
    assert head + array.tobytes() + tail == whole


def test_nothing_is_around_elements_that_are_not_as_in_memory() -> None:
    numbers, texts = np.ones(2, np.int32), np.array([b"a"], object)
    for array, as_content in ((numbers, False), (texts, False), (texts, True)):
        assert around_output(ModelSpec("m"), "y", array, as_content=as_content) is None


def response(data: bytes) -> tuple[ModelSpec, dict[str, Array]]:
    message = RESPONSE.FromString(data)
    spec = message.model_spec
    version = spec.version.value if spec.HasField("version") else None
    arrays = {
        alias: decode_tensor(tensor.SerializeToString())
        for alias, tensor in message.outputs.items()
    }
    return ModelSpec(spec.name, version, None, spec.signature_name), arrays


STRINGS: Array = np.array([b"a", b"", b"\xff" * 300], object)
ARRAYS = {
    "floats": HALF_PLUS_TWO,
    "scalar": np.array(2.5),
    "ints": np.array([[1, -1], [300, 2**40]]),
    "bools": np.array([True, False]),
    "strings": STRINGS,
    "none": np.empty((0, 3), np.float32),
    "no ints": np.empty((0,), np.int64),
    "image": np.random.default_rng(0).random((1, 224, 224, 3), np.float32),
    "a" * 200: np.array([1], np.uint8),
}


@pytest.mark.parametrize("as_content", [False, True], ids=["values", "content"])
def test_a_response_is_written_so_that_protobuf_reads_it(as_content: bool) -> None:
    spec = ModelSpec("m", 3, None, "serving_default")
    data = encode_predict_response(spec, list(ARRAYS.items()), as_content=as_content)
    found, arrays = response(data)
    assert found == spec
    assert arrays.keys() == ARRAYS.keys()
    for alias, array in arrays.items():
        assert (array.shape, array.dtype) == (ARRAYS[alias].shape, ARRAYS[alias].dtype)
        assert array.tolist() == ARRAYS[alias].tolist()


@pytest.mark.parametrize("as_content", [False, True], ids=["values", "content"])
def test_quantized_outputs_say_so_unless_the_array_holds_something_else(as_content: bool) -> None:
    outputs = [(alias, np.array([1, -100], np.int8)) for alias in ("plain", "quantized", "lie")]
    data = encode_predict_response(
        ModelSpec("m"),
        outputs,
        as_content=as_content,
        quantized={"quantized": DataType.QINT8, "lie": DataType.QUINT16},
    )
    found = RESPONSE.FromString(data).outputs
    assert {alias: tensor.dtype for alias, tensor in found.items()} == {
        "plain": number_of(DataType.INT8),
        "quantized": number_of(DataType.QINT8),
        "lie": number_of(DataType.INT8),
    }
    for tensor in found.values():
        assert decode_tensor(tensor.SerializeToString()).tolist() == [1, -100]


@pytest.mark.parametrize("alias", ["floats", "ints"])
def test_a_response_of_one_output_is_written_as_protobuf_would(alias: str) -> None:
    spec = ModelSpec("m", 3, None, "serving_default")
    for as_content in (False, True):
        data = encode_predict_response(spec, [(alias, ARRAYS[alias])], as_content=as_content)
        assert RESPONSE.FromString(data).SerializeToString() == data


def test_outputs_are_written_in_the_order_given() -> None:
    named = [("b", HALF_PLUS_TWO), ("a", HALF_PLUS_TWO), ("c", STRINGS)]
    data = encode_predict_response(ModelSpec("m"), named, as_content=False)
    assert data.index(b"\x0a\x01b") < data.index(b"\x0a\x01a") < data.index(b"\x0a\x01c")


def test_content_is_written_where_it_is_asked_for() -> None:
    for as_content in (False, True):
        data = encode_predict_response(
            ModelSpec("m"), [("y", HALF_PLUS_TWO)], as_content=as_content
        )
        tensor = RESPONSE.FromString(data).outputs["y"]
        assert bool(tensor.tensor_content) is as_content
        assert bool(tensor.float_val) is not as_content


def test_no_outputs_leave_the_model_spec() -> None:
    data = encode_predict_response(ModelSpec("m", 0), [], as_content=False)
    assert response(data) == (ModelSpec("m", 0), {})


def test_an_output_no_tensor_holds_is_an_internal_error() -> None:
    with pytest.raises(Internal, match=r"^No tensor has elements of type "):
        encode_predict_response(ModelSpec("m"), [("y", np.array(["text"]))], as_content=False)
