import gc
import json
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.codecs.oip import json_request
from salver.codecs.oip.dtypes import DATATYPES
from salver.codecs.oip.json_request import InferRequest, read_infer_request
from salver.errors import Cancelled, InvalidArgument
from salver.vocabulary.dtypes import numpy_dtype
from salver.vocabulary.requests import TakesLong


def active() -> bool:
    return True


def one(data: str, shape: list[int], datatype: str = "FP32") -> bytes:
    text = '{"inputs":[{"name":"x","shape":%s,"datatype":"%s","data":%s}]}'
    return (text % (json.dumps(shape), datatype, data)).encode()


def padded(text: bytes) -> bytes:
    """The same request, too long to be read element by element in the loop."""
    return text[:-1] + b',"padding":"%s"}' % (b"p" * 3000)


def readings(text: bytes) -> list[InferRequest]:
    """What every reader makes of a request that it takes."""
    return [read_infer_request(text), read_infer_request(padded(text), active)]


def message_of(text: bytes, *, in_loop: bool = True) -> str:
    with pytest.raises(InvalidArgument) as raised:
        read_infer_request(text, None if in_loop else active)
    return raised.value.message


@pytest.mark.parametrize(
    ("datatype", "data", "elements"),
    [
        ("FP32", "[1, 2.5, -3e2]", [1, 2.5, -300]),
        ("FP64", "[0.1]", [0.1]),
        ("FP16", "[0.5, 65504, 1e9]", [0.5, 65504, np.inf]),
        ("BF16", "[1.5, -2]", [1.5, -2]),
        ("INT8", "[-128, 127]", [-128, 127]),
        ("INT16", "[-32768]", [-32768]),
        ("INT32", "[2147483647]", [2147483647]),
        ("INT64", "[-9223372036854775808, 9223372036854775807]", [-(1 << 63), (1 << 63) - 1]),
        ("UINT8", "[255, 0]", [255, 0]),
        ("UINT16", "[65535]", [65535]),
        ("UINT32", "[4294967295]", [4294967295]),
        ("UINT64", "[18446744073709551615]", [(1 << 64) - 1]),
        ("BOOL", "[true, false]", [True, False]),
        ("BYTES", '["a", "", "\\u00e9\\n", "é"]', [b"a", b"", b"\xc3\xa9\n", b"\xc3\xa9"]),
    ],
)
def test_elements_of_every_datatype_are_read(datatype: str, data: str, elements: list[Any]) -> None:
    for request in readings(one(data, [len(elements)], datatype)):
        (input_,) = request.inputs
        assert input_.array is not None
        assert input_.array.dtype == numpy_dtype(DATATYPES[datatype])
        assert input_.array.tolist() == elements
        assert (input_.name, input_.datatype, input_.shape) == ("x", datatype, (len(elements),))


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_is_no_number_is_read_as_clients_write_it(datatype: str) -> None:
    for request in readings(one("[[NaN, 1], [Infinity, -Infinity]]", [2, 2], datatype)):
        array = request.inputs[0].array
        np.testing.assert_array_equal(array, [[np.nan, 1], [np.inf, -np.inf]])


@pytest.mark.parametrize(
    "data", ["[1, 2, 3, 4]", "[[1, 2], [3, 4]]", "[[1, 2, 3], [4]]", "[[[[1]], 2], 3, 4]"]
)
@pytest.mark.parametrize("datatype", ["FP32", "INT8"])
def test_elements_are_taken_in_their_order_however_they_are_nested(
    data: str, datatype: str
) -> None:
    for request in readings(one(data, [2, 2], datatype)):
        assert request.inputs[0].array is not None
        assert request.inputs[0].array.tolist() == [[1, 2], [3, 4]]


