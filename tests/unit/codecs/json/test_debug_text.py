import math
from typing import Any

import pytest

from salver.codecs.json.debug_text import debug_text
from salver.codecs.json.tree import Pairs

TWICE = Pairs([("a", 1), ("b", 2), ("a", 3)])


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
