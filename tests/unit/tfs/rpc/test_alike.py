from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.messages import method_types, spec, tensor
from tests.shelf import HALF_PLUS_TWO, FunctionProgram, InlineProgram, half_plus_two
from tests.wire_forms import Draw, Field, broken, joined, sized, unknown_fields

from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.errors import ServingError
from salver.inference.servable import ProgramNames, SignatureCall
from salver.tfs.rpc.alike import AlikeRequests
from salver.vocabulary.requests import Array

REQUEST, RESPONSE = method_types("/tensorflow.serving.PredictionService/Predict")
CALL = SignatureCall(
    "serving_default",
    HALF_PLUS_TWO.signatures["serving_default"],
    ProgramNames(("x:0",), ("y:0",)),
    InlineProgram(FunctionProgram(half_plus_two)),
    lambda *_: None,
)
ANSWER = np.ones(1, np.float32)
PLACES = 1024
PATIENCE = 16 * PLACES


def request(array: Any, name: str = "m", alias: str = "x", **rest: Any) -> bytes:
    made = REQUEST(model_spec=spec(name), inputs={alias: tensor(array)}, **rest)
    data: bytes = made.SerializeToString()
    return data


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def remember(alike: AlikeRequests, data: bytes, output: Array = ANSWER) -> None:
    """As after an answer to the request."""
    message = decode_predict_request(data)
    feeds = [decode_tensor(each) for each in message.inputs.values()]
    alike.remember(data, message, CALL, feeds, 7, [output])


@pytest.fixture
def alike() -> AlikeRequests:
    return AlikeRequests(as_content=False)


def test_a_request_with_other_elements_is_known(alike: AlikeRequests) -> None:
    first, second = request(floats(1, 2)), request(floats(3, 4))
    assert alike.find(first) is None
    remember(alike, first)
    known = alike.find(second)
    assert known is not None
    assert (known.spec.name, known.request.name, known.version) == ("m", "m", 7)
    assert np.ndarray(known.shape, known.dtype, second, known.begin).tolist() == [3, 4]
    answer = RESPONSE.FromString(known.head + floats(9).tobytes() + known.tail)
    assert answer.outputs["y"].float_val == [9]
    assert answer.model_spec == spec("m", "serving_default", version=7)


@pytest.mark.parametrize(
    "other",
    [
        request(floats(1, 2), "n"),
        request(floats(1, 2), alias="z"),
        request(np.array([1, 2], np.int32)),
        request(floats(1, 2, 3)),
        request([floats(1), floats(2)]),
        request(floats(1, 2)) + b"\x1a\x01y",
        request(floats(1, 2))[:-1],
        b"",
    ],
    ids=["model", "alias", "dtype", "size", "shape", "filter", "cut off", "empty"],
)
def test_a_request_that_differs_otherwise_is_not_known(alike: AlikeRequests, other: bytes) -> None:
    remember(alike, request(floats(1, 2)))
    assert alike.find(other) is None


def test_what_begins_as_a_known_one_but_has_another_size_is_not_known(
    alike: AlikeRequests,
) -> None:
    first = request(floats(1, 2))
    remember(alike, first)
    # Another model's request makes this size one whose elements begin where those of `first` do.
    remember(alike, request(floats(1, 2, 3), "o"))
    for longer in (first + floats(3).tobytes(), first + b"\x1a\x02yy"):
        assert len(longer) == len(request(floats(1, 2, 3), "o"))
        assert alike.find(longer) is None


@pytest.mark.parametrize(
    "data",
    [
        request(floats()),
        request(np.array([b"a", b"b"], object)),
        request(np.array([True, False])),
        request(floats(1), "m" * 500),
        request(floats(1)) + b"\x0a\x00",
        REQUEST(inputs={"x": tensor(floats(1))}).SerializeToString(),
        joined([(2, 2, sized(b"\x0a\x01x\x12" + sized(tensor(floats(1)).SerializeToString())))])
        + b"\x0a\x03\x0a\x01m",
        REQUEST(
            model_spec=spec("m"), inputs={"a": tensor(floats(1)), "b": tensor(floats(1))}
        ).SerializeToString(),
    ],
    ids=["none", "strings", "bools", "long", "two specs", "no spec", "spec last", "two inputs"],
)
def test_other_kinds_of_requests_are_not_remembered(alike: AlikeRequests, data: bytes) -> None:
    remember(alike, data)
    assert alike.find(data) is None


def test_a_request_that_is_answered_with_strings_is_not_remembered(alike: AlikeRequests) -> None:
    remember(alike, request(floats(1)), np.array([b"a"], object))
    assert alike.find(request(floats(1))) is None


def test_the_answer_is_framed_as_content_if_that_is_wanted() -> None:
    alike = AlikeRequests(as_content=True)
    remember(alike, request(floats(1)))
    known = alike.find(request(floats(2)))
    assert known is not None
    answer = RESPONSE.FromString(known.head + floats(9).tobytes() + known.tail)
    assert answer.outputs["y"].tensor_content == floats(9).tobytes()


