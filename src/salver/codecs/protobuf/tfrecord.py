"""TFRecord: records of bytes one behind the other, each with checksums.

A record is its length (8 bytes), a checksum of that (4), the data, and a checksum of the data (4),
all little-endian. The checksum is a CRC-32C, masked because data may itself hold checksums.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord and the errors of TensorFlow's
`core/lib/io/record_reader.cc`.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

import google_crc32c

from salver.errors import DataLoss

__all__ = ["read_records", "write_record"]

_LENGTH: Final = struct.Struct("<Q")
_CHECKSUM: Final = struct.Struct("<I")
_HEAD_BYTES: Final = _LENGTH.size + _CHECKSUM.size
_MASK: Final = 0xA282EAD8
_LARGEST_BYTES: Final = (1 << 31) - 1  # what protobuf parses; a record holds one message
_PIECE_BYTES: Final = 1 << 20  # read at once, so that a length that lies costs no memory


def write_record(data: bytes) -> bytes:
    """One record with its checksums, ready to be appended to a file."""
    head = _LENGTH.pack(len(data))
    return b"".join((head, _masked(head), data, _masked(data)))


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Read one record after the other.

    As in TensorFlow, what is left at the end and too short to be the head of a record is ignored.

    Args:
        file: is read from its present place, which counts as offset 0, as far as records are asked
            for. May return less than it is asked for, as a pipe does.

    Raises:
        DataLoss: a record is cut off or its checksum is wrong; in TensorFlow's words.
        OSError: out of `file`.
    """
    offset = 0
    while len(head := _read(file, _HEAD_BYTES)) == _HEAD_BYTES:
        length_field = head[: _LENGTH.size]
        if head[_LENGTH.size :] != _masked(length_field):
            advice = "" if offset else " (Is this even a TFRecord file?)"
            raise DataLoss(f"corrupted record at {offset}{advice}")
        (length,) = _LENGTH.unpack(length_field)
        if length > _LARGEST_BYTES:
            raise DataLoss("record size too large")
        data = _read(file, length)
        checksum = _read(file, _CHECKSUM.size)
        if len(checksum) < _CHECKSUM.size:
            raise DataLoss(
                f"truncated record at {offset}' failed with Read less bytes than requested"
            )
        if checksum != _masked(data):
            raise DataLoss(f"corrupted record at {offset + _HEAD_BYTES}")
        yield data
        offset += _HEAD_BYTES + length + _CHECKSUM.size


def _masked(data: bytes) -> bytes:
    """The checksum of `data`: rotated right by 15 bits, plus a constant."""
    checksum = google_crc32c.value(data)
    return _CHECKSUM.pack(((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF)


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    """What there is, up to `n_bytes`."""
    pieces = []
    while n_bytes and (piece := file.read(min(n_bytes, _PIECE_BYTES))):
        pieces.append(piece)
        n_bytes -= len(piece)
    return b"".join(pieces)
