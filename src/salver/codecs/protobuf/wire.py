"""Protocol buffers by their wire form: what is read and written here without message classes.

The usual message of the usual client is scanned by hand, because then its large values stay where
they are. Whatever is unusual goes to protobuf's own parser (`parse_message`), which alone decides
what is malformed: so a scanner gives up where it is in doubt, and never refuses.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.errors import Internal

__all__ = [
    "LONGEST_VARINT",
    "SCANNED_FIELDS",
    "from_varints",
    "length_delimited",
    "merge_in_steps",
    "parse_message",
    "read_length",
    "read_varint",
    "to_varints",
    "varint",
]

Bytes = bytes | memoryview
Unsigned = np.dtype[np.unsignedinteger[Any]]

_STEP_BYTES = 1 << 20
_LARGEST_WHOLE_BYTES = 8 << 20  # parsed in one go: 80 ms, if it is all empty strings
_DEEPEST = 100  # messages in messages, as protobuf has it
_FIXED_BYTES = {1: 8, 5: 4}  # wire type → size
LONGEST_VARINT = 10
"""Bytes of 7 bits that 64 bits take."""
SCANNED_FIELDS: Final = range(4096)
"""That who looks for one field of a message passes over at most, a few tenths of a microsecond
each: messages of clients have dozens, at most hundreds where models have so many inputs. A larger
message may hold a thousand million."""
_LONGEST_LENGTH = 5
_FEW = 512  # up to here protobuf (2 µs and 25 ns a number) beats numpy (13 µs and 15 ns)
_BLOCK = 1 << 16  # bounds the temporaries, and keeps them in the processor's cache


def parse_message(full_name: str, data: Bytes) -> Any:
    """The message of `salver._pb` in `data`.

    Raises:
        Internal: `data` is no such message. The code is that of a C++ gRPC server, which gives no
            text (`grpcpp/impl/proto_utils.h`, GenericDeserialize).
    """
    made = message_class(full_name)
    try:
        if len(data) <= _LARGEST_WHOLE_BYTES:
            return made.FromString(data)
        message = made()
        merge_in_steps(message, memoryview(data))
    except (DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"Failed to parse {full_name}") from error
    return message


def merge_in_steps(message: Any, data: memoryview, depth: int = 0) -> None:
    """Parse a large message into `message`, as `MergeFromString` does it.

    protobuf parses without giving up the GIL, for a second and more where a message has millions of
    fields; so it is handed no more than a step at a time, as far as fields can be told apart: cut
    between the fields, and within those that hold messages, down to the values of maps.

    Raises:
        DecodeError: `data` is no such message.
        UnicodeDecodeError: a key of a map is no text.
    """
    if depth > _DEEPEST:
        raise DecodeError("messages in messages in messages")
    fields = message.DESCRIPTOR.fields_by_number
    start = at = 0  # from `start` to `at` there are whole fields
    try:
        while at < len(data):
            begin = at
            number, payload, at = _field_at(data, at)
            if at - start <= _STEP_BYTES:
                continue
            message.MergeFromString(bytes(data[start:begin]))
            start = begin
            if at - begin > _STEP_BYTES and data[begin] & 7 == 2:
                for into, part in _within(message, fields.get(number), data[payload:at]):
                    merge_in_steps(into, part, depth + 1)
                    start = at
    except (IndexError, KeyError):
        pass  # protobuf says what is wrong with the rest
    message.MergeFromString(bytes(data[start:]))


def _within(message: Any, field: Any, data: memoryview) -> Iterator[tuple[Any, memoryview]]:
    """The messages in a field of `message`, with what is to be merged into each.

    None, if the field cannot be taken apart.

    Raises:
        IndexError, KeyError: a map's entry is malformed.
    """
    if field is None or field.message_type is None:
        return
    value = getattr(message, field.name)
    if field.message_type.GetOptions().map_entry:
        yield from _within_entry(value, field.message_type, data)
    elif _is_repeated(field):
        yield value.add(), data
    else:
        yield value, data


def _within_entry(entries: Any, entry: Any, data: memoryview) -> Iterator[tuple[Any, memoryview]]:
    of_key, of_value = (entry.fields_by_number[number] for number in (1, 2))
    if of_key.type != of_key.TYPE_STRING or of_value.message_type is None:
        return
    key = ""
    values = []
    at = 0
    while at < len(data):
        begin = at
        number, payload, at = _field_at(data, at)
        if data[begin] & 7 != 2:
            return
        if number == 1:
            key = str(data[payload:at], "utf-8")
        elif number == 2:
            values.append(data[payload:at])
        else:
            return  # protobuf keeps such an entry apart
    into = entries[key]
    into.Clear()  # of two entries with one key the last one counts
    for value in values:
        yield into, value


def _is_repeated(field: Any) -> bool:
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)  # protobuf before 6.31


def _field_at(data: memoryview, at: int) -> tuple[int, int, int]:
    """The field that begins at a place: its number, where its value begins and where it ends.

    Raises:
        IndexError: `data` ends within it, or a number is too long.
        KeyError: it is of a kind that is not known.
    """
    tag, at = read_length(data, at)
    kind = tag & 7
    begin = stop = at
    if kind == 2:
        size, begin = read_length(data, at)
        stop = begin + size
    elif kind == 0:
        while data[stop] > 0x7F:
            stop += 1
            if stop - at == LONGEST_VARINT:
                raise IndexError("a number is too long")
        stop += 1
    else:
        stop += _FIXED_BYTES[kind]
    if stop > len(data):
        raise IndexError("the last field is cut off")
    return tag >> 3, begin, stop


def varint(value: int) -> bytes:
    """A number from 0 to 2**64 - 1."""
    if value < 0x80:
        return bytes((value,))
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def read_varint(data: Bytes, at: int, longest: int = LONGEST_VARINT) -> tuple[int, int]:
    """The number at a place, and the place behind it.

    Raises:
        IndexError: `data` ends within it, or it has more than `longest` bytes.
    """
    value = shift = 0
    while (octet := data[at]) > 0x7F:
        if shift == 7 * (longest - 1):
            raise IndexError(f"a number has more than {longest} bytes")
        value |= (octet & 0x7F) << shift
        shift += 7
        at += 1
    return value | octet << shift, at + 1


def read_length(data: Bytes, at: int) -> tuple[int, int]:
    """The length of a field at a place, and the place behind it.

    Raises:
        IndexError: `data` ends within it, or it has more than the five bytes protobuf reads.
    """
    octet = data[at]
    return (octet, at + 1) if octet < 0x80 else read_varint(data, at, _LONGEST_LENGTH)


def length_delimited(number: int, payload: bytes) -> bytes:
    """A field that holds a message, a string, bytes or packed numbers."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def to_varints(values: "np.ndarray[Any, Unsigned]") -> bytes:
    """Pack numbers, shape (n,), one behind the other."""
    return b"".join(
        [_packed_block(values[at : at + _BLOCK]) for at in range(0, len(values), _BLOCK)]
    )


