import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from salver.codecs import json_exact
from salver.codecs.json_tree import read_tree
from salver.codecs.json_value import Pairs, debug_text
from salver.errors import InvalidArgument


def answer(body: bytes, reader: object) -> str:
    try:
        return debug_text(reader(body))  # type: ignore[operator]
    except InvalidArgument as error:
        return error.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [1, 2.5, NaN, -Infinity, "\\u00e9"]}',
        b"\xef\xbb\xbf {}",
        b'{"a": 1} and more',
        b'{"a": 1, "a": 2}',
        # What only the exact parser reads, or knows how to refuse.
        b'{"a": [Inf, -NaN]}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc80"}',
        b'{"a": 1e400}',
        b'{"a": 1E+400}',
        b'{"a": ' + b"7" * 400 + b"}",
        b'{"a": ' + b"7" * 5000 + b"}",
        b'{"a": 18446744073709551616}',
        b"1.x",
        b"01",
        b"[1] 2",
        b'"a" b',
        b"NaN.5",
        b"",
        b" ",
        b"{",
        b'{"a": [1, 2}',
        b'{"a": 1}\xff',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_reads_as_the_exact_parser_does(body: bytes) -> None:
    assert answer(body, read_tree) == answer(body, json_exact.parse)


def test_nan_and_infinity_are_numbers() -> None:
    [nan, infinity] = read_tree(b'{"a": [NaN, -Infinity]}')["a"]
    assert math.isnan(nan)
    assert infinity == -math.inf


def test_repeated_keys_are_kept() -> None:
    assert isinstance(read_tree(b'{"a": 1, "a": 2}'), Pairs)


FRAGMENTS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"a":', b'"b"', b'"', b"\\", b"\\u00e9", b"\\ud800",
    b"\\udc00", b"1", b"0", b"-", b"-0", b"1.5", b".", b"e", b"E+", b"1e22", b"e400", b"NaN",
    b"Inf", b"Infinity", b"null", b"true", b"fal", b"\x00", b"\xff", b"\xef\xbb\xbf", b" ",
    b"\n", b"\x01", b"x", b"18446744073709551616", b'{"a":[1,2],"b":{}}',
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join))
@example(b'{"a":1}')
def test_whatever_the_body_it_reads_as_the_exact_parser_does(body: bytes) -> None:
    assert answer(body, read_tree) == answer(body, json_exact.parse)
    wrapped = b'{"a":[' + body + b"]}"
    assert answer(wrapped, read_tree) == answer(wrapped, json_exact.parse)
