"""Messages between the server and a child, also those that nobody should send."""

import fcntl
import os
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest

from salver.children.segments import Inbox, Outbox, WrongSegment
from salver.children.wire import INLINE_BYTES, Kind, Link, WrongMessage
from salver.errors import Internal, InvalidArgument, NotInstalled, error_of_parts
from salver.vocabulary.requests import Array


@pytest.fixture
def links() -> Iterator[tuple[Link, Link]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Link(ours), Link(theirs)


def _sent(links: tuple[Link, Link], *arrays: Array) -> list[Array]:
    links[0].send(Kind.RUN, 7, 3, list(arrays))
    message = links[1].receive()
    assert message is not None
    assert (message.kind, message.number, message.program) == (Kind.RUN, 7, 3)
    return message.take_arrays()


SMALL, LARGE = 3, INLINE_BYTES
DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", ml_dtypes.bfloat16),
    *(ml_dtypes.float8_e5m2, ml_dtypes.int4),
]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_as_it_went(dtype: object, size: int, links: tuple[Link, Link]) -> None:
    array = (np.arange(2 * size) % 3).reshape(2, size).astype(dtype)  # type: ignore[call-overload]
    scalar = array[0, 1].reshape(())
    empty = array[:0]
    for got, given in zip(_sent(links, array, scalar, empty), (array, scalar, empty), strict=True):
        assert got.dtype == given.dtype
        assert got.shape == given.shape
        np.testing.assert_array_equal(got, given)
        assert got.flags.writeable
        assert got.flags.c_contiguous


@pytest.mark.parametrize("size", [0, 1, 5, 100_000])
def test_strings_come_as_they_went(size: int, links: tuple[Link, Link]) -> None:
    array = np.array([b"x" * (number % 7) for number in range(size)], object)
    (got,) = _sent(links, array)
    assert got.dtype == object
    assert got.tolist() == array.tolist()


def test_arrays_that_are_not_in_a_row_are_sent_so(links: tuple[Link, Link]) -> None:
    array = np.arange(24.0).reshape(4, 6)
    large = np.arange(4.0 * INLINE_BYTES).reshape(2, -1)
    for given in (array.T, array[::2, 1:], np.asfortranarray(array), large.T, large[:, ::2]):
        (got,) = _sent(links, given)
        np.testing.assert_array_equal(got, given)
        del got


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([1, "two", None], object),
        np.zeros(1, "datetime64[s]"),
        np.zeros(2, [("a", "i4")]),
    ],
)
def test_what_is_no_tensor_is_refused(array: Array, links: tuple[Link, Link]) -> None:
    with pytest.raises(Internal, match="model gives"):
        links[0].send(Kind.DONE, 1, arrays=[array])


def test_a_segment_is_used_again_once_its_arrays_are_dropped(links: tuple[Link, Link]) -> None:
    large = np.zeros(INLINE_BYTES, np.int64)
    (kept,) = _sent(links, large + 1)
    (other,) = _sent(links, large + 2)  # the first is in use
    assert (kept[0], other[0]) == (1, 2)
    view = kept[5:7]
    del kept, other
    links[1].send(Kind.DONE, 7)
    links[0].receive()
    (again,) = _sent(links, large + 3)
    assert (view[0], again[0]) == (1, 3)
    assert len(links[1].inbox._maps) == 2


def test_no_descriptor_stays_open(links: tuple[Link, Link]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    kept = [_sent(links, np.zeros(INLINE_BYTES, np.int64)) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before
    del kept


def test_segments_that_are_too_many_are_let_go_by_both(links: tuple[Link, Link]) -> None:
    kept = [_sent(links, np.zeros(INLINE_BYTES * 8, np.int64)) for _ in range(20)]
    assert len(links[1].inbox._maps) == 20
    kept.clear()
    links[1].send(Kind.DONE, 7)
    links[0].receive()
    _sent(links, np.zeros(1))
    assert len(links[1].inbox._maps) < 10


def test_a_segment_that_could_shrink_is_not_mapped() -> None:
    descriptor = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 1 << 16)
    with pytest.raises(WrongSegment, match="not sealed"):
        Inbox().add(1, descriptor, 1 << 16)
    small = Outbox().take(1)
    assert small.descriptor is not None
    with pytest.raises(WrongSegment, match="smaller"):
        Inbox().add(1, os.dup(small.descriptor), 1 << 20)
    assert fcntl.fcntl(small.descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK


def test_errors_are_the_same_on_the_other_side(links: tuple[Link, Link]) -> None:
    given = InvalidArgument("no", hint="never")
    given.is_final = True
    for error in (given, NotInstalled("pip")):
        links[0].send_error(error, 9)
        message = links[1].receive()
        assert message is not None
        got = error_of_parts(message.value())
        assert (type(got), got.parts()) == (type(error), error.parts())
    links[0].send_error(Internal("x" * 1_000_000))
    message = links[1].receive()
    assert message is not None
    assert len(message.value()["message"]) < 100_000


def _packet(**fields: int) -> bytes:
    known = {
        "kind": int(Kind.DONE), "flags": 0, "arrays": 0, "returned": 0, "dropped": 0,
        "number": 1, "program": 0, "segment": 0, "size": 0,
    }  # fmt: skip
    return struct.pack("<BBHHHQIIQ", *{**known, **fields}.values())


def _entry(dtype: int, offset: int, size: int, *shape: int) -> bytes:
    return struct.pack(f"<BBQQ{len(shape)}q", dtype, len(shape), offset, size, *shape)


_FLOAT32, _STRING = 2, 18  # places in the table of dtypes


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        _packet()[:-1],
        _packet(kind=99),
        _packet(arrays=1),
        _packet(returned=5),
        _packet(segment=4),
        _packet(segment=4, size=1 << 20),
        _packet(arrays=1) + _entry(250, 0, 4, 1) + bytes(4),
        _packet(arrays=1) + _entry(_FLOAT32, 0, 4, -1, -1) + bytes(3),
        _packet(arrays=1) + _entry(_FLOAT32, 0, 4, 2) + bytes(4),
        _packet(arrays=1) + _entry(_FLOAT32, 1 << 60, 4, 1) + bytes(4),
        _packet(arrays=1) + _entry(_FLOAT32, 0, 1 << 62, 1 << 60) + bytes(4),
        _packet(arrays=1) + _entry(_STRING, 0, 8, 1) + struct.pack("<q", 50),
        _packet(arrays=1) + _entry(_STRING, 0, 8, 1) + struct.pack("<q", -50),
        _packet(arrays=1) + _entry(_STRING, 0, 8, 1 << 40) + bytes(8),
    ],
)
def test_what_is_no_message_is_told_from_one(packet: bytes, links: tuple[Link, Link]) -> None:
    links[0].socket.send(packet)
    with pytest.raises(WrongMessage):
        _read(links[1])


def _read(link: Link) -> None:
    message = link.receive()
    assert message is not None
    message.take_arrays()


def test_noise_is_never_more_than_a_wrong_message(links: tuple[Link, Link]) -> None:
    noise = random.Random(7)
    good = _packet(arrays=1) + _entry(_FLOAT32, 0, 4, 1) + bytes(4)
    for _ in range(3000):
        packet = bytearray(good)
        for _ in range(noise.randrange(1, 4)):
            packet[noise.randrange(len(packet))] = noise.randrange(256)
        links[0].socket.send(packet)
        with suppress(WrongMessage):
            _read(links[1])
