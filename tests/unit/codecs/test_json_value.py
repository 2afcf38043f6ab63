import base64
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs import json_value
from salver.codecs.json_value import (
    MISSING,
    Pairs,
    base64_text,
    debug_text,
    decode_base64,
    find,
    is_integer,
    is_object,
    members,
    object_of,
    type_name,
)
from salver.errors import InvalidArgument

PAIRS = [("a", 1), ("b", 2), ("a", 3)]
TWICE = Pairs(PAIRS)


def test_an_object_is_a_dict_unless_a_key_occurs_twice() -> None:
    assert object_of([("a", 1), ("b", 2)]) == {"a": 1, "b": 2}
    repeated = object_of(PAIRS)
    assert isinstance(repeated, Pairs)
    assert list(members(repeated)) == PAIRS
    assert list(members({"a": 1})) == [("a", 1)]


def test_the_first_of_repeated_keys_is_found() -> None:
    assert find(TWICE, "a") == 1
    assert find(TWICE, "c") is MISSING
    assert find({"a": None}, "a") is None
    assert find({"a": None}, "b") is MISSING


def test_only_dicts_and_repeated_keys_are_objects() -> None:
    values: list[Any] = [{}, TWICE, [], "", None, 1]
    assert [is_object(value) for value in values] == [True] * 2 + [False] * 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b64": "aGk="}, "aGk="),
        ({"b64": ""}, ""),
        ({"b64": 1}, None),
        ({"b64": "x", "c": 1}, None),
        ({"B64": "x"}, None),
        ({}, None),
        (Pairs([("b64", "x"), ("b64", "y")]), None),
        ("b64", None),
    ],
)
def test_base64_stands_in_an_object_of_one_key_and_a_string(value: Any, text: str | None) -> None:
    assert base64_text(value) == text


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "Null"),
        (False, "False"),
        (True, "True"),
        ({}, "Object"),
        (TWICE, "Object"),
        ([], "Array"),
        ("", "String"),
        (1, "Number"),
        (math.nan, "Number"),
    ],
)
def test_types_have_the_reference_s_names(value: Any, name: str) -> None:
    assert type_name(value) == name


def test_integers_past_64_bits_are_doubles() -> None:
    assert is_integer(2**64 - 1)
    assert is_integer(-(2**63))
    assert not is_integer(2**64)
    assert not is_integer(-(2**63) - 1)
    assert not is_integer(1.0)
    assert not is_integer(True)


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("", b""),
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        ("aGVsbG8.", b"hello"),
        (" aGVs\nbG8\t=\r\v\f", b"hello"),
        ("aA==", b"h"),
        ("aA", b"h"),
        ("aA= =", b"h"),
        ("aA.=", b"h"),
        ("aGkh", b"hi!"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("aB==", b"h"),  # the last bits need not be zero
    ],
)
def test_base64_is_read_as_the_reference_reads_it(text: str, raw: bytes) -> None:
    assert decode_base64(text) == raw


@pytest.mark.parametrize(
    "text",
    ["a", "aGVsb", "aA=", "aA===", "aGkh=", "aGkh==", "a===", "=", "aA==aA==", "a=A=", "_-_-",
     "aGk\x00", "aGké", "aGk!", "aG=k", "."],
)  # fmt: skip
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Unable to base64 decode$"):
        decode_base64(text)


@given(st.binary())
def test_base64_round_trips(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    assert decode_base64(text) == raw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_value, "_STEP_BYTES", 4)
        assert decode_base64(text) == decode_base64(text.rstrip("=")) == raw


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ("a\n\x01", r'"a\n\u0001"'),
        ("\udcff", '"\udcff"'),
        ([], "[]"),
        ([1, [2, "x"], []], '[1, [2, "x"], []]'),
        ({}, "{}"),
        ({"k": 1}, '{\n    "k": 1\n}'),
        ({"k": {"a": [1], "b": {}}}, '{\n    "k": {\n        "a": [1],\n        "b": {}\n    }\n}'),
        ([{"k": 1}], '[{\n        "k": 1\n    }]'),
        (TWICE, '{\n    "a": 1,\n    "b": 2,\n    "a": 3\n}'),
        (2**64 - 1, "18446744073709551615"),
        (-(2**63), "-9223372036854775808"),
        (2**64, "18446744073709552000.0"),
        (math.nan, ""),
        ([1, math.inf, 2], "[1, "),
        ([math.nan], "["),
        ({"a": -math.inf}, '{\n    "a": '),
    ],
)  # fmt: skip
def test_values_are_shown_as_the_reference_shows_them(value: Any, text: str) -> None:
    assert debug_text(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (123.456, "123.456"),
        (0.000001, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1.5e-7, "1.5e-7"),
        (1e-7, "1e-7"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.25e21, "1.25e21"),
        (123456789012345680000.0, "123456789012345680000.0"),
        (1e300, "1e300"),
        (5e-324, "5e-324"),
    ],
)
def test_doubles_are_shown_as_rapidjson_writes_them(number: float, text: str) -> None:
    assert debug_text(number) == text


def test_nothing_more_is_shown_once_256_bytes_are_written() -> None:
    assert debug_text(["x" * 250, 1, 2]) == '["' + "x" * 250 + '", 1'
    assert debug_text(["x" * 300, 1]) == '["' + "x" * 300 + '"'
    assert debug_text(["x" * 300, []]) == '["' + "x" * 300 + '"'
    assert debug_text(["x" * 300, {}]) == '["' + "x" * 300 + '"'
    assert debug_text(["x" * 260]) == '["' + "x" * 260 + '"'
    assert debug_text({"a": "x" * 300, "b": 1}) == '{\n    "a": "' + "x" * 300 + '"'
    assert debug_text({"x" * 300: 1}) == '{\n    "' + "x" * 300 + '"'
    assert debug_text(list(range(1000))).endswith(", 65, 66")
    assert len(debug_text([[] for _ in range(1000)])) == 258


def test_a_value_nested_deeper_than_any_stack_can_be_shown() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert debug_text(deep) == "[" * 256
    for _ in range(1000):
        deep = {"a": deep}
    assert len(debug_text(deep)) < 400
