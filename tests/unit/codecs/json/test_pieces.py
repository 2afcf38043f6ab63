import tracemalloc
from typing import Any

import numpy as np
import pytest
from tests.json_bodies import Body, inputs_by, signature

from salver.codecs.json import pieces as json_pieces
from salver.codecs.json.pieces import read_pieces
from salver.codecs.json.reading import Reading, Source
from salver.errors import Cancelled
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.signature import Signature

FLOAT = signature(x=DataType.FLOAT32)


@pytest.fixture(params=[6, 20, 1 << 20])
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Cut in the middle of rows, between them, and not at all."""
    monkeypatch.setattr(json_pieces, "_PIECE_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("piece_bytes")
@pytest.mark.parametrize(
    ("text", "array"),
    [
        ("[1.5,2,3,4,5,6]", [1.5, 2, 3, 4, 5, 6]),
        ("[[1,2,3],[4,5,6],[7,8,9]]", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        ("[[1, 2, 3], [4, 5, 6], [7, 8, 9]]", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        ("[[[1,2],[3,4]],[[5,6],[7,8]]]", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        ("[[[1,2,3,4,5,6,7,8,9]]]", [[[1, 2, 3, 4, 5, 6, 7, 8, 9]]]),
        ("[[1],[2],[3],[4],[5],[6],[7]]", [[1], [2], [3], [4], [5], [6], [7]]),
    ],
)
@pytest.mark.parametrize("dtype", [DataType.FLOAT32, DataType.FLOAT64])
def test_a_large_tensor_is_read_however_it_is_cut(text: str, array: Any, dtype: DataType) -> None:
    for key in ("instances", "inputs"):
        found = inputs_by(read_pieces, f'{{"{key}": {text}}}'.encode(), signature(x=dtype))
        assert found is not None
        assert found.is_row == (key == "instances")
        assert found.arrays[0].dtype == numpy_dtype(dtype)
        assert found.arrays[0].tolist() == array


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"signature_name": "s", "instances": [1,2,3]}', "s"),
        (b'{"instances": [1,2,3], "signature_name": "s"}', "s"),
        (b'{"signature_name": "s", "instances": [1,2,3], "signature_name": "t"}', "s"),
        (b'{"instances": [1,2,3]}', ""),
    ],
)
def test_the_first_signature_name_counts(body: bytes, name: str) -> None:
    reading = read_pieces(Body(body))
    assert reading is not None
    assert reading.signature_name == name


@pytest.mark.usefixtures("piece_bytes")
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"instances": [1,2,3,NaN,5]}', FLOAT),
        (b'{"instances": [1,2,3,,5]}', FLOAT),
        (b'{"instances": [1,2,3,4,5,]}', FLOAT),
        (b'{"instances": [1,2,3,4,5]]}', FLOAT),
        (b'{"instances": [1,2,3,4,"5"]}', FLOAT),
        (b'{"instances": [[1,2,3],[4,5]]}', FLOAT),
        (b'{"instances": [[1,2,3],4,[5,6,7]]}', FLOAT),
        (b'{"instances": [[1,2,3],[4,[5],6]]}', FLOAT),
        (b'{"instances": [[[1,2],[3,4]],[[5,6]]]}', FLOAT),
        (b'{"instances": [[[1,2],[3,4]],[[5,6],7]]}', FLOAT),
        (b'{"instances": [[1,2,3],[4,5,6]x]}', FLOAT),
        (b'{"instances": [[1,2,3]x,[4,5,6]]}', FLOAT),
        (b'{"instances": [1,2,3,4,5], "more": [1]}', FLOAT),
        (b'{"instances": [{"x": [1,2,3,4,5]}]}', FLOAT),
        (b'{"inputs": {"x": [1,2,3,4,5]}}', FLOAT),
        (b'{"instances": [1,2,3,4.5,6]}', signature(x=DataType.INT32)),
        (b'{"instances": [1,2,3,4,5]}', signature(x=DataType.STRING)),
        (b'{"instances": [1,2,3,4,5]}', signature(x=DataType.FLOAT32, y=DataType.FLOAT32)),
        (b'{"instances": ' + b"[" * 65 + b"1" + b"]" * 65 + b"}", FLOAT),
        (b'{"signature_name": "\xff", "instances": [1,2,3,4,5]}', FLOAT),
    ],
)
def test_what_is_no_regular_tensor_is_left_to_others(body: bytes, wanted: Signature) -> None:
    assert inputs_by(read_pieces, body, wanted) is None


@pytest.mark.parametrize("asked", [0, 2])
def test_reading_ends_when_the_body_is_not_wanted_any_more(asked: int) -> None:
    left = [True] * asked

    def is_active() -> bool:
        return bool(left) and left.pop()

    body = b'{"instances": [%b1]}' % (b"1.25," * (1 << 18))

    def reader(source: Source) -> Reading | None:
        return read_pieces(Body(source.body, is_active))

    with pytest.raises(Cancelled):
        inputs_by(reader, body, FLOAT)


def test_memory_is_that_of_the_array_and_a_few_pieces() -> None:
    numbers = np.arange(4_000_000, dtype=np.float32).reshape(-1, 4)
    body = b'{"instances": %b}' % str(numbers.astype(int).tolist()).encode()
    tracemalloc.start()
    try:
        found = inputs_by(read_pieces, body, FLOAT)
        assert tracemalloc.get_traced_memory()[1] < 2 * numbers.nbytes + (8 << 20)
    finally:
        tracemalloc.stop()
    assert found is not None
    np.testing.assert_array_equal(found.arrays[0], numbers)
