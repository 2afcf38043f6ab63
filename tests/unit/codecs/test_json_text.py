import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs import json_text
from salver.codecs.json_text import bytes_of, quote, text_of


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