def test_all_that_a_request_says_is_read() -> None:
    said = {
        "id": "7",
        "parameters": {"a": 1, "b": True, "c": "x", "d": 0.5},
        "inputs": [
            {"name": "x", "shape": [], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
            {"name": "y", "shape": [0], "datatype": "INT8", "data": [], "unknown": {"deep": []}},
        ],
        "outputs": [{"name": "z", "parameters": {"classification": 2}}, {"name": "w"}],
        "unknown": None,
    }
    for request in readings(json.dumps(said).encode()):
        assert (request.id, request.parameters) == ("7", said["parameters"])
        x, y = request.inputs
        assert (x.array, x.shape, x.parameters) == (None, (), {"binary_data_size": 4})
        assert y.array is not None
        assert (y.array.shape, y.parameters) == ((0,), {})
        assert [(of.name, of.parameters) for of in request.outputs] == [
            ("z", {"classification": 2}),
            ("w", {}),
        ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "failed to parse the request JSON buffer: The document is empty"),
        (b"[]", "failed to parse the request JSON buffer: the request is not an object"),
        (b"{", "failed to parse the request JSON buffer: Missing a name for object member"),
        (b'{"id":"\xff"}', "Unable to parse 'inputs'"),
        (b"{}", "Unable to parse 'inputs'"),
        (b'{"inputs":{}}', "Unable to parse 'inputs'"),
        (b'{"inputs":[],"inputs":[]}', "'inputs' is there twice in the request"),
        (b'{"inputs":[1]}', "an input is not an object"),
        (b'{"inputs":[],"id":7}', "Unable to parse 'id'"),
        (b'{"inputs":[],"outputs":1}', "Unable to parse 'outputs'"),
        (b'{"inputs":[],"outputs":[{}]}', "Unable to parse 'name'"),
        (b'{"inputs":[],"parameters":[]}', "'parameters' is not an object"),
        (b'{"inputs":[],"parameters":{"a":[]}}', "parameter 'a' has invalid type"),
        (b'{"inputs":[],"parameters":{"a":null}}', "parameter 'a' has invalid type"),
        (b'{"inputs":[{"shape":[1],"datatype":"FP32","data":[1]}]}', "Unable to parse 'name'"),
        (b'{"inputs":[{"name":"x","shape":[1],"data":[1]}]}', "Unable to parse 'datatype'"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1]}]}', "Unable to parse 'shape'"),
        (b'{"inputs":[{"name":"x","name":"y"}]}', "'name' is there twice in an input"),
        (one("[1]", [-1]), "invalid shape for input 'x'"),
        (one("[1]", [1] * 65), "invalid shape for input 'x'"),
        (one("[1]", [1 << 62, 4]), "exceed maximum size"),
        (one("[1]", [1 << 62]), "shape does not match true shape of 'data' field"),
        (one("[1, 2]", [1]), "shape does not match true shape of 'data' field"),
        (one("[]", [1]), "shape does not match true shape of 'data' field"),
        (one("[[]]", [1], "BYTES"), "shape does not match true shape of 'data' field"),
        (one('["a", "b"]', [1], "BYTES"), "shape does not match true shape of 'data' field"),
        (one("1", []), "Unable to parse 'data'"),
        (one("null", [1]), "Unable to parse 'data'"),
        (one("[null]", [1]), "Unable to parse 'data'"),
        (one('["1"]', [1]), "Unable to parse 'data'"),
        (one("[true]", [1]), "Unable to parse 'data'"),
        (one("[true]", [1], "INT32"), "Unable to parse 'data'"),
        (one("[1.0]", [1], "INT32"), "Unable to parse 'data'"),
        (one("[1]", [1], "BOOL"), "Unable to parse 'data'"),
        (one("[1]", [1], "BYTES"), "Unable to parse 'data'"),
        (one("[[1, {}]]", [2]), "Unable to parse 'data'"),
        (one("[128]", [1], "INT8"), "Unable to parse 'data'"),
        (one("[-1]", [1], "UINT8"), "Unable to parse 'data'"),
        (one("[-1]", [1], "UINT64"), "Unable to parse 'data'"),
        (one("[9223372036854775808]", [1], "INT64"), "Unable to parse 'data'"),
        (one("[99999999999999999999999]", [1], "UINT64"), "Unable to parse 'data'"),
        (one("[NaN]", [1], "INT32"), "Unable to parse 'data'"),
        (one("[1]", [1], "FP33"), "invalid datatype for input x: 'FP33'"),
    ],
)
def test_what_is_no_request_is_refused_in_words(text: bytes, told: str) -> None:
    assert told in message_of(text)
    if text.endswith(b"}") and len(text) > 2:
        assert told in message_of(padded(text), in_loop=False)


def test_a_name_with_a_null_byte_is_one_that_nobody_knows() -> None:
    tensor = '{"name":"x","\\u0000":1,"shape":[1],"datatype":"FP32","data":[1]}'
    text = f'{{"\\u0000":{{}},"inputs":[{tensor}],"parameters":{{"a\\u0000b":1}}}}'
    for request in readings(text.encode()):
        assert [each.name for each in request.inputs] == ["x"]


def test_deep_json_is_refused_in_words() -> None:
    deep = one("[" * 100_000 + "1" + "]" * 100_000, [1])
    assert "Unable to parse 'data'" in message_of(deep, in_loop=False)
    shallow = one("[" * 65 + "1" + "]" * 65, [1], "BYTES")
    assert "Unable to parse 'data'" in message_of(shallow)
    assert "failed to parse" in message_of(b'{"inputs":' + b"[" * 100_000, in_loop=False)


def test_too_many_parts_are_refused() -> None:
    many = json.dumps({"inputs": [{"name": "x"}] * 2000}).encode()
    assert "Unable to parse 'datatype'" in message_of(many, in_loop=False)
    few = b'{"name":"x","shape":[],"datatype":"FP32"}'
    assert "more than 1000 inputs" in message_of(
        b'{"inputs":[%b]}' % b",".join([few] * 1001), in_loop=False
    )
    names = ",".join(f'"{index}":0' for index in range(1001))
    text = f'{{"inputs":[],"parameters":{{{names}}}}}'.encode()
    assert "more than 1000 members" in message_of(text, in_loop=False)


