import os
from pathlib import Path

import pytest

from salver.codecs.protobuf.tfrecord import write_record
from salver.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound, ServingError
from salver.warmup.storing import read_file, write_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "assets.extra" / "requests"


def only(path: Path) -> bool:
    """Whether nothing else was left beside it."""
    return os.listdir(path.parent) == [path.name]


def test_what_is_written_is_read(path: Path) -> None:
    assert write_file(path, [b"a", b"bc"]) == 2
    assert list(read_file(path)) == [b"a", b"bc"]
    assert only(path)


def test_what_is_there_is_kept_unless_told_otherwise(path: Path) -> None:
    write_file(path, [b"a"])
    with pytest.raises(AlreadyExists) as caught:
        write_file(path, [b"b"])
    assert caught.value.message == f"{path} exists."
    assert caught.value.hint == "--append writes behind it, --force replaces it."
    assert list(read_file(path)) == [b"a"]
    assert write_file(path, [b"b"], is_appended=True) == 2
    assert list(read_file(path)) == [b"a", b"b"]
    assert write_file(path, [b"c"], is_forced=True) == 1
    assert list(read_file(path)) == [b"c"]


def test_appending_to_nothing_begins_a_file(path: Path) -> None:
    assert write_file(path, [b"a"], is_appended=True) == 1
    assert list(read_file(path)) == [b"a"]


def test_a_damaged_file_is_not_appended_to(path: Path) -> None:
    write_file(path, [b"a"])
    path.write_bytes(path.read_bytes()[:-1])
    before = path.read_bytes()
    with pytest.raises(DataLoss) as caught:
        write_file(path, [b"b"], is_appended=True)
    assert caught.value.message == (
        f"{path}: truncated record at 0' failed with Read less bytes than requested"
    )
    assert path.read_bytes() == before
    assert only(path)


def test_more_than_a_server_replays_is_not_written(path: Path) -> None:
    write_file(path, [b"a"] * 999)
    with pytest.raises(InvalidArgument) as caught:
        write_file(path, [b"b"] * 2, is_appended=True)
    assert caught.value.message == "1001 records are more than a server replays, which is 1000."
    assert len(list(read_file(path))) == 999
    assert write_file(path, [b"b"], is_appended=True) == 1000


class Unwritable(bytes):
    """A record that fails when it is written."""

    def __len__(self) -> int:
        raise KeyboardInterrupt


def test_an_interrupted_write_leaves_what_was_there_and_nothing_else(path: Path) -> None:
    write_file(path, [b"a"])
    with pytest.raises(KeyboardInterrupt):
        write_file(path, [b"b" * 100_000, Unwritable()], is_forced=True)
    assert list(read_file(path)) == [b"a"]
    assert only(path)


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "requests"
    with pytest.raises(ServingError) as caught:
        write_file(path, [b"a"])
    assert caught.value.message == f"{path}; File exists"


def test_a_file_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        list(read_file(path))
    assert caught.value.message == f"{path}; No such file or directory"


def test_records_before_the_damage_are_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(write_record(b"a") + b"something else")
    records = read_file(path)
    assert next(records) == b"a"
    with pytest.raises(DataLoss) as caught:
        next(records)
    assert caught.value.message == f"{path}: corrupted record at {len(write_record(b'a'))}"
