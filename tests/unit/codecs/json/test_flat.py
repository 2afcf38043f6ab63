import json
from typing import Any

import numpy as np
import pytest
from tests.json_bodies import Body, signature

from salver.codecs.json import flat as json_flat
from salver.codecs.json.flat import FlatBody, read_flat
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.signature import Signature

FLOAT = signature(x=DataType.FLOAT32)
TWO = signature(a=DataType.FLOAT32, b1=DataType.INT32)


@pytest.fixture(autouse=True, params=[0, 1 << 30], ids=["by lengths", "by text"])
def small_rows_too(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_flat, "_SMALLEST_NAMED_ROW_BYTES", 0)
    monkeypatch.setattr(json_flat, "_BYTES_A_LENGTH", request.param)


def flat_document(body: bytes) -> FlatBody | None:
    return read_flat(Body(body))


def read(body: bytes, wanted: Signature) -> list[Any] | None:
    document = flat_document(body)
    found = document.inputs(wanted.inputs) if document else None
    return None if found is None else [array.tolist() for array in found.arrays]


@pytest.mark.parametrize(
    ("body", "wanted", "arrays"),
    [
        (b'{"instances":[1.5,2]}', FLOAT, [[1.5, 2]]),
        (b'\n{ "instances" : [ [ 1e2, -2 ] , [ 3 , 4 ] ] } ', FLOAT, [[[100, -2], [3, 4]]]),
        (b'{"instances":[[[1],[2]],[[3],[4]]]}', FLOAT, [[[[1], [2]], [[3], [4]]]]),
        (b'{"instances":[[[1,2]]]}', FLOAT, [[[[1, 2]]]]),
        (b'{"inputs":[1,2]}', FLOAT, [[1, 2]]),
        (b'{"instances":[1e39,-1e39]}', FLOAT, [[np.inf, -np.inf]]),
        (b'{"signature_name":"e5","instances":[[1],[2]]}', FLOAT, [[[1], [2]]]),
        (b'{"instances":[[1],[2]] , "signature_name" : "e5" }', FLOAT, [[[1], [2]]]),
        (b'{"instances":[{"x":[1,2]},{"x":[3,4]}]}', FLOAT, [[[1, 2], [3, 4]]]),
        (b'{"instances":[{"x":[1,2]}]}', FLOAT, [[[1, 2]]]),
        (b'{"instances":[{"b1":[1],"a":[2,3]}]}', TWO, [[[2, 3]], [[1]]]),
        (b'{"inputs":{"a":[1,2],"b1":[[3]]}}', TWO, [[1, 2], [[3]]]),
        (b'{ "inputs" : {"b1" : [1],"a":[[2]] } , "signature_name":"s"}', TWO, [[[2]], [1]]),
        (b'{"inputs":{"a":[1],"b1":[]}}', TWO, [[1], []]),
    ],
)  # fmt: skip
def test_regular_tensors_are_read(body: bytes, wanted: Signature, arrays: list[Any]) -> None:
    assert read(body, wanted) == arrays


