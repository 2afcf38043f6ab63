"""Fields of messages in a file, whatever stands between them."""

import io

import pytest

from salver.backends.onnxruntime.wire import LENGTH_DELIMITED, VARINT, MessageFile
from salver.codecs.protobuf.wire import length_delimited, varint
from salver.errors import InvalidArgument


def messages_of(data: bytes) -> MessageFile:
    return MessageFile(io.BytesIO(data), len(data), "m.onnx")


def test_fields_are_found_behind_others_of_any_size() -> None:
    large = bytes(1 << 20)
    data = b"".join(
        [
            *(b"\x08" + varint(2**64 - 1), length_delimited(2, large), length_delimited(3, b"abc")),
            *(b"\x21" + bytes(8), b"\x2d" + bytes(4), length_delimited(6, b"")),
        ]
    )
    messages = messages_of(data)
    fields = list(messages.fields(0, len(data)))
    assert [(number, kind) for number, kind, _, _ in fields] == [
        *((1, VARINT), (2, LENGTH_DELIMITED), (3, LENGTH_DELIMITED)),
        *((4, 1), (5, 5), (6, LENGTH_DELIMITED)),
    ]
    assert fields[0][2] == 2**64 - 1
    assert messages.text(*fields[2][2:]) == "abc"
    assert messages.read(*fields[1][2:], longest=1 << 20) == large
    assert messages.read(*fields[5][2:]) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",  # no length
        b"\x0a\x05abc",  # cut off
        b"\x08\xff",  # a number that does not end
        b"\x08" + b"\xff" * 11,
        b"\x0b",  # a group
        b"\x0e",  # of no kind
        b"\x02\x00",  # of number 0
        b"\x21\x00",
    ],
)
def test_what_is_no_field_is_an_error(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"m\.onnx is no ONNX model"):
        list(messages_of(data).fields(0, len(data)))


def test_a_text_is_no_longer_than_it_is_meant_to_be() -> None:
    messages = messages_of(bytes(100))
    with pytest.raises(InvalidArgument, match="of 100 bytes, more than 99"):
        messages.read(0, 100, longest=99)
    with pytest.raises(InvalidArgument, match="is no ONNX model"):
        messages_of(b"\xff").text(0, 1)
    with pytest.raises(InvalidArgument, match="is no ONNX model"):
        messages_of(b"short").read(0, 9)  # it was cut meanwhile


@pytest.mark.parametrize("at", [0, (1 << 18) - 3, 1 << 18, (1 << 19) + 5])
def test_bytes_are_found_also_where_two_windows_meet(at: int) -> None:
    data = bytearray(1 << 20)
    data[at : at + 6] = b"needle"
    messages = messages_of(bytes(data))
    assert messages.find_any((b"needle", b"other"), 0, len(data)) == {b"needle"}
    assert messages.find_any((b"needle",), at + 1, len(data)) == set()
    assert messages.find_any((b"needle",), 0, at + 5) == set()
