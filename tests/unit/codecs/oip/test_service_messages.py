import pytest

from salver.codecs.oip.service_messages import leading_texts
from salver.codecs.protobuf.wire import length_delimited

EMPTY = length_delimited(5, b"")


def test_the_texts_of_a_message_are_found_among_its_other_fields() -> None:
    data = EMPTY + length_delimited(2, b"3") + length_delimited(1, b"m") + b"\x20\x01"
    assert leading_texts(data, 2) == ["m", "3"]
    assert leading_texts(memoryview(data), 1) == ["m"]
    assert leading_texts(b"", 2) == ["", ""]


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x02a", b"\x0b", length_delimited(1, b"\xff")])
def test_what_is_no_message_has_none(data: bytes) -> None:
    assert leading_texts(data, 1) is None


@pytest.mark.parametrize("field", [EMPTY, b"\x20\x01", length_delimited(1, b"m")])
def test_neither_has_a_message_of_very_many_fields(field: bytes) -> None:
    at_most = length_delimited(1, b"m") + field * 4095
    assert leading_texts(at_most, 1) == ["m"]
    assert leading_texts(at_most + field, 1) is None
    assert leading_texts(field * 100_000, 1) is None
