import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.backends.xgboost.ubjson import read_ubjson
from salver.errors import DataLoss


def length(size: int) -> bytes:
    return b"L" + struct.pack(">q", size)


def text(value: str) -> bytes:
    return length(len(value.encode())) + value.encode()


def item(name: str, value: bytes) -> bytes:
    return text(name) + value


WHOLE = b"".join(
    [
        b"{",
        item("text", b"S" + text("ä")),
        item("words", b"[TFZ]"),
        item("counted", b"[#" + length(2) + b"i\xff" + b"U\xff"),
        item("numbers", b"[$l#" + length(2) + struct.pack(">ii", -1, 7)),
        item("floats", b"[$d#" + length(1) + struct.pack(">f", 0.5)),
        item("inner", b"{" + item("x", b"I" + struct.pack(">h", -300)) + b"}"),
        item("real", b"D" + struct.pack(">d", 0.1)),
        b"}",
    ]
)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_each_kind_of_value_is_read() -> None:
    assert plain(read_ubjson(WHOLE)) == {
        "text": "ä",
        "words": [True, False, None],
        "counted": [-1, 255],
        "numbers": [-1, 7],
        "floats": [0.5],
        "inner": {"x": -300},
        "real": 0.1,
    }


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_what_was_cut_is_refused(size: int) -> None:
    with pytest.raises(DataLoss):
        read_ubjson(WHOLE[:size])


@pytest.mark.parametrize(
    "data",
    [
        b"{" + length(-1),
        b"{" + length(1 << 60) + b"x",
        b"{Sx",
        b"[#" + length(1 << 60),
        b"[$l#" + length(1 << 61) + b"1234",
        b"[$S#" + length(1) + b"1234",
        b"[$l]",
        b"{" + item("x", b"Z") + item("x", b"Z") + b"}",
        b"{" + length(1) + b"\xffZ}",
        b"[" * 100_000,
        b"TT",
        b"{d" + struct.pack(">f", 1.0) + b"xZ}",
    ],
)
def test_what_leads_out_of_the_file_or_too_deep_is_refused(data: bytes) -> None:
    with pytest.raises(DataLoss):
        read_ubjson(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(DataLoss):
        read_ubjson(b"{" + data)


def test_a_file_of_the_library_says_the_same_as_its_json(model_path: Callable[[str], Path]) -> None:
    import json

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rounded(each) for name, each in value.items()}
        if isinstance(value, (list, np.ndarray)):
            return [rounded(each) for each in list(value)]
        return value if isinstance(value, str) else np.float32(value).item()

    ubj = read_ubjson((model_path("xgboost_table_ubj") / "1" / "model.ubj").read_bytes())
    text = (model_path("xgboost_table_json") / "1" / "model.json").read_text()
    assert rounded(ubj) == rounded(json.loads(text))
