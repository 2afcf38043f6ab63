import math
from typing import Any

import pytest

from salver.codecs.json.syntax import object_of
from salver.codecs.json.tree import MISSING, OBJECT_TYPES, Pairs, is_integer, type_name

PAIRS = [("a", 1), ("b", 2), ("a", 3)]
TWICE = Pairs(PAIRS)


def test_an_object_is_a_dict_unless_a_key_occurs_twice() -> None:
    assert object_of([("a", 1), ("b", 2)]) == {"a": 1, "b": 2}
    repeated = object_of(PAIRS)
    assert isinstance(repeated, Pairs)
    assert list(repeated.items()) == PAIRS


def test_the_first_of_repeated_keys_is_found() -> None:
    assert TWICE.get("a", MISSING) == 1
    assert TWICE.get("c", MISSING) is MISSING


def test_only_dicts_and_repeated_keys_are_objects() -> None:
    values: list[Any] = [{}, TWICE, [], "", None, 1]
    assert [isinstance(value, OBJECT_TYPES) for value in values] == [True] * 2 + [False] * 4


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
