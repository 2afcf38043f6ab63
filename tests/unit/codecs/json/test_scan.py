import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from salver.codecs.json import scan as json_scan
from salver.codecs.json.scan import MAX_DEPTH, find_cuts, scan, stretch_of
from salver.codecs.json.syntax import parse
from salver.errors import Cancelled, InvalidArgument


@pytest.mark.parametrize(
    ("text", "commas", "end"),
    [
        (b"", [], -1),
        (b"1,2", [1], -1),
        (b"1,[2,3],4]", [1, 7], 9),
        (b'"a,]",{"b":[1,2]}}', [5], 17),
        (b'"a\\",",2],3', [6], 8),
        (b"]", [], 0),
        (b'"', [], -1),
    ],
)
def test_commas_between_a_container_s_own_elements_are_found(
    text: bytes, commas: list[int], end: int
) -> None:
    found = find_cuts(text)
    assert (found.commas.tolist(), found.end) == (commas, end)


VALUES = st.recursive(
    st.none() | st.integers() | st.text('ab"\\,[]{}'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\,]'), inner),
)


@given(st.lists(VALUES), st.integers(1, 9))
def test_stretches_of_any_size_give_the_same_cuts(values: list[Any], size: int) -> None:
    body = json.dumps(values).encode() + b",1]"
    position, depth, is_in_string = 1, 0, False
    starts = [1]
    while True:
        stretch = stretch_of(body, position, size)
        found = find_cuts(stretch, depth, is_in_string)
        starts += [position + comma + 1 for comma in found.commas.tolist()]
        if found.end >= 0:
            break
        position += len(stretch)
        depth, is_in_string = found.depth, found.is_in_string
    end = position + found.end
    pieces = [body[a:b].rstrip(b", ") for a, b in zip(starts, [*starts[1:], end], strict=True)]
    assert [json.loads(piece) for piece in pieces if piece] == values


def test_a_stretch_does_not_end_within_an_escape() -> None:
    assert stretch_of(b'x\\\\\\"y', 0, 4) == b'x\\\\\\"'
    assert stretch_of(b'x\\\\\\"y', 0, 3) == b"x\\\\"


def scanned(body: bytes) -> str:
    try:
        scan(body, lambda: True)
    except InvalidArgument as error:
        return error.message
    return ""


def parsed(body: bytes) -> str:
    try:
        parse(body)
    except InvalidArgument as error:
        return error.message
    return ""


@pytest.fixture(params=[2, 9, 4096])
def stretches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask simdjson about stretches of different sizes."""
    monkeypatch.setattr(json_scan, "_SMALLEST_STRETCH_BYTES", request.param)
    monkeypatch.setattr(json_scan, "_LARGEST_STRETCH_BYTES", 4 * request.param)


BODIES = [
    b"",
    b"5",
    b"[]",
    b"{}",
    b'{"a":{}, "b":[ ], "c" : [{"\\u0041":1}]} and more',
    b'[[1,[2,"a\\n\\u0041[",{"b":[true,null]}],-Inf],[NaN,-Infinity,"\xff"]]',
    b'[1,2,[3,{"a":[4,5,{"b":6}],"c":7}],8]',
    b"[[1],[[2],3],[[[4]]],[[],[]]]",
    b"[1,2,18446744073709551616,[3]]",
    b'["\\ud83d\\ude00","\\udc80"]',
    b'{"a":1,"b":2,"a":3}',
    # Faults, near and far from where a stretch ends.
    b"[1,2,3,]",
    b"[1,2,3}",
    b"[[1,2],[3,4],5",
    b"[1,2,3]]",
    b'{"a":[1,2},"b":1}',
    b'{"a":1,2:3}',
    b'{"a":1,}',
    b"[[1,2]],3",
    b"[1,2,NaN.5,1NaN]",
    b"[1,2,1e400]",
    b"[1,Infinitx]",
    b"[1,NaNNaN]",
    b"[1,-nan]",
    b'["\\ud800"]',
    b'["a","b\\x"]',
    b'["a\x01"]',
    b'["a\x00"]',
    b"[1,2,\xff]",
    b"[[[[[[[[1]]]]]]}]",
    b"[{]",
    b"[" * 2000 + b"1" + b"]" * 1999,
    b"[1," * 2000 + b"1" + b"]" * 2000,
    b'{"a":[' * 1500 + b"1" + b"]}" * 1500 + b"x",
    b"[" + b"[[],1]," * 3000 + b"x]",
    b"[" + b"1," * 3000 + b" ,1]",
    b"[1" + b",[[2],3]" * 2000 + b"]}",
]


@pytest.mark.usefixtures("stretches")
@pytest.mark.parametrize("body", BODIES)
def test_a_scan_says_what_the_parser_says(body: bytes) -> None:
    assert scanned(body) == parsed(body)


FRAGMENTS = [
    b"{", b"}", b"[", b"]", b"[[", b"]]", b"]}", b",", b":", b'"a":', b'"b"', b'"', b"\\", b"1",
    b"-", b"1.5", b"e5", b"e400", b"NaN", b"Inf", b"null", b"\x00", b"\xff", b" ", b"1,2,3,",
    b"[1,2],", b'{"a":1},', b'"a":1,', b'"\\ud800"', b'"\\n",', b"18446744073709551616,", b"x",
]  # fmt: skip


@pytest.mark.usefixtures("stretches")
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=16).map(b"".join))
@example(b"[[1,[2]],")
def test_whatever_the_body_a_scan_says_what_the_parser_says(body: bytes) -> None:
    for form in (b"%b", b"[%b]", b'{"a":[%b],"b":1}', b"[[[%b]]]", b"{%b}"):
        assert scanned(form % body) == parsed(form % body)


@pytest.mark.usefixtures("stretches")
@given(st.randoms(use_true_random=False))
def test_a_large_body_with_one_fault_is_refused_in_the_parser_s_words(rng: random.Random) -> None:
    row = rng.choice([b"[1.5,2,3]", b'{"x":[1,2],"y":"a"}', b"1", b"[[[1],[2]],[[3],[4]]]"])
    body = bytearray(b'{"instances":[' + b",".join([row] * 400) + b"]}")
    at = rng.randrange(len(body))
    body[at : at + 1] = rng.choice([b"", b",", b"]", b"}", b"[", b'"', b"x", b"\x00", b"NaN"])
    assert scanned(bytes(body)) == parsed(bytes(body))


def test_a_million_levels_are_read() -> None:
    levels = 1_000_000
    assert scanned(b"[" * levels + b"]" * levels) == ""
    assert scanned(b"[" * levels).endswith(f"at offset: {levels}")
    assert scanned(b'{"a":' * levels + b"1" + b"}" * levels) == ""


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[1,", b'[{"\\n":'])
def test_more_levels_than_anybody_means_are_refused(opening: bytes) -> None:
    assert scanned(opening * (MAX_DEPTH + 1)) == (
        "JSON Parse error: Nested more than 1048576 levels deep"
    )


def test_a_scan_nobody_wants_any_more_ends() -> None:
    asked: list[None] = []

    def is_active() -> bool:
        asked.append(None)
        return len(asked) < 3

    with pytest.raises(Cancelled):
        scan(b"[" + b"[1,2]," * 100_000 + b"1]", is_active)
    assert len(asked) == 3
