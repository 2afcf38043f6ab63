"""What a `.skops` file would take, by what it declares: looked at before anything is unpacked.

It is a ZIP archive of a schema, as JSON, and arrays. Its sizes are declared in its directory, and
zipfile unpacks no more than they say; so they are bounded, together and in proportion.
"""

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from salver.errors import DataLoss, ResourceExhausted

__all__ = ["check_archive"]

_MOST_ENTRIES: Final = 200_000
_LARGEST_SCHEMA_BYTES: Final = 256 << 20
_MOST_RATIO: Final = 200  # arrays of zeros come near 1000
_COUNTED_FROM_BYTES: Final = 64 << 20
_SCHEMA: Final = "schema.json"
_LARGEST_HEADER_BYTES: Final = 4096


def check_archive(path: Path, data: bytes) -> None:
    """Refuse an archive that is none, or would grow beyond measure.

    Args:
        path: for errors.
        data: the archive.

    Raises:
        DataLoss: it is no archive, was cut, or contradicts itself.
        ResourceExhausted: it would grow too much.
    """
    try:
        _check(path, io.BytesIO(data), is_inner=False)
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise DataLoss(
            f"{path} is no skops file, or only a part of one: {error}. Copy it again, or save the "
            "model again: skops.io.dump(model, 'model.skops')"
        ) from error


def _check(path: Path, file: BinaryIO, *, is_inner: bool) -> None:
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_sizes(path, entries, size)
        names = {entry.filename for entry in entries}
        if len(names) < len(entries):
            raise ValueError("an entry stands twice")
        if not is_inner:
            if _SCHEMA not in names:
                raise ValueError(f"it has no {_SCHEMA}")
            if archive.getinfo(_SCHEMA).file_size > _LARGEST_SCHEMA_BYTES:
                raise ResourceExhausted(f"{_SCHEMA} of {path} is too large")
        for entry in entries:
            if entry.filename.endswith(".npy"):
                with archive.open(entry) as array:
                    _check_array(entry, array.read(_LARGEST_HEADER_BYTES))
            elif entry.filename.endswith(".npz") and not is_inner:
                _check(path, io.BytesIO(archive.read(entry)), is_inner=True)


def _check_sizes(path: Path, entries: Iterable[zipfile.ZipInfo], size: int) -> None:
    entries = list(entries)
    if len(entries) > _MOST_ENTRIES:
        raise ResourceExhausted(f"{path} has {len(entries)} entries: more than {_MOST_ENTRIES}")
    if sum(entry.compress_size for entry in entries) > size:
        raise ValueError("its entries overlap")
    total = sum(entry.file_size for entry in entries)
    if total > _COUNTED_FROM_BYTES and total > size * _MOST_RATIO:
        raise ResourceExhausted(
            f"{path} has {size} bytes and would have {total} unpacked: more than {_MOST_RATIO} "
            "times as many",
            hint="Save it without compression: skops.io.dump(model, 'model.skops').",
        )


def _check_array(entry: zipfile.ZipInfo, head: bytes) -> None:
    """See that an array is not larger than what is there of it."""
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"{entry.filename} is an array of another version")
    shape, _, dtype = read(stream)
    needed = dtype.itemsize
    for axis in shape:
        needed *= axis
    if needed > entry.file_size - stream.tell() or min(shape, default=0) < 0:
        raise ValueError(f"{entry.filename} is shorter than it says")
