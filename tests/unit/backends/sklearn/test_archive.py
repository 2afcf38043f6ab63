import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from salver.backends.sklearn.archive import check_archive
from salver.errors import DataLoss, ResourceExhausted

PATH = Path("m.skops")


def npy(array: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def archive(entries: dict[str, bytes], *, is_compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return stream.getvalue()


def test_an_archive_is_one() -> None:
    check_archive(PATH, archive({"schema.json": b"{}", "1.npy": npy(np.ones(3))}))
    zeros = npy(np.zeros(1000))
    check_archive(PATH, archive({"schema.json": b"{}", "1.npy": zeros}, is_compressed=True))


def test_what_would_grow_beyond_measure_is_refused_before_it_is_unpacked() -> None:
    bomb = archive({"schema.json": b"{}", "1.npy": b"\0" * (65 << 20)}, is_compressed=True)
    with pytest.raises(ResourceExhausted, match="more than 200 times as many"):
        check_archive(PATH, bomb)


def test_a_bomb_in_an_inner_archive_is_found_too() -> None:
    inner = archive({"data.npy": b"\0" * (65 << 20)}, is_compressed=True)
    with pytest.raises(ResourceExhausted):
        check_archive(PATH, archive({"schema.json": b"{}", "1.npz": inner}))


def test_an_array_that_is_larger_than_what_is_there_is_refused() -> None:
    data = npy(np.ones(3)).replace(b"(3,)", b"(9,)")
    with pytest.raises(DataLoss, match=r"1\.npy is shorter than it says"):
        check_archive(PATH, archive({"schema.json": b"{}", "1.npy": data}))


def test_entries_that_overlap_are_refused() -> None:
    data = bytearray(archive({"schema.json": b"{}", "1.npy": npy(np.ones(3))}))
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 1 << 20, 1 << 20)
    with pytest.raises(DataLoss, match="overlap"):
        check_archive(PATH, bytes(data))


@pytest.mark.parametrize("size", [0, 10, 100, -1])
def test_what_was_cut_is_refused_by_name(size: int) -> None:
    data = archive({"schema.json": b"{}", "1.npy": npy(np.ones(30))})
    with pytest.raises(DataLoss, match=r"^m\.skops is no skops file, or only a part of one"):
        check_archive(PATH, data[:size])


def test_an_archive_without_a_schema_is_none() -> None:
    with pytest.raises(DataLoss, match=r"it has no schema\.json"):
        check_archive(PATH, archive({"1.npy": npy(np.ones(3))}))
