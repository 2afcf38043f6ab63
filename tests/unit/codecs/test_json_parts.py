from collections.abc import Iterable
from typing import Any

import pytest

from salver.codecs import json_flat
from salver.codecs.json_parts import part_arrays
from salver.dtypes import DataType
from salver.signature import Signature, TensorSpec


class Rows:
    """Some rows, written out."""

    def __init__(self, text: bytes, *, is_long: bool = False) -> None:
        self.count = 0
        self.is_long = is_long
        self._text = text

    def text(self) -> bytes:
        return self._text

    def values(self) -> Iterable[Any]:
        raise AssertionError


def signature(**inputs: DataType) -> Signature:
    specs = {name: TensorSpec(f"{name}:0", inputs[name], None) for name in sorted(inputs)}
    return Signature(specs, {})


FLOAT = signature(x=DataType.FLOAT)
STRING = signature(x=DataType.STRING)


def read(rows: Rows, wanted: Signature, *, is_named: bool) -> list[Any] | None:
    found = part_arrays(rows, wanted, is_named=is_named)
    return None if found is None else [array.tolist() for array in found]


@pytest.mark.parametrize(
    ("text", "wanted", "is_named", "arrays"),
    [
        (b"1,2", FLOAT, False, [[1, 2]]),
        (b"[1],[2]", FLOAT, False, [[[1], [2]]]),
        (b'{"x":1},{"x":2}', FLOAT, True, [[1, 2]]),
        (b'{"x":[1,2]},{"x":[3,4]}', FLOAT, True, [[[1, 2], [3, 4]]]),
        (b"Infinity,1", FLOAT, False, [[float("inf"), 1]]),
        (b'"a","\\u00e9"', STRING, False, [[b"a", "é".encode()]]),
        (b'{"b64":"aGk="}', STRING, False, [[b"hi"]]),
        # Of the other form, or in doubt.
        (b"1,2", FLOAT, True, None),
        (b'{"x":1},{"x":2}', FLOAT, False, None),
        (b'{"x":[1,2]},{"x":[3,4]}', FLOAT, False, None),
        (b'{"b64":"aGk="}', STRING, True, None),
        (b"[1],[2,3]", FLOAT, False, None),
        (b'"a"', FLOAT, False, None),
        (b'{"x":1,"x":2}', FLOAT, True, None),
    ],
)
def test_rows_are_read_by_the_quick_ways_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
    text: bytes,
    wanted: Signature,
    is_named: bool,
    arrays: list[Any] | None,
) -> None:
    for smallest in (0, 10**9):
        monkeypatch.setattr(json_flat, "_SMALLEST_NAMED_ROW_BYTES", smallest)
        assert read(Rows(text), wanted, is_named=is_named) == arrays


def test_a_row_that_is_long_itself_is_not_read_at_once() -> None:
    assert read(Rows(b"[1]", is_long=True), FLOAT, is_named=False) is None