# `TensorProto.uint64_val` holds any numbers.
_NUMBERS = "tensorflow.TensorProto"
_NUMBERS_TAG = b"\x8a\x01"


def _few_unpacked(data: Bytes) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    try:
        message = message_class(_NUMBERS).FromString(_NUMBERS_TAG + varint(len(data)) + data)
    except DecodeError as error:
        raise ValueError("the last number is cut off, or one longer than ten bytes") from error
    return np.array(message.uint64_val, np.uint64)


def _packed_block(values: "np.ndarray[Any, Unsigned]") -> bytes:
    highest = int(values.max())
    if highest < 0x80:
        return values.astype(np.uint8).tobytes()
    width = (highest.bit_length() + 6) // 7
    octets = np.empty((len(values), width), np.uint8)
    is_used = np.ones((len(values), width + 1), np.bool_)
    for place in range(width):
        rest = np.right_shift(values, values.dtype.type(7))
        is_used[:, place + 1] = has_more = rest != 0
        # A cast to 8 bits drops the others.
        octets[:, place] = values.astype(np.uint8) & 0x7F | has_more.astype(np.uint8) << 7
        values = rest
    return octets[is_used[:, :width]].tobytes()


def from_varints(data: Bytes, dtype: Unsigned) -> "np.ndarray[Any, Unsigned]":
    """Unpack numbers, shape (n,); the bits that `dtype` has no place for are dropped.

    Raises:
        ValueError: the last number is cut off, or one is longer than ten bytes.
    """
    if len(data) < _FEW:
        return _few_unpacked(data).astype(dtype, copy=False)
    octets = np.frombuffer(data, np.uint8)
    if octets.max() < 0x80:
        return octets.astype(dtype)
    if octets[-1] > 0x7F:
        raise ValueError("the last number is cut off")
    blocks = []
    at = 0
    while at < len(octets):
        block = octets[at : at + _BLOCK]
        ends = np.flatnonzero(block < 0x80)
        blocks.append(_unpacked_block(block, ends, dtype))
        at += int(ends[-1]) + 1
    return np.concatenate(blocks)


def _unpacked_block(
    octets: "np.ndarray[Any, np.dtype[np.uint8]]",
    ends: "np.ndarray[Any, np.dtype[np.intp]]",
    dtype: Unsigned,
) -> "np.ndarray[Any, Unsigned]":
    """The numbers whose last bytes are at `ends`."""
    if not len(ends):
        raise ValueError("a number is longer than ten bytes")
    starts = np.empty_like(ends)
    starts[0] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    longer = np.flatnonzero(ends != starts)
    values = (octets[starts] & 0x7F).astype(dtype)
    for place in range(1, LONGEST_VARINT):
        if not len(longer):
            return values
        if 7 * place < 8 * dtype.itemsize:
            parts = (octets[starts[longer] + place] & 0x7F).astype(dtype)
            values[longer] |= parts << dtype.type(7 * place)
        longer = longer[ends[longer] - starts[longer] > place]
    if len(longer):
        raise ValueError("a number is longer than ten bytes")
    return values
