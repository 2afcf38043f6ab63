import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs.json import text as json_text
from salver.codecs.json.text import base64_text, bytes_of, decode_base64, quote, text_of
from salver.codecs.json.tree import Pairs
from salver.errors import InvalidArgument


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", b'""'),
        (b'say "hi"', rb'"say \"hi\""'),
        (b"\\", rb'"\\"'),
        (b"\b\t\n\f\r", rb'"\b\t\n\f\r"'),
        (b"\x00\x01\x1f\x7f", b'"\\u0000\\u0001\\u001F\x7f"'),
        (b"a/b", b'"a/b"'),
        ("Māori".encode(), '"Māori"'.encode()),
        (b"\xff\xfe", b'"\xff\xfe"'),
    ],
)
def test_escapes_what_the_reference_escapes_and_passes_the_rest_through(
    raw: bytes, text: bytes
) -> None:
    assert quote(raw) == text


@given(st.text())
def test_quoted_text_reads_back(text: str) -> None:
    assert json.loads(quote(text.encode("utf-8", "surrogatepass"))) == text


@given(st.binary())
def test_any_bytes_survive_being_text(raw: bytes) -> None:
    assert bytes_of(text_of(raw)) == raw


@given(
    st.lists(st.one_of(st.binary(max_size=5), st.text(max_size=5).map(str.encode))).map(b"".join),
    st.integers(1, 7),
)
def test_a_long_text_is_the_same_in_steps_of_any_size(raw: bytes, step: int) -> None:
    whole = text_of(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "_STEP_BYTES", step)
        assert text_of(raw) == whole
        assert bytes_of(whole) == raw


def test_surrogates_of_another_origin_do_not_fail() -> None:
    assert bytes_of("\ud800") == b"\xed\xa0\x80"


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
        patch.setattr(json_text, "_STEP_BYTES", 4)
        assert decode_base64(text) == decode_base64(text.rstrip("=")) == raw