def test_so_many_are_remembered_and_all_forgotten_when_others_come(alike: AlikeRequests) -> None:
    def numbered(number: int) -> bytes:
        return request(floats(1), f"{number:05}")

    for number in range(PLACES):
        remember(alike, numbered(number))
    late = count(PLACES)
    for _ in range(PATIENCE - 1):
        remember(alike, numbered(next(late)))
    assert [bool(alike.find(numbered(n))) for n in (0, PLACES - 1, PLACES)] == [True, True, False]
    remember(alike, numbered(0))  # it has its place
    last = numbered(next(late))
    remember(alike, last)
    assert alike.find(last) is not None
    assert not any(alike.find(numbered(number)) for number in range(PLACES))


def test_one_of_two_kinds_of_requests_of_one_size_is_known_until_it_no_longer_comes(
    alike: AlikeRequests,
) -> None:
    one, other = request(floats(1), "mnopq"), request(floats(1, 2), "m")
    assert len(one) == len(other)
    remember(alike, one)
    for _ in range(PATIENCE - 1):
        remember(alike, other)
    assert [bool(alike.find(data)) for data in (one, other)] == [True, False]
    remember(alike, other)
    assert [bool(alike.find(data)) for data in (one, other)] == [False, True]


# -- whatever the bytes ----------------------------------------------------------------------------

arrays = st.sampled_from(
    [
        *[floats(*range(size)) for size in range(5)],
        np.float32(1),
        np.ones((2, 1), np.float32),
        np.ones(1, np.float64),
        np.ones(2, np.int32),
        np.ones(2, np.bool_),
        np.ones(2, np.complex64),
        np.array([b"abc", b"d"], object),
    ]
)


def tensors_of(array: Any) -> list[bytes]:
    """As content and as values, and with values that are too few or too many."""
    as_content = tensor(array)
    made = [as_content]
    if as_content.dtype == 1:
        for values in ([1.0] * np.size(array), [1.0, 2.0]):
            as_values = type(as_content)(
                dtype=1, tensor_shape=as_content.tensor_shape, float_val=values
            )
            made.append(as_values)
    return [each.SerializeToString() for each in made]


@st.composite
def requests(draw: Draw) -> bytes:
    """Usual ones, and such as have their fields elsewhere, twice, or beside unknown ones."""
    fields: list[Field] = [(1, 2, sized(spec(draw(st.sampled_from("mn"))).SerializeToString()))]
    for alias in draw(st.sampled_from(["x", "x", "x", "y", "xy", "xx", ""])):
        value = draw(st.sampled_from(tensors_of(draw(arrays))))
        if draw(st.integers(0, 5)) == 0:
            value += joined([draw(unknown_fields(st.sampled_from([20, 2000])))])
        entry: list[Field] = [(1, 2, sized(alias.encode())), (2, 2, sized(value))]
        if draw(st.integers(0, 5)) == 0:
            entry.reverse()
        fields.append((2, 2, sized(joined(entry))))
    if draw(st.integers(0, 3)) == 0:
        extra = st.sampled_from([(3, 2, sized(b"y")), *fields])
        stranger = unknown_fields(st.sampled_from([8, 15, 16]))
        fields.insert(draw(st.integers(0, len(fields))), draw(extra | stranger))
    return joined(fields)


numbers = st.sampled_from([np.zeros(size, dtype) for size in (1, 2, 3) for dtype in "fdiF"])
plain = numbers.map(request)


@st.composite
def sent(draw: Draw) -> list[bytes]:
    """Some requests, each followed by others like it: of its size, or broken."""
    made = []
    for first in draw(st.lists(plain | requests(), min_size=1, max_size=3)):
        made.append(first)
        for _ in range(draw(st.integers(1, 4))):
            last = draw(st.binary(max_size=len(first)) | st.binary(min_size=1, max_size=8))
            filled = first[: max(0, len(first) - len(last))] + last[: len(first)]
            made.append(draw(st.just(filled) | broken(st.just(first))))
    return made


@given(sent())
def test_what_is_known_of_a_request_is_what_parsing_it_tells(messages: list[bytes]) -> None:
    alike = AlikeRequests(as_content=False)
    for data in messages:
        known = alike.find(data)
        if known is not None:
            parsed = decode_predict_request(data)
            [(alias, serialized)] = parsed.inputs.items()
            array = decode_tensor(serialized)
            found = np.ndarray(known.shape, known.dtype, data, known.begin)
            assert (parsed.spec, alias, parsed.output_filter) == (known.spec, "x", ())
            assert (array.dtype, array.shape) == (found.dtype, found.shape)
            assert array.tobytes() == found.tobytes()
        try:
            message = decode_predict_request(data)
            feeds = [decode_tensor(each) for each in message.inputs.values()]
        except ServingError:
            continue
        if [*message.inputs] == ["x"] and not message.output_filter:  # else it is not answered
            alike.remember(data, message, CALL, feeds, 7, [ANSWER])


def test_a_request_of_any_size_is_known_by_its_first_bytes(alike: AlikeRequests) -> None:
    for size in range(1, 300):
        data = request(np.full(size, 5, np.float32))
        remember(alike, data)
        known = alike.find(request(np.full(size, 6, np.float32)))
        assert known is not None
        assert (known.shape, known.size) == ((size,), len(data))
