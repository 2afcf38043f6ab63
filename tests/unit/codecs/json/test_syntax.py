import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from salver.codecs.json.debug_text import debug_text
from salver.codecs.json.scan import ARRAY, OBJECT, Reader
from salver.codecs.json.syntax import parse, read_tree
from salver.codecs.json.tree import Pairs
from salver.errors import InvalidArgument

STRING_PIECES = [
        b"a", b"\xff", b"\\n", b"\\u0041", b"\\ud83d\\ude00", b"\\udc80", b"\\ud800", b"\\u12",
        b"\\x", b"\x01", b"\x00", b'"', b"\\"]  # fmt: skip


def test_an_object_is_read_token_by_token() -> None:
    reader = Reader(b'\xef\xbb\xbf {"a" : 1, "b":[ ], "c":{"d":null} }')
    assert reader.root() == OBJECT
    reader.pos += 1
    assert not reader.closes(OBJECT)
    assert reader.name() == "a"
    assert (reader.value(), reader.scalar()) == (b"1"[0], 1)
    assert not reader.ends(OBJECT)
    reader.name(is_kept=False)
    assert reader.value() == ARRAY
    reader.pos += 1
    assert reader.closes(ARRAY)
    assert not reader.ends(OBJECT)
    reader.name(is_kept=False)
    reader.pos += 1
    reader.name(is_kept=False)
    reader.value()
    reader.scalar(is_kept=False)
    assert reader.ends(OBJECT)
    assert reader.ends(OBJECT)
    assert reader.pos == len(reader.body)


