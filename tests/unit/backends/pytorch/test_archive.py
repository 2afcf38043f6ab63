import struct
import zipfile
from pathlib import Path

import pytest
from tests.models.pt2 import members, write

from salver.backends.pytorch.archive import open_archive
from salver.errors import FailedPrecondition, NotFound, ServingError

MIB = 1 << 20


def read(path: Path, name: str = "big", most_bytes: int = MIB) -> bytes:
    with open_archive(path) as archive:
        return archive.read(name, most_bytes)


def test_members_are_found_below_whatever_folder_there_is(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    write(path, members())
    with open_archive(path) as archive:
        assert "archive_format" in archive
        assert "net/archive_format" not in archive
        assert archive.below("models/") == ["models/model.json"]
        assert archive.read("archive_format", 10) == b"pt2"
        with pytest.raises(NotFound, match="has no nothing"):
            archive.read("nothing", 10)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_read_up_to_a_limit(compression: int, tmp_path: Path) -> None:
    write(tmp_path / "a.pt2", {"big": b"0" * (64 * MIB)}, compression)
    with pytest.raises(FailedPrecondition, match=r"big is longer than 1 MiB, which is not read"):
        read(tmp_path / "a.pt2")


def test_a_size_that_lies_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    write(path, {"big": b"0" * (64 * MIB)}, zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 64 * MIB), struct.pack("<L", 16)))
    with pytest.raises(FailedPrecondition):
        read(path, most_bytes=8)


def test_a_table_of_members_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    write(path, members())
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<L", data, end + 12, 100 * MIB)
    path.write_bytes(data)
    with pytest.raises(FailedPrecondition, match="a table of members of 100 MiB"):
        read(path)


def test_so_is_one_that_says_its_size_in_64_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    write(path, members())
    data = path.read_bytes()
    end = data.rfind(b"PK\x05\x06")
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    path.write_bytes(data[:end] + end64 + locator + data[end:])
    with pytest.raises(FailedPrecondition, match="which is not read"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"rubbish" * 1000, b"PK\x03\x04" * 99])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(content)
    with pytest.raises(FailedPrecondition, match=r"a\.pt2 is no archive of PyTorch"):
        read(tmp_path / "a.pt2")


def test_a_cut_at_any_place_is_an_error_with_a_code(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    write(path, members())
    data = path.read_bytes()
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(ServingError):
            read(path, "models/model.json")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path / "a.pt2")
