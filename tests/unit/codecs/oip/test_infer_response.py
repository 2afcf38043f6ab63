from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from salver._pb import message_class
from salver.codecs.oip.dtypes import datatype_of_array
from salver.codecs.oip.infer_response import before_raw_output, encode_infer_response
from salver.codecs.oip.tensors import raw_of
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array

RESPONSE = message_class("inference.ModelInferResponse")
MODEL = ("half_plus_two", 123)

numbers = arrays.arrays(
    st.sampled_from(["f4", "f8", "i1", "i8", "u2", "?"]).map(np.dtype),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=200),
)


def named(*outputs: Array) -> list[tuple[str, str, Array]]:
    return [(f"y{at}", datatype_of_array(each.dtype), each) for at, each in enumerate(outputs)]


@given(st.lists(numbers, max_size=3), st.text(st.characters(exclude_categories=["Cs"])))
def test_outputs_are_raw_as_protobuf_would_write_them(outputs: list[Any], id: str) -> None:
    data = encode_infer_response(MODEL, id, named(*outputs))
    response = RESPONSE.FromString(data)
    assert (response.model_name, response.model_version, response.id) == (
        "half_plus_two",
        "123",
        id,
    )
    assert [tuple(each.shape) for each in response.outputs] == [each.shape for each in outputs]
    assert list(response.raw_output_contents) == [each.tobytes() for each in outputs]
    assert [each.name for each in response.outputs] == [f"y{at}" for at in range(len(outputs))]
    assert response.SerializeToString() == data


def test_strings_are_raw_with_their_lengths() -> None:
    strings = np.array([b"a", b"", b"ccc"], object)
    response = RESPONSE.FromString(encode_infer_response(MODEL, "", named(strings)))
    assert response.outputs[0].datatype == "BYTES"
    assert response.raw_output_contents[0] == raw_of(strings)


def test_a_large_output_is_written_whole() -> None:
    image = np.random.default_rng(0).random((600, 600, 3), np.float32)
    response = RESPONSE.FromString(encode_infer_response(MODEL, "", named(image)))
    assert response.raw_output_contents[0] == image.tobytes()


@given(numbers)
def test_what_stands_before_an_output_is_the_same_for_all_elements(array: Any) -> None:
    [output] = named(array)
    of_model, of_output = before_raw_output("half_plus_two", 123, output[0], output[1], array)
    whole = encode_infer_response(MODEL, "", [output])
    assert of_model + of_output + array.tobytes() == whole
    with_id = of_model + b"\x1a\x017" + of_output + array.tobytes()
    assert with_id == encode_infer_response(MODEL, "7", [output])


def test_outputs_can_be_contents() -> None:
    outputs = named(np.array([[1.5]], np.float32), np.array([b"a", b"b"], object))
    response = RESPONSE.FromString(encode_infer_response(MODEL, "7", outputs, is_raw=False))
    assert list(response.outputs[0].contents.fp32_contents) == [1.5]
    assert list(response.outputs[0].shape) == [1, 1]
    assert list(response.outputs[1].contents.bytes_contents) == [b"a", b"b"]
    assert not response.raw_output_contents


def test_what_contents_cannot_hold_is_said_in_words() -> None:
    half = named(np.zeros(1, numpy_dtype(DataType.BFLOAT16)))
    with pytest.raises(InvalidArgument, match="'y0' is of datatype BF16, which contents cannot"):
        encode_infer_response(MODEL, "", half, is_raw=False)