@given(st.lists(st.sampled_from(STRING_PIECES)).map(b"".join))
def test_a_string_is_skipped_as_it_is_read(text: bytes) -> None:
    outcomes = []
    for is_kept in (True, False):
        reader = Reader(b'"' + text)
        try:
            reader.root()
            reader.scalar(is_kept=is_kept)
            outcomes.append(str(reader.pos))
        except InvalidArgument as error:
            outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(("body", "text"), [
    (b"", "The document is empty"),
    (b" ]", "The document is empty. at offset: 1"),
])  # fmt: skip
def test_a_document_without_a_value_is_empty(body: bytes, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Reader(body).root()
    assert refused.value.message == f"JSON Parse error: {text}"


def answer(body: bytes, read: Callable[[bytes], Any]) -> str:
    try:
        return debug_text(read(body))
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
    assert answer(body, read_tree) == answer(body, parse)


def test_nan_and_infinity_are_numbers() -> None:
    [nan, infinity] = read_tree(b'{"a": [NaN, -Infinity]}')["a"]
    assert math.isnan(nan)
    assert infinity == -math.inf


def test_repeated_keys_are_kept_in_a_tree() -> None:
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
    assert answer(body, read_tree) == answer(body, parse)
    wrapped = b'{"a":[' + body + b"]}"
    assert answer(wrapped, read_tree) == answer(wrapped, parse)


# Text and offset of every fault. RapidJSON records the stream's position at the moment it gives
# up: before the byte it did not expect, once white space is skipped; exceptions are said beside.
FAULTS = [
    # Nothing to read. A zero byte is the end of the stream.
    (b" ", "The document is empty.", 1),
    (b"\xef\xbb\xbf", "The document is empty.", 3),  # the mark is part of the offset
    (b"\x00{}", "The document is empty.", 0),
    # A root that no value can begin with has the same text: no transition from the start state.
    (b"]", "The document is empty.", 0),
    (b" }", "The document is empty.", 1),
    (b",", "The document is empty.", 0),
    (b":", "The document is empty.", 0),
    # Any other byte goes to the number parser.
    (b"x", "Invalid value.", 0),
    (b"+1", "Invalid value.", 0),
    (b".5", "Invalid value.", 0),
    (b"\xff", "Invalid value.", 0),
    (b"/**/1", "Invalid value.", 0),
    (b"-", "Invalid value.", 1),  # after the sign
    (b"-x", "Invalid value.", 1),
    # Literals are taken letter by letter; the position is the first that differs.
    (b"nul", "Invalid value.", 3),
    (b"nuxx", "Invalid value.", 2),
    (b"True", "Invalid value.", 0),
    (b"trUe", "Invalid value.", 2),
    (b"fal,", "Invalid value.", 3),
    (b"nan", "Invalid value.", 1),
    (b"Na", "Invalid value.", 2),
    (b"NAN", "Invalid value.", 1),
    (b"Infi", "Invalid value.", 4),
    (b"Infinitx", "Invalid value.", 7),
    (b"inf", "Invalid value.", 0),
    (b"--Inf", "Invalid value.", 1),
    # Where a value is due.
    (b"[", "Invalid value.", 1),
    (b"[,1]", "Invalid value.", 1),
    (b"[1,]", "Invalid value.", 3),
    (b"[1, ", "Invalid value.", 4),
    (b"[1,,2]", "Invalid value.", 3),
    (b"[}", "Invalid value.", 1),
    (b"[:", "Invalid value.", 1),
    (b'{"a":', "Invalid value.", 5),
    (b'{"a": }', "Invalid value.", 6),
    (b'{"a":,', "Invalid value.", 5),
    (b'{"a":]', "Invalid value.", 5),
    # Where a name is due.
    (b"{", "Missing a name for object member.", 1),
    (b"{ a", "Missing a name for object member.", 2),
    (b"{1:2}", "Missing a name for object member.", 1),
    (b"{,", "Missing a name for object member.", 1),
    (b'{"a":1,', "Missing a name for object member.", 7),
    (b'{"a":1, }', "Missing a name for object member.", 8),
    # After a name.
    (b'{"a"', "Missing a colon after a name of object member.", 4),
    (b'{"a" 1', "Missing a colon after a name of object member.", 5),
    (b'{"a"}', "Missing a colon after a name of object member.", 4),
    # After a value.
    (b'{"a":1', "Missing a comma or '}' after an object member.", 6),
    (b'{"a":1 "b"', "Missing a comma or '}' after an object member.", 7),
    (b'{"a":1]', "Missing a comma or '}' after an object member.", 6),
    (b"[1", "Missing a comma or ']' after an array element.", 2),
    (b"[1 2", "Missing a comma or ']' after an array element.", 3),
    (b"[01]", "Missing a comma or ']' after an array element.", 2),
    (b"[1}", "Missing a comma or ']' after an array element.", 2),
    (b"[1,2,3 4]", "Missing a comma or ']' after an array element.", 7),
    (b"[NaNs]", "Missing a comma or ']' after an array element.", 4),
    (b"[[1],[2]", "Missing a comma or ']' after an array element.", 8),
    # Faults of an escape are at its backslash, for a surrogate pair at the first one.
    (b'"ab\\u12G4"', "Incorrect hex digit after \\u escape in string.", 3),
    (b'"\\u', "Incorrect hex digit after \\u escape in string.", 1),
    (b'"\\ud800\\u12"', "Incorrect hex digit after \\u escape in string.", 1),
    (b'"\\ud800x"', "The surrogate pair in string is invalid.", 1),
    (b'"\\ud800\\n"', "The surrogate pair in string is invalid.", 1),
    (b'"\\ud800\\ud800"', "The surrogate pair in string is invalid.", 1),
    (b'"a\\x"', "Invalid escape character in string.", 2),
    (b'"a\\', "Invalid escape character in string.", 2),
    # A bare control character is at its own place.
    (b'"ab\nc"', "Invalid escape character in string.", 3),
    (b'"abc', "Missing a closing quotation mark in string.", 4),
    (b'"ab\x00c"', "Missing a closing quotation mark in string.", 3),
    (b'{"a', "Missing a closing quotation mark in string.", 3),
    # A number is too big at its first byte, but its other faults are where a digit is due.
    (b"[1, 1e400]", "Number too big to be stored in double.", 4),
    (b"[-1e309]", "Number too big to be stored in double.", 1),
    (b"[" + b"9" * 310 + b"]", "Number too big to be stored in double.", 1),
    (b"[1.]", "Miss fraction part in number.", 3),
    (b"[1.e5]", "Miss fraction part in number.", 3),
    (b"[-0.x]", "Miss fraction part in number.", 4),
    (b"[1e]", "Miss exponent in number.", 3),
    (b"[1e+]", "Miss exponent in number.", 4),
    (b"[1.5E-x]", "Miss exponent in number.", 6),
]


@pytest.mark.parametrize(("body", "text", "offset"), FAULTS)
def test_every_fault_has_the_reference_s_text_and_offset(
    body: bytes, text: str, offset: int
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse(body)
    assert refused.value.message == f"JSON Parse error: {text} at offset: {offset}"


def test_an_empty_body_has_a_text_of_its_own() -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse(b"")
    assert refused.value.message == "JSON Parse error: The document is empty"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b"true", True),
        (b"false", False),
        (b" \t\r\n{ } ", {}),
        (b"[]", []),
        (b"[1, 2 ,3]", [1, 2, 3]),
        (b"[1,[2,[3]],4]", [1, [2, [3]], 4]),
        (b'{"a" : {"b":[]} , "c":""}', {"a": {"b": []}, "c": ""}),
        (b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'),
        (b'"\\u0000\\u00e9\\u4E2d\\ud83D\\uDe00"', "\0é中😀"),
        ('"Māori"'.encode(), "Māori"),
        (b"\xef\xbb\xbf{}", {}),
        (b"\xbf1", 1),  # each byte of the mark may be missing
        (b"\xef1", 1),
        # What follows the value is ignored.
        (b"{}}", {}),
        (b'{"a":1} trailing', {"a": 1}),
        (b"[1]\x00\xff", [1]),
        (b"01", 0),
    ],
)
def test_values_are_read(body: bytes, value: Any) -> None:
    assert parse(body) == value


