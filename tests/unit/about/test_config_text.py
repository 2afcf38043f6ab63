from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.about.config_text import Malformed, parse


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("# a\n  # b", {}),
        ('name: "a"', {"name": ["a"]}),
        ("name: 'a' \"b\"\n'c'", {"name": ["abc"]}),
        (r'name: "\"\n\x41\101\\"', {"name": ['"\nAA\\']}),
        ("n: 1 n: -2; n: 0x1F, x: 1.5f y: 1e3", {"n": [1, -2, 31], "x": [1.5], "y": [1000.0]}),
        ("dims: [ 1, -1 ]", {"dims": [1, -1]}),
        ("dims: []", {"dims": []}),
        ("a { b: TYPE_FP32 } a < b: true >", {"a": [{"b": ["TYPE_FP32"]}, {"b": ["true"]}]}),
        ("a: { }", {"a": [{}]}),
        ("a [ { b: 1 }, { c [ < d: -inf > ] } ]", {"a": [{"b": [1]}, {"c": [{"d": ["-inf"]}]}]}),
    ],
)
def test_fields_have_their_values(text: str, fields: Any) -> None:
    assert parse(text) == fields


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "line 1: ':' was expected"),
        ("a: 1\n}", "line 2: the name of a field was expected at '}'"),
        ("a {", "the name of a field was expected"),
        ("a: {\n b: 1 >", "line 2: the name of a field was expected"),
        ("a: [1 2]", "',' was expected"),
        ("a: [1", "',' was expected"),
        ("a: ]", "a value was expected"),
        ("a:", "a value was expected"),
        ('a: "b', "no word of the language"),
        ("a {" * 100, "too deep"),
        ("\0", "no word of the language"),
    ],
)
def test_what_is_no_message_says_where(text: str, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        parse(text)


@given(st.text(alphabet="ab:{}<>[],;\"'-1.# \n\\x"))
def test_anything_is_a_message_or_malformed(text: str) -> None:
    with suppress(Malformed):
        assert isinstance(parse(text), dict)
