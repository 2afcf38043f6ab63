import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from salver.codecs import json_exact, json_scan
from salver.codecs.json_scan import MAX_DEPTH, scan
from salver.errors import Cancelled, InvalidArgument


def never() -> None:
    """The scan is wanted."""


def scanned(body: bytes) -> str:
    try:
        scan(body, never)
    except InvalidArgument as error:
        return error.message
    return ""


def parsed(body: bytes) -> str:
    try:
        json_exact.parse(body)
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

    def check() -> None:
        asked.append(None)
        if len(asked) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        scan(b"[" + b"[1,2]," * 100_000 + b"1]", check)
    assert len(asked) == 3