@pytest.mark.parametrize(
    ("token", "number"),
    [
        (b"0", 0),
        (b"-0", 0),
        (b"-0.0", -0.0),
        (b"12", 12),
        (b"1.0", 1.0),
        (b"1.5e3", 1500.0),
        (b"1E+2", 100.0),
        (b"1e-2", 0.01),
        (b"0e400", 0.0),
        (b"1e-400", 0.0),
        (b"9223372036854775807", 2**63 - 1),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 1.8446744073709552e19),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", -9.223372036854776e18),
        (b"1" * 40, float("1" * 40)),
        (b"Infinity", math.inf),
        (b"Inf", math.inf),
        (b"-Infinity", -math.inf),
        (b"-Inf", -math.inf),
        # Curiosities of the reference: letters of NaN are forgotten, and digits may follow.
        (b"NaInf", math.inf),
        (b"NInfinity", math.inf),
        (b"NaN.5", 0.5),
        (b"-NaN.5", -0.5),
        (b"Infe5", 0.0),
    ],
)
def test_numbers_keep_their_kind(token: bytes, number: float) -> None:
    [found, _] = parse(b"[%s, null]" % token)
    assert (type(found), found) == (type(number), number)
    assert math.copysign(1, found) == math.copysign(1, number)


@pytest.mark.parametrize("token", [b"NaN", b"-NaN"])
def test_nan_is_a_number(token: bytes) -> None:
    assert math.isnan(parse(token))


def test_bytes_that_are_no_utf8_pass_through() -> None:
    assert parse(b'{"\xff":"\xfe\\n"}') == {"\udcff": "\udcfe\n"}


def test_a_lone_low_surrogate_becomes_its_three_bytes() -> None:
    found = parse(b'"\\udc80"')
    assert found.encode("utf-8", "surrogateescape") == b"\xed\xb2\x80"


def test_repeated_keys_are_kept() -> None:
    found = parse(b'{"a":1,"a":2}')
    assert isinstance(found, Pairs)
    assert list(found.items()) == [("a", 1), ("a", 2)]


def test_half_a_million_levels_are_read_and_freed() -> None:
    levels = 500_000
    found = parse(b'{"instances":[1],"nested":' + b"[" * levels + b"]" * levels + b"}")
    assert found["instances"] == [1]
    depth, inner = 1, found["nested"]
    while inner:
        depth, inner = depth + 1, inner[0]
    assert depth == levels
    del found, inner
    deep = parse(b'{"a":' * levels + b"1" + b"}" * levels)
    assert list(deep) == ["a"]
    with pytest.raises(InvalidArgument, match=f"offset: {levels}$"):
        parse(b"[" * levels)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
        | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)  # fmt: skip
def test_reads_whatever_json_writes(value: Any, indent: int | None, ensure_ascii: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ensure_ascii).encode()
    assert parse(body) == value
