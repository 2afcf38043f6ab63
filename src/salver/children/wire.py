"""The messages between the server and a child: numbers, arrays, and a text where there is one.

A message is one packet of a socket pair. Arrays that are small together lie in it, larger ones in a
segment of shared memory, each once. Strings are their lengths, and then all of them in a row.
Nothing of it is a pickle: whatever a child sends, reading it runs no code.
"""

import enum
import json
import os
import socket
import struct
from array import array
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from salver.children.segments import Inbox, Outbox, Segment, WrongSegment
from salver.errors import Internal, ServingError
from salver.vocabulary.dtypes import DTYPES, DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array

__all__ = [
    "INLINE_BYTES",
    "LARGEST_PACKET",
    "Kind",
    "Link",
    "Message",
    "WrongMessage",
    "text_of",
]

INLINE_BYTES: Final = 1 << 16
"""Arrays of more than this go by shared memory; see `docs/decisions/children.md`."""
LARGEST_PACKET: Final = 1 << 17
_MOST_TEXT: Final = 1 << 16
_MOST_DESCRIPTORS: Final = 4
_MANY_STRINGS: Final = 512
_ALIGNMENT: Final = 64

_HEAD: Final = struct.Struct("<BBHHHQIIQ")
_ENTRY: Final = struct.Struct("<BBQQ")
_DTYPES: Final[Sequence[DataType]] = tuple(DTYPES.values())  # the same source is at both ends
_STRING: Final = _DTYPES.index(DataType.STRING)
_PLACES: Final = array("I").itemsize
# As plain numbers: `|` of what `socket` has runs Python, a fourth of what receiving costs.
_IS_CUT: Final = int(socket.MSG_TRUNC) | int(socket.MSG_CTRUNC)
_CLOSE_ON_EXEC: Final = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_NONE_SENT: Final = array("i")


class Kind(enum.IntEnum):
    """What a message says."""

    LOAD = 1  # to the child, text: what to load
    PROGRESS = 2  # from the child, text: how far the load is
    ASK = 3  # from the child, text: whether code of a path is trusted
    TOLD = 4  # to the child, text: the answer
    READY = 5  # from the child, arrays: what was loaded
    FAILED = 6  # from the child, text: why a load or a run failed
    DEFINE = 7  # to the child, text: a program, by the number in `program`
    FORGET = 8  # to the child: the program of a number
    RUN = 9  # to the child, arrays
    DONE = 10  # from the child, arrays
    CANCEL = 11  # to the child: nobody waits for a run
    MANY = 12  # from the child: it only starts its runs, and can have many at once
    STREAM = 13  # to the child, arrays: a run whose answers are sent one by one
    PART = 14  # from the child, arrays: one of these answers
    ENDED = 15  # from the child: there are no more
    CREDIT = 16  # to the child, as `program`: how many of them were taken, since the first


class WrongMessage(Exception):
    """The other side sent what is no message."""


_KINDS: Final = {int(kind): kind for kind in Kind}


def text_of(value: object) -> bytes:
    """A value of JSON as the text of a message."""
    return json.dumps(value, separators=(",", ":")).encode()