@pytest.mark.parametrize("dtype", [
    DataType.FLOAT32, DataType.FLOAT64, DataType.FLOAT16, DataType.BFLOAT16, DataType.INT8,
    DataType.UINT8, DataType.INT16, DataType.INT32, DataType.INT64, DataType.UINT32,
    DataType.UINT64,
])  # fmt: skip
def test_every_numeric_dtype_is_made(dtype: DataType) -> None:
    document = flat_document(b'{"instances":[[1,2],[3,4]]}')
    assert document is not None
    found = document.inputs(signature(x=dtype).inputs)
    assert found is not None
    assert found.is_row
    [array] = found.arrays
    assert array.dtype == numpy_dtype(dtype)
    assert array.flags.c_contiguous
    assert array.astype(np.float64).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[]}',
        b'{"instances":["a"]}',
        b'{"instances":[true]}',
        b'{"instances":5}',
        b'{"data":[1]}',
        b"[1]",
        b'{"instances":[1],"other":1}',
        b'{"inputs":[1]}}',
        b'{"inputs":{"a":[1],"b1":2}}',
        b'{"instances":[{"x":1}]}',
        b'{"instances":[1,]}',
        b'{"instances":[1e400]}',
        b'{"instances":[' + b"9" * 30 + b"]}",
        b'{"instances":[1],"signature_name":5}',
        b'{"instances":[1],"signature_name":5,"more":[1],"signature_name":"a"}',
        b'{"signature_name":"a\\n","instances":[1]}',
        b'{"instances":[1]',
        b'{"instances":[1,"\xff"]}',
    ],
)
def test_what_does_not_look_like_it_is_left_to_others(body: bytes) -> None:
    assert flat_document(body) is None


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        # Ragged in every way that leaves the number of numbers alone.
        (b'{"instances":[[1,2],[3,4,5,6]]}', FLOAT),
        (b'{"instances":[[1,2],[3],[4]]}', FLOAT),
        (b'{"instances":[[1,2,3],[4]]}', FLOAT),
        (b'{"instances":[1,[2]]}', FLOAT),
        (b'{"instances":[[1],2]}', FLOAT),
        (b'{"instances":[[1,[2]]]}', FLOAT),
        (b'{"instances":[[[1],2]]}', FLOAT),
        (b'{"instances":[1,[]]}', FLOAT),
        (b'{"instances":[[1,2],[3,[4]]]}', FLOAT),
        (b'{"instances":[[[1,2]],[[3],[4]]]}', FLOAT),
        # Not numbers, or not of this dtype.
        (b'{"instances":[1,true]}', FLOAT),
        (b'{"instances":[1,null]}', FLOAT),
        (b'{"instances":[1,"2"]}', FLOAT),
        (b'{"instances":[1,{}]}', FLOAT),
        (b'{"instances":[1,2.0]}', signature(x=DataType.INT32)),
        (b'{"instances":[2147483648]}', signature(x=DataType.INT8)),
        (b'{"instances":[-1]}', signature(x=DataType.UINT32)),
        (b'{"instances":[-1]}', signature(x=DataType.UINT64)),
        (b'{"instances":[9223372036854775808]}', signature(x=DataType.INT64)),
        (b'{"instances":[1]}', signature(x=DataType.STRING)),
        (b'{"instances":[1]}', signature(x=DataType.BOOL)),
        (b'{"instances":[1]}', TWO),
        # Other keys beside, or other values between.
        (b'{"instances":[1],"inputs":[1]}', FLOAT),
        (b'{"instances":[1],"other":[2]}', FLOAT),
        (b'{"instances":[[1],[2]],"other":[2]}', FLOAT),
        (b'{"instances":[[1],[2]],"instances":[[1],[2]]}', FLOAT),
        (b'{"instances":[[1],[2]],"1":[[1],[2]]}', FLOAT),
        (b'{"inputs":[{"x":[1]}],"other":{"x":[2]}}', FLOAT),
        (b'{"inputs":[{"x":[1]}],"instances":{"x":[2]}}', FLOAT),
        # Names.
        (b'{"instances":[{"y":[1]}]}', FLOAT),
        (b'{"instances":[{"x":[1]},{"y":[1]}]}', FLOAT),
        (b'{"instances":[{"x":[1]},[1]]}', FLOAT),
        (b'{"instances":[{"x":[1],"x":[2]}]}', FLOAT),
        (b'{"instances":[{"x":[1],"y":[2]}]}', FLOAT),
        (b'{"instances":[{"x":[1]},{"x":[1,2]}]}', FLOAT),
        (b'{"instances":[{"x":[1]},{"x":["2"]}]}', FLOAT),
        (b'{"instances":[{"x":[1]},5,{"x":[1]}]}', FLOAT),
        (b'{"instances":[{"x":[1.5]}]}', signature(x=DataType.INT32)),
        (b'{"instances":[{"x":[1],"\\u0078":[1]}]}', FLOAT),
        (b'{"inputs":{"x":[1],"x":[2]}}', FLOAT),
        (b'{"inputs":{"a":[1],"b1":[2.5]}}', TWO),
        (b'{"inputs":{"a":[1],"b1":[[2],[3,4]]}}', TWO),
        (b'{"instances":[{"a":[1],"b1":2,"c":[1]}]}', TWO),
        (b'{"instances":[{"a":[1],"b1":2},{"a":[1],"b1":[2]}]}', TWO),
    ],
)  # fmt: skip
def test_what_is_not_what_it_looks_like_is_left_to_others(body: bytes, wanted: Signature) -> None:
    assert read(body, wanted) is None


def test_names_that_differ_only_in_what_numbers_are_made_of_are_told_apart() -> None:
    wanted = signature(e1=DataType.FLOAT32, e2=DataType.FLOAT32)
    body = b'{"instances":[{"e1":[[1,2]],"e2":[[3],[4]]},{"e2":[[5,6]],"e1":[[7],[8]]}]}'
    assert read(body, wanted) is None
    body = b'{"instances":[{"e1":[1],"e2":[2]},{"e1":[3],"e2":[4]}]}'
    assert read(body, wanted) == [[[1], [3]], [[2], [4]]]


def test_small_rows_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_flat, "_SMALLEST_NAMED_ROW_BYTES", 100)
    assert flat_document(b'{"instances":[{"x":[1,2]},{"x":[3,4]}]}') is None
    assert flat_document(b'{"instances":[{"x":[1%s]}]}' % (b",1" * 50)) is not None


def test_the_first_signature_name_counts() -> None:
    body = b'{"signature_name":"a","instances":[1],"signature_name":"b"}'
    document = flat_document(body)
    assert document is not None
    assert document.signature_name == "a"
    document = flat_document(b'{"instances":[1],"signature_name":"b"}')
    assert document is not None
    assert document.signature_name == "b"


def test_inputs_can_be_asked_once() -> None:
    document = flat_document(b'{"instances":[1]}')
    assert document is not None
    assert document.inputs(FLOAT.inputs) is not None
    assert document.inputs(FLOAT.inputs) is None


def test_arrays_outlive_the_parser_that_read_them() -> None:
    kept = []
    for number in range(20):
        body = json.dumps({"instances": [number + 0.5] * 1000}).encode()
        document = flat_document(body)
        assert document is not None
        found = document.inputs(signature(x=DataType.FLOAT64).inputs)
        assert found is not None
        kept.append(found.arrays[0])
    assert [array[999] for array in kept] == [number + 0.5 for number in range(20)]


def test_documents_in_hand_at_the_same_time_keep_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_flat, "_LARGEST_KEPT_BODY_BYTES", 30)
    bodies = [json.dumps({"instances": [float(n)] * (n + 1)}).encode() for n in range(12)]
    documents = [flat_document(body) for body in bodies]
    for number, document in enumerate(documents):
        assert document is not None
        found = document.inputs(FLOAT.inputs)
        assert found is not None
        assert found.arrays[0].tolist() == [number] * (number + 1)


@pytest.mark.parametrize(
    "ragged",
    [
        b"[[1,2],3,[[4,5,6]]]",  # as many numbers and lists as in three rows of two
        b"[[1,2],[3],[4,5,6]]",
        b"[[1,2],[[3],4]]",
        b"[[[1],[2]],[3,[4]]]",
    ],
)
def test_ragged_lists_of_the_right_size_are_left_to_others(ragged: bytes) -> None:
    assert read(b'{"instances":%b}' % ragged, FLOAT) is None