def test_what_takes_long_is_left_to_another_thread() -> None:
    for text in (
        one(json.dumps(["a"] * 1000), [1000], "BYTES"),
        one(json.dumps([True] * 1000), [1000], "BOOL"),
        one("[NaN" + ",1" * 1999 + "]", [2000]),
    ):
        with pytest.raises(TakesLong):
            read_infer_request(text)
        assert read_infer_request(text, active).inputs[0].array is not None
    numbers = one(json.dumps([1.5] * 10_000), [10_000])
    assert read_infer_request(numbers).inputs[0].array is not None


def test_who_has_left_ends_the_reading() -> None:
    asked = []

    def leaves() -> bool:
        asked.append(1)
        return len(asked) < 3

    with pytest.raises(Cancelled):
        read_infer_request(one(json.dumps(["a"] * 1000), [1000], "BYTES"), leaves)


@pytest.mark.parametrize(
    ("data", "datatype"),
    [
        ("[" + "[]," * 200_000 + "[]]", "FP32"),
        ("[" + "[]," * 200_000 + "[]]", "BYTES"),
        ("[" + "{}," * 200_000 + "{}]", "BOOL"),
    ],
)
def test_a_body_does_not_become_many_times_its_size(data: str, datatype: str) -> None:
    text = one(data, [1], datatype)
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument):
            read_infer_request(text, active)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


NUMBERS = st.lists(
    st.one_of(st.integers(-(1 << 65), 1 << 65), st.floats(width=32), st.booleans(), st.none()),
    max_size=6,
)


@given(NUMBERS, st.sampled_from(sorted(DATATYPES)), st.integers(0, 7))
@settings(max_examples=300)
def test_every_reader_makes_the_same_of_a_tensor(data: list[Any], datatype: str, size: int) -> None:
    text = one(json.dumps(data), [size], datatype)
    assert outcome_of(text, in_loop=True) == outcome_of(padded(text), in_loop=False)


def outcome_of(text: bytes, *, in_loop: bool) -> Any:
    try:
        array = read_infer_request(text, None if in_loop else active).inputs[0].array
    except InvalidArgument as error:
        return error.message
    assert array is not None
    return array.dtype, array.shape, array.tobytes()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused(text: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read_infer_request(text)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
@settings(max_examples=300)
def test_a_request_with_a_few_bytes_changed_is_a_request_or_refused(at: int, new: bytes) -> None:
    text = (
        b'{"id":"i","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[[1.5,2]],'
        b'"parameters":{"a":1}}],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}'
    )
    changed = text[:at] + new + text[at + len(new) :]
    try:
        request = read_infer_request(changed)
    except InvalidArgument:
        return
    for each in request.inputs:
        assert each.array is None or each.array.shape == each.shape


def test_a_parser_is_used_again_only_when_it_is_free() -> None:
    text = one(json.dumps([0.5] * 4000), [4000])
    first = read_infer_request(text, active)
    second = read_infer_request(text.replace(b"0.5", b"1.5"), active)
    assert first.inputs[0].array is not None
    assert second.inputs[0].array is not None
    assert (first.inputs[0].array[0], second.inputs[0].array[0]) == (0.5, 1.5)
    doubles = read_infer_request(one(json.dumps([0.5] * 4000), [4000], "FP64"), active)
    read_infer_request(text.replace(b"0.5", b"1.5"), active)
    assert doubles.inputs[0].array is not None
    assert doubles.inputs[0].array.tolist() == [0.5] * 4000


def test_what_is_longer_than_is_read_in_one_step_is_read_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_request, "_LARGEST_WHOLE_BYTES", 100_000)
    numbers = json.dumps([[index, index + 0.5] for index in range(20_000)])
    two = (
        '{"inputs":[{"name":"x","shape":[40000],"datatype":"FP32","data":%s},'
        '{"data":%s,"name":"s","datatype":"INT64","shape":[30000]},'
        '{"name":"t","shape":[2],"datatype":"BYTES","data":["a","b"]}],"id":"i"}'
    )
    text = (two % (numbers, json.dumps(list(range(30_000))))).encode()
    request = read_infer_request(text, active)
    x, s, t = (each.array for each in request.inputs)
    assert x is not None
    assert s is not None
    assert t is not None
    assert x.tolist()[-2:] == [19999, 19999.5]
    assert s.tolist() == list(range(30_000))
    assert t.tolist() == [b"a", b"b"]
    assert request.id == "i"
    strings = one(json.dumps(["ab"] * 30_000), [30_000], "BYTES")
    array = read_infer_request(strings, active).inputs[0].array
    assert array is not None
    assert array.tolist() == [b"ab"] * 30_000


def test_bfloat16_has_numbers_in_json() -> None:
    array = read_infer_request(one("[1.25]", [1], "BF16")).inputs[0].array
    assert array is not None
    assert array.dtype == ml_dtypes.bfloat16


def test_an_empty_body_is_told_the_form_of_a_request() -> None:
    with pytest.raises(InvalidArgument) as raised:
        read_infer_request(b" ")
    assert raised.value.hint is not None
    assert raised.value.hint.startswith('The body is empty. A request is {"inputs": [')