class Message:
    """One message that has come.

    Attributes:
        kind: see `Kind`.
        number: of the run.
        program: that it is of.
        text: empty where there is none.
        is_long: whether reading its arrays takes long enough to be done elsewhere than in a loop.
    """

    __slots__ = ("_body", "_entries", "is_long", "kind", "number", "program", "text")

    def __init__(self, kind: Kind, number: int, program: int) -> None:
        self.kind = kind
        self.number = number
        self.program = program
        self.text = b""
        self.is_long = False
        self._entries: list[tuple[int, tuple[int, ...], int, int]] = []
        self._body: Array | bytearray | None = None

    def value(self) -> Any:
        """The text as JSON.

        Raises:
            WrongMessage: it is none.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise WrongMessage(str(error)) from error

    def take_arrays(self) -> list[Array]:
        """The arrays; once. Those in a segment keep it from going back for as long as they live.

        Raises:
            WrongMessage: they lie elsewhere than where they can.
        """
        entries, self._entries = self._entries, []
        body, self._body = self._body, None
        try:
            return [_array(body, *entry) for entry in entries]
        except (ValueError, TypeError, OverflowError, ImportError) as error:
            raise WrongMessage(f"an array of a message is wrong: {error}") from error

    def _read(
        self, packet: memoryview, num_arrays: int, begin: int, inbox: Inbox, segment: int
    ) -> None:
        for _ in range(num_arrays):
            code, ndim, offset, size = _ENTRY.unpack_from(packet, begin)
            begin += _ENTRY.size
            shape = struct.unpack_from(f"<{ndim}q", packet, begin)
            begin += 8 * ndim
            self._entries.append((code, shape, offset, size))
            if code == _STRING and np.prod(shape, dtype=np.float64) > _MANY_STRINGS:
                self.is_long = True
        if segment:
            self._body = inbox.lease(segment)
        elif num_arrays:
            self._body = bytearray(packet[begin:])
        else:
            self.text = bytes(packet[begin:])


def _array(body: Any, code: int, shape: tuple[int, ...], offset: int, size: int) -> Array:
    if code >= len(_DTYPES):
        raise ValueError(f"there is no element type {code}")
    if code == _STRING:
        return _strings(body, shape, offset, size)
    dtype = numpy_dtype(_DTYPES[code])
    if isinstance(body, np.ndarray):
        flat = body[offset : offset + size].view(dtype)  # a view: it keeps the lease
    else:
        flat = np.frombuffer(body, dtype, size // dtype.itemsize, offset)
    made: Array = flat.reshape(shape)
    return made


def _strings(body: Any, shape: tuple[int, ...], offset: int, size: int) -> Array:
    count = 1
    for each in shape:
        count *= each
    if count < 0 or 8 * count > size:
        raise ValueError("strings without their lengths")
    data = memoryview(body)[offset : offset + size]
    ends = 8 * count + np.cumsum(np.frombuffer(data, np.int64, count))
    if count and (ends[-1] > size or (np.diff(ends, prepend=8 * count) < 0).any()):
        raise ValueError("strings past their end")
    made = np.empty(count, object)
    begin = 8 * count
    for place, end in enumerate(ends.tolist()):
        made[place] = bytes(data[begin:end])
        begin = end
    return made.reshape(shape)


_codes: dict[Any, int] = {}


def _code(dtype: "np.dtype[Any]") -> int:
    code = _codes.get(dtype)
    if code is None:
        try:
            code = _DTYPES.index(dtype_of_array(dtype))
        except TypeError as error:
            raise Internal(f"The model gives an array that is no tensor: {error}") from None
        _codes[dtype] = code
    return code


class _Laid:
    """An array, and where it lies in the body of a message."""

    __slots__ = ("array", "blob", "code", "offset", "shape", "size")

    def __init__(self, array: Array, offset: int) -> None:
        self.code = _code(array.dtype)
        self.shape = array.shape
        self.offset = offset
        self.blob = b""
        if self.code == _STRING:
            strings = array.reshape(-1).tolist()
            try:
                self.blob = b"".join(strings)
            except TypeError:
                raise Internal("The model gives strings that are not all bytes") from None
            array = np.fromiter(map(len, strings), np.int64, len(strings))
        self.array = array
        self.size: int = array.nbytes + len(self.blob)

    def write(self, body: Array) -> None:
        middle = self.offset + self.array.nbytes
        if self.array.nbytes:
            place = body[self.offset : middle].view(self.array.dtype).reshape(self.array.shape)
            np.copyto(place, self.array)
        if self.blob:
            body[middle : middle + len(self.blob)] = np.frombuffer(self.blob, np.uint8)


class Link:
    """One end of a socket pair. Any thread may send; one receives at a time."""

    def __init__(self, pair_end: socket.socket) -> None:
        self.socket = pair_end
        self.outbox = Outbox()
        self.inbox = Inbox()
        self._buffer: memoryview | None = None  # made for the first message that comes
        self._room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * _PLACES)

    def share_segments(self, other: "Link") -> None:
        """Be told by the other end of this link what becomes of the segments of another."""
        self.outbox, self.inbox = other.outbox, other.inbox

    # -- out -------------------------------------------------------------------------------------

    def pack(
        self, kind: Kind, number: int = 0, program: int = 0, arrays: list[Array] | None = None
    ) -> "tuple[list[bytes], Segment | None]":
        """A message with arrays. The list is emptied: what was in it may lie in our own inbox.

        Raises:
            ServingError: an array is no tensor, or there is no memory.
        """
        if arrays is not None and len(arrays) == 1:
            packed = self._packed_one(kind, number, program, arrays)
            if packed is not None:
                return [packed], None
        laid: list[_Laid] = []
        end = 0
        for each in arrays or ():
            begin = -(-end // _ALIGNMENT) * _ALIGNMENT
            laid.append(_Laid(np.asarray(each), begin))
            end = begin + laid[-1].size
        segment = None
        body = b""
        if end > INLINE_BYTES:
            segment = self._filled(laid, end)
        elif laid:
            body = _joined(laid)
        entries = b"".join(
            [
                _ENTRY.pack(of.code, len(of.shape), of.offset, of.size)
                + struct.pack(f"<{len(of.shape)}q", *of.shape)
                for of in laid
            ]
        )
        if arrays is not None:
            arrays.clear()
        num_arrays = len(laid)
        laid.clear()
        return [self._head(kind, number, program, num_arrays, segment), entries, body], segment

    def _packed_one(
        self, kind: Kind, number: int, program: int, arrays: list[Array]
    ) -> bytes | None:
        """A message with one small array of numbers; None where it is another one."""
        one = np.asarray(arrays[0])
        code = _codes.get(one.dtype)
        if code is None or code == _STRING or one.nbytes > INLINE_BYTES:
            return None
        head = self._head(kind, number, program, 1, None)
        shape, ndim = one.shape, one.ndim
        entry = _ENTRY.pack(code, ndim, 0, one.nbytes)
        arrays.clear()
        return b"".join((head, entry, struct.pack(f"<{ndim}q", *shape), one.tobytes()))

    def _filled(self, laid: Sequence[_Laid], size: int) -> Segment:
        try:
            segment = self.outbox.take(size)
        except OSError as error:
            raise Internal(f"There is no shared memory for {size} bytes: {error}") from error
        try:
            for of in laid:
                of.write(segment.array)
        except BaseException:
            self.outbox.put_back([segment.number])
            raise
        return segment

    def _head(
        self, kind: Kind, number: int, program: int, num_arrays: int, segment: Segment | None
    ) -> bytes:
        returned, dropped = self.inbox.take_returned(), self.outbox.take_dropped()
        if segment is None and not returned and not dropped:
            return _HEAD.pack(kind, 0, num_arrays, 0, 0, number, program, 0, 0)
        size = 0
        if segment is not None and segment.descriptor is not None:
            size = segment.array.nbytes
        head = _HEAD.pack(
            *(kind, 0, num_arrays, len(returned), len(dropped), number, program),
            0 if segment is None else segment.number,
            size,
        )
        if returned or dropped:
            head += array("I", [*returned, *dropped]).tobytes()
        return head

    def text(self, kind: Kind, text: bytes, number: int = 0, program: int = 0) -> list[bytes]:
        """A message with a text."""
        return [self._head(kind, number, program, 0, None), text]

    def transmit(self, parts: list[bytes], segment: Segment | None = None) -> None:
        """Send what was packed.

        Raises:
            BlockingIOError: the socket takes no more now.
            OSError: the other side is gone.
        """
        if segment is None or segment.descriptor is None:
            if len(parts) == 1:
                self.socket.send(parts[0])
            else:
                self.socket.sendmsg(parts)
            return
        descriptors = array("i", [segment.descriptor])
        self.socket.sendmsg(parts, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        segment.sent()

    def send(
        self, kind: Kind, number: int = 0, program: int = 0, arrays: list[Array] | None = None
    ) -> None:
        """Pack and send; see both."""
        self.transmit(*self.pack(kind, number, program, arrays))

    def send_text(self, kind: Kind, value: object, number: int = 0) -> None:
        """Send a value of JSON."""
        self.transmit(self.text(kind, text_of(value), number))

    def send_error(self, error: ServingError, number: int = 0) -> None:
        """Send why a load or a run failed; a text that is too long loses its end."""
        parts = error.parts()
        most = _MOST_TEXT // 8
        cut = {key: value[:most] for key, value in parts.items() if isinstance(value, str)}
        self.send_text(Kind.FAILED, {**parts, **cut}, number)

    # -- in --------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Give back what messages were received in: no more come."""
        self._buffer = None

    def receive(self) -> Message | None:
        """The next message; None at the end.

        Raises:
            BlockingIOError: there is none now.
            WrongMessage: it is none.
        """
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = memoryview(bytearray(LARGEST_PACKET))
        size, ancillary, flags, _ = self.socket.recvmsg_into([buffer], self._room, _CLOSE_ON_EXEC)
        descriptors = _received(ancillary) if ancillary else _NONE_SENT
        if not size:
            return None
        try:
            if flags & _IS_CUT:
                raise WrongMessage("a message is too long")
            return self._parsed(buffer[:size], descriptors)
        except (struct.error, ValueError, WrongSegment) as error:
            raise WrongMessage(str(error)) from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _parsed(self, packet: memoryview, descriptors: "array[int]") -> Message:
        kind, _, num_arrays, num_returned, num_dropped, number, program, segment, segment_bytes = (
            _HEAD.unpack_from(packet)
        )
        begin = _HEAD.size
        if num_returned or num_dropped:
            numbers = array("I")
            end = begin + _PLACES * (num_returned + num_dropped)
            if end > len(packet):
                raise WrongMessage("a message ends too soon")
            numbers.frombytes(packet[begin:end])
            self.outbox.put_back(numbers[:num_returned])
            self.inbox.drop(numbers[num_returned:])
            begin = end
        if segment_bytes:
            if not descriptors:
                raise WrongMessage("a segment has no descriptor")
            self.inbox.add(segment, descriptors.pop(0), segment_bytes)
        known = _KINDS.get(kind)
        if known is None:
            raise WrongMessage(f"there is no message of kind {kind}")
        message = Message(known, number, program)
        message._read(packet, num_arrays, begin, self.inbox, segment)
        return message


def _received(ancillary: Sequence[tuple[int, int, bytes]]) -> "array[int]":
    """The descriptors that came with a message."""
    descriptors = array("i")
    for level, of, data in ancillary:
        if level == socket.SOL_SOCKET and of == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % _PLACES])
    return descriptors


def _joined(laid: Sequence[_Laid]) -> bytes:
    if len(laid) == 1:
        return laid[0].array.tobytes() + laid[0].blob
    parts: list[bytes] = []
    end = 0
    for of in laid:
        parts += (bytes(of.offset - end), of.array.tobytes(), of.blob)
        end = of.offset + of.size
    return b"".join(parts)
