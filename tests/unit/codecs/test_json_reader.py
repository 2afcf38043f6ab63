import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs.json_reader import ARRAY, OBJECT, Reader
from salver.errors import InvalidArgument

TEXT = [b"a", b"\xff", b"\\n", b"\\u0041", b"\\ud83d\\ude00", b"\\udc80", b"\\ud800", b"\\u12",
        b"\\x", b"\x01", b"\x00", b'"', b"\\"]  # fmt: skip


def test_an_object_is_read_token_by_token() -> None:
    reader = Reader(b'\xef\xbb\xbf {"a" : 1, "b":[ ], "c":{"d":null} }')
    assert reader.root() == OBJECT
    reader.pos += 1
    assert not reader.closes(OBJECT)
    assert reader.name() == "a"
    assert reader.scalar(reader.value()) == 1
    assert not reader.ends(OBJECT)
    reader.skip_name()
    assert reader.value() == ARRAY
    reader.pos += 1
    assert reader.closes(ARRAY)
    assert not reader.ends(OBJECT)
    reader.skip_name()
    reader.pos += 1
    reader.skip_name()
    reader.skip_scalar(reader.value())
    assert reader.ends(OBJECT)
    assert reader.ends(OBJECT)
    assert reader.pos == len(reader.body)


@given(st.lists(st.sampled_from(TEXT)).map(b"".join))
def test_a_string_is_skipped_as_it_is_read(text: bytes) -> None:
    outcomes = []
    for skip in (False, True):
        reader = Reader(b'"' + text)
        try:
            if skip:
                reader.skip_scalar(reader.root())
            else:
                reader.scalar(reader.root())
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
