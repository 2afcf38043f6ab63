import pytest

from salver.codecs.protobuf.room import MAX_CONTEXT_BYTES, Room, check_context
from salver.errors import InvalidArgument
from salver.vocabulary.requests import TakesLong

MIB = 1 << 20


def test_elsewhere_as_much_is_made_as_a_message_wants() -> None:
    Room(1).make(1 << 62)


def test_here_what_is_made_of_a_message_is_bounded_altogether() -> None:
    room = Room(1, made_bytes=10)
    room.make(4)
    room.pad(6, 6)
    with pytest.raises(TakesLong):
        room.make(1)


def test_padding_is_bounded_altogether_and_by_the_size_of_the_message() -> None:
    room = Room(MIB)
    room.pad(2, 10 * MIB)
    room.pad(2, 10 * MIB)
    with pytest.raises(InvalidArgument) as raised:
        room.pad(3, 1)
    assert raised.value.message == (
        "A tensor lacks 3 of its values, more than are filled in: send them all"
    )


def test_what_is_refused_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgument):
        Room(1, made_bytes=10).pad(1, 17 * MIB)


def test_the_copies_of_a_context_are_bounded() -> None:
    check_context(MAX_CONTEXT_BYTES, 1, 0)
    check_context(MAX_CONTEXT_BYTES // 4, 5, MAX_CONTEXT_BYTES // 4)
    check_context(0, 1 << 40, 0)
    with pytest.raises(InvalidArgument) as raised:
        check_context(MAX_CONTEXT_BYTES // 4, 5, MAX_CONTEXT_BYTES // 4 - 1)
    assert raised.value.message == (
        "A context of 16777216 bytes for 5 examples would take more than 64 MiB: "
        "send fewer examples at a time"
    )
