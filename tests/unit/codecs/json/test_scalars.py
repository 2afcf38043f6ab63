import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs.json.scalars import read_scalar
from salver.codecs.json.text import bytes_of
from salver.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "value", "end"),
    [
        (b"null,", None, 4),
        (b"true]", True, 4),
        (b"false", False, 5),
        (b"-12 ", -12, 3),
        (b"18446744073709551615", 2**64 - 1, 20),
        (b"18446744073709551616", 2.0**64, 20),
        (b"1.5e3x", 1500.0, 5),
        (b"-Infinity", -math.inf, 9),
        (b"Inf,", math.inf, 3),
        (b"NaN.5", 0.5, 5),
        (b"-NaN.5", -0.5, 6),
        (b"NaInf", math.inf, 5),
        (b'"a\\n\\u0041" ', "a\nA", 11),
        (b'"\\ud83d\\ude00"', "\U0001f600", 14),
        (b'"\\udc80"', b"\xed\xb2\x80".decode("utf-8", "surrogateescape"), 8),
        (b'"\xff"', "\udcff", 3),
    ],
)
def test_a_scalar_is_read_up_to_its_end(text: bytes, value: Any, end: int) -> None:
    found = read_scalar(b" " + text, 1)
    assert found == (value, 1 + end)
    assert type(found[0]) is type(value)


def test_nan_is_a_number_with_any_sign() -> None:
    for text in (b"NaN", b"-NaN"):
        value, end = read_scalar(text, 0)
        assert math.isnan(value)
        assert end == len(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"nul", "Invalid value. at offset: 3"),
        (b"t\x00", "Invalid value. at offset: 1"),
        (b"-", "Invalid value. at offset: 1"),
        (b"Na5", "Invalid value. at offset: 2"),
        (b"Infinitx", "Invalid value. at offset: 7"),
        (b"1.", "Miss fraction part in number. at offset: 2"),
        (b"1e+", "Miss exponent in number. at offset: 3"),
        (b"1e400", "Number too big to be stored in double. at offset: 0"),
        (b"9" * 5000, "Number too big to be stored in double. at offset: 0"),
        (b'"a', "Missing a closing quotation mark in string. at offset: 2"),
        (b'"a\x00', "Missing a closing quotation mark in string. at offset: 2"),
        (b'"a\x01', "Invalid escape character in string. at offset: 2"),
        (b'"\\x"', "Invalid escape character in string. at offset: 1"),
        (b'"\\u12x4"', "Incorrect hex digit after \\u escape in string. at offset: 1"),
        (b'"\\ud800x"', "The surrogate pair in string is invalid. at offset: 1"),
        (b'"\\ud800\\u0041"', "The surrogate pair in string is invalid. at offset: 1"),
    ],
)
def test_a_fault_is_named_with_its_offset(text: bytes, fault: str) -> None:
    for is_kept in (True, False):
        with pytest.raises(InvalidArgument) as refused:
            read_scalar(text, 0, is_kept=is_kept)
        assert refused.value.message == f"JSON Parse error: {fault}"


@given(st.lists(st.sampled_from([b"a", b"\xc3\xa9", b"\xff", b"\\n", b"\\u00e9", b"\\udc80"])))
def test_a_string_that_is_not_kept_is_read_as_far(pieces: list[bytes]) -> None:
    text = b'"%b"' % b"".join(pieces)
    value, end = read_scalar(text, 0)
    assert read_scalar(text, 0, is_kept=False)[1] == end == len(text)
    assert bytes_of(value).count(b"a") == pieces.count(b"a")
