"""The index of a SavedModel's variables, looked at before TensorFlow restores them.

TensorFlow guards the blocks of the file by checksums, but neither their places nor what a block
with a right checksum says: a footer with one wrong byte takes all memory, and an entry that points
behind the end is read there. Both end the process. Observed with TensorFlow 2.21.

Source of the format: `tensorflow/core/lib/io/table_format.txt`, `block.cc`, `format.cc`, and
`core/protobuf/tensor_bundle.proto`.
"""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.backends.tensorflow.snappy import decompressed
from salver.backends.tensorflow.tensor_claims import fault_of_shape
from salver.codecs.protobuf.wire import LONGEST_VARINT, read_varint
from salver.errors import DataLoss, ServingError
from salver.instruments.files import error_of_os, read_regular
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.tensorflow_types import base_dtype

__all__ = ["check_index"]

_FOOTER_BYTES: Final = 48
_MAGIC: Final = struct.pack("<Q", 0xDB4775248B80FB57)
_TRAILER_BYTES: Final = 5  # of a block: its compression, and a checksum
_PLAIN, _SNAPPY = 0, 1  # compressions; old writers used the second
_NUMBER_BYTES: Final = 4


class _Corrupt(Exception):
    """The file is not what it claims to be."""


def check_index(path: Path, breathe: Callable[[], None]) -> None:
    """See that TensorFlow survives the index of a checkpoint.

    What it refuses by itself, such as a file that is cut off, is left to it; so is one that is not
    there.

    Args:
        path: of the index; the data lie beside it.
        breathe: called for each entry; see `Breather`.

    Raises:
        DataLoss: it would not.
        ServingError: the file cannot be read.
    """
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise error_of_os(str(path), error) from error
    if len(data) < _FOOTER_BYTES or data[-len(_MAGIC) :] != _MAGIC:
        return
    try:
        _check(data, path, breathe)
    except _Corrupt as error:
        raise _corrupt(path, str(error)) from error
    except DecodeError as error:
        raise _corrupt(path, "an entry is none") from error


def _corrupt(path: Path, what: str) -> ServingError:
    error = DataLoss(
        f"{path} is corrupt: {what}",
        hint="TensorFlow would end the server's process on this file, so it was not given to it. "
        "It is looked at again when the files of this version change.",
    )
    error.is_final = True
    return error


def _check(data: bytes, path: Path, breathe: Callable[[], None]) -> None:
    body = memoryview(data)[:-_FOOTER_BYTES]
    footer = data[-_FOOTER_BYTES : -len(_MAGIC)]
    _, at = _handle(footer, 0)
    place, _ = _handle(footer, at)
    parse = message_class("salver.graph.BundleEntry").FromString
    for _, handle in _entries(_block(body, place)):
        block, _ = _handle(handle, 0)
        for key, value in _entries(_block(body, block)):
            breathe()
            if key:  # the first one is the header
                _check_entry(key, parse(bytes(value)), path)


# -- a table: blocks of sorted keys and values -----------------------------------------------------


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """The place and the length of a block, and where what follows it begins."""
    start, at = _varint(data, at)
    size, at = _varint(data, at)
    return (start, size), at


def _block(body: memoryview, handle: tuple[int, int]) -> bytes:
    start, size = handle
    if start + size + _TRAILER_BYTES > len(body):
        raise _Corrupt("a block lies behind its end")
    block, kind = bytes(body[start : start + size]), body[start + size]
    if kind == _PLAIN:
        return block
    return decompressed(block) if kind == _SNAPPY else b""  # TensorFlow says what it is not


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    if len(block) < _NUMBER_BYTES:
        return  # TensorFlow says so
    (restarts,) = struct.unpack_from("<I", block, len(block) - _NUMBER_BYTES)
    end = len(block) - _NUMBER_BYTES * (1 + restarts)
    if end < 0:
        return
    for (restart,) in struct.iter_unpack("<I", block[end:-_NUMBER_BYTES]):
        if restart > end:
            raise _Corrupt("a block points behind itself")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + rest + size > end:
            raise _Corrupt("an entry is longer than its block")
        key = key[:shared] + block[at : at + rest]
        at += rest
        yield key, block[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    try:
        return read_varint(data, at)
    except IndexError as error:
        raise _Corrupt("a number does not end") from error


# -- its entries: tensors --------------------------------------------------------------------------


def _check_entry(key: bytes, entry: Any, path: Path) -> None:
    name = key.decode(errors="replace")
    sizes = [dim.size for dim in entry.shape.dim]
    fault = fault_of_shape(sizes)
    if fault is not None:
        raise _Corrupt(f"{name} is a tensor {fault}")
    for each in entry.slices:
        if any(extent.start < 0 or extent.length < 0 for extent in each.extent):
            raise _Corrupt(f"{name} has a part that begins before it")
    if (
        base_dtype(entry.dtype) is DataType.STRING
        and not entry.slices
        and min(sizes, default=1) >= 0
    ):
        _check_strings(name, entry, sizes, path)


def _check_strings(name: str, entry: Any, sizes: list[int], path: Path) -> None:
    """See that the strings of a tensor are no longer than what the file has of them."""
    count = 1
    for size in sizes:
        count *= size
    if count > max(0, entry.size):
        raise _Corrupt(f"{name} has {count} strings in {entry.size} bytes")
    if entry.offset < 0 or not count:
        return
    lengths = _head(path, entry, min(entry.size, count * LONGEST_VARINT))
    at = total = 0
    for _ in range(count):
        if at >= len(lengths):
            return  # the file is cut off, as TensorFlow will say
        length, at = _varint(lengths, at)
        total += length
        if total > entry.size:
            raise _Corrupt(f"{name} has a string of more bytes than all together")


def _head(path: Path, entry: Any, size: int) -> bytes:
    """The first bytes of a tensor; none if they are not there."""
    found = sorted(path.parent.glob(f"{path.stem}.data-{entry.shard_id:05d}-of-*"))
    with suppress(OSError, OverflowError, IndexError), found[0].open("rb") as file:
        return os.pread(file.fileno(), size, entry.offset)
    return b""
