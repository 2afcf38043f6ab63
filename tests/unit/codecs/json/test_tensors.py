import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs.json import tensors as json_tensors
from salver.codecs.json.response import encode_predict, encode_predict_in_parts
from salver.codecs.json.tensors import MOST_AT_ONCE, gathered, number_text, tensor_pieces, weight_of
from salver.errors import Cancelled, InvalidArgument
from salver.vocabulary.requests import Array

SHAPES = [
    (),
    (0,),
    (7,),
    (1, 0),
    (5, 0, 3),
    (0, 5),
    (3, 4),
    (40, 3),
    (3, 40),
    (1, 1, 1, 33),
    (2, 5, 1, 7),
    (17, 1),
    (1,) * 64,
]


def nothing() -> None:
    """A check that finds nothing."""


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_tensors, "MOST_AT_ONCE", 8)
    monkeypatch.setattr("salver.codecs.json.response.MOST_AT_ONCE", 8)


def of_shape(shape: tuple[int, ...], dtype: Any) -> Array:
    size = int(np.prod(shape))
    if dtype is object:
        array = np.empty(size, object)
        array[:] = [b'%d"\n' % number for number in range(size)]
        return array.reshape(shape)
    flat = (np.arange(size) % 100 - 3).astype(dtype)
    return flat.reshape(shape)


def whole(outputs: list[tuple[str, Array]], is_row: bool) -> bytes:
    return b"".join(encode_predict_in_parts(outputs, is_row, nothing))


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, ml_dtypes.bfloat16, object])
def test_slices_make_the_text_that_is_made_at_once(
    shape: tuple[int, ...], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = of_shape(shape, dtype)
    pieces = b"".join(tensor_pieces("y_bytes", array, nothing))
    in_slices = [whole([("y_bytes", array)], is_row=False)]
    if shape:
        in_slices.append(whole([("y_bytes", array)], is_row=True))
    monkeypatch.undo()
    at_once = [encode_predict([("y_bytes", array)], is_row=False)]
    if shape:
        at_once.append(encode_predict([("y_bytes", array)], is_row=True))
    assert in_slices == at_once
    assert pieces in at_once[0]


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("rows", [0, 1, 3, 20])
def test_rows_of_several_outputs_are_sliced_alike(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for inner in ((), (2,), (3, 5), (0,)):
        outputs = [
            ("y", of_shape((rows, *inner), np.float32)),
            ("a%s", of_shape((rows,), np.int32)),
            ("n", of_shape((rows, 2), object)),
        ]
        in_slices = [whole(outputs, is_row) for is_row in (True, False)]
        with monkeypatch.context() as usual:
            usual.setattr(json_tensors, "MOST_AT_ONCE", 1 << 20)
            at_once = [encode_predict(outputs, is_row) for is_row in (True, False)]
        assert in_slices == at_once


@pytest.mark.usefixtures("small_slices")
def test_numbers_that_are_none_stand_in_their_slices() -> None:
    array = np.arange(50, dtype=np.float64)
    array[[0, 9, 49]] = np.nan, np.inf, -np.inf
    assert json.loads(number_text(array))[9] == float("inf")
    assert number_text(array).startswith(b"[NaN,1.0,")
    assert number_text(array).endswith(b",48.0,-Infinity]")


@pytest.mark.usefixtures("small_slices")
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=4),
    st.sampled_from([np.float16, np.float64, np.int8, np.uint64]),
    st.booleans(),
)
def test_any_tensor_is_written_as_python_would(
    shape: list[int], dtype: Any, is_transposed: bool
) -> None:
    array = of_shape(tuple(shape), dtype)
    if is_transposed:
        array = array.T
    assert json.loads(number_text(array)) == array.tolist()


def test_a_large_tensor_is_sliced_and_a_small_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(json_tensors, "unfilled_bytes", lambda size: asked.append(size))
    number_text(np.zeros(MOST_AT_ONCE, np.float32))
    assert asked == []
    number_text(np.zeros((3, MOST_AT_ONCE), np.float32))
    assert len(asked) == 3
    assert all(size >= 4 * MOST_AT_ONCE for size in asked)


def test_who_does_not_want_it_any_more_is_noticed_at_the_next_slice() -> None:
    checks: list[None] = []

    def check() -> None:
        checks.append(None)
        if len(checks) == 3:
            raise Cancelled

    outputs = [("y", np.zeros((100, MOST_AT_ONCE), np.float32))]
    for is_row in (True, False):
        checks.clear()
        with pytest.raises(Cancelled):
            encode_predict_in_parts(outputs, is_row, check)
        assert len(checks) == 3
    several = [*outputs, ("z", np.zeros(100, np.int32))]
    for is_row in (True, False):
        checks.clear()
        with pytest.raises(Cancelled):
            encode_predict_in_parts(several, is_row, check)


def test_no_room_for_a_slice_is_an_error_and_not_the_end_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(size: int) -> None:
        raise MemoryError

    monkeypatch.setattr(json_tensors, "unfilled_bytes", full)
    with pytest.raises(MemoryError):
        number_text(np.zeros((3, MOST_AT_ONCE), np.float32))


def test_what_json_has_no_form_for_is_refused_in_slices_too() -> None:
    array = np.zeros((3, MOST_AT_ONCE), np.complex64)
    with pytest.raises(InvalidArgument, match="tensor type: complex64"):
        encode_predict_in_parts([("y", array)], True, nothing)


def test_batches_of_different_sizes_are_refused_in_parts_too() -> None:
    outputs = [("a", np.zeros(3)), ("b", np.zeros(4))]
    with pytest.raises(InvalidArgument, match="inconsistent batch size"):
        encode_predict_in_parts(outputs, True, nothing)
    with pytest.raises(InvalidArgument, match="empty tensor map"):
        encode_predict_in_parts([], True, nothing)


@pytest.mark.parametrize(
    ("shape", "weight"),
    [((), 1), ((0,), 1), ((3, 4), 12), ((5, 0, 7), 5), ((0, 9), 1), ((2**40, 0), 2**40)],
)
def test_empty_lists_have_a_weight(shape: tuple[int, ...], weight: int) -> None:
    assert weight_of(np.empty(shape, np.float32)) == weight


def test_pieces_are_gathered_into_parts_of_a_size_that_the_system_gets_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_tensors, "_PART_BYTES", 3 << 20)
    pieces = [bytes([number]) * (700 << 10) for number in range(20)]
    parts = gathered(iter(pieces))
    assert b"".join(parts) == b"".join(pieces)
    assert [len(part) >= 3 << 20 for part in parts] == [True] * 4
    assert gathered(iter([b"a", b"", b"b"])) == [b"ab"]
    assert gathered(iter([])) == []
