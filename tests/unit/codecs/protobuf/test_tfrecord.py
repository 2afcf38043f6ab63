import io
import struct
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.codecs.protobuf.tfrecord import read_records, write_record
from salver.errors import DataLoss

HEAD = 12
CHECKSUM = 4
contents = st.lists(st.binary(max_size=40), max_size=4)


class Trickle(io.RawIOBase):
    """A file that gives one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(min(size, 1))


class Spy(io.BytesIO):
    """A file that remembers the most that was asked of it at once."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        self.most = max(self.most, size)
        return super().read(size)


def written(records: Sequence[bytes]) -> bytes:
    return b"".join(map(write_record, records))


def read(data: bytes) -> list[bytes]:
    return list(read_records(io.BytesIO(data)))


def failure(data: bytes) -> str:
    with pytest.raises(DataLoss) as caught:
        read(data)
    return caught.value.message


def outcome(data: bytes) -> str:
    try:
        read(data)
    except DataLoss as error:
        return error.message
    return "fine"


def masked(data: bytes) -> bytes:
    checksum = google_crc32c.value(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@given(contents)
def test_what_is_written_is_read(records: list[bytes]) -> None:
    assert read(written(records)) == records


@given(contents)
def test_a_file_may_come_one_byte_at_a_time(records: list[bytes]) -> None:
    assert list(read_records(Trickle(written(records)))) == records  # type: ignore[arg-type]


def test_a_record_is_length_checksum_data_checksum() -> None:
    length = struct.pack("<Q", 3)
    assert write_record(b"abc") == length + masked(length) + b"abc" + masked(b"abc")


def test_records_are_read_only_when_they_are_asked_for() -> None:
    file = io.BytesIO(written([b"one", b"two"]))
    assert next(read_records(file)) == b"one"
    assert file.tell() == len(write_record(b"one"))


@given(contents, st.data())
def test_what_is_cut_off_is_data_loss_or_the_records_before(
    records: list[bytes], data: st.DataObject
) -> None:
    whole = written(records)
    kept = data.draw(st.integers(0, len(whole)))
    got = []
    try:
        for record in read_records(io.BytesIO(whole[:kept])):
            got.append(record)  # noqa: PERF402 - what came before an error counts
    except DataLoss as error:
        assert error.message.startswith("truncated record at ")  # noqa: PT017 - nor always
    assert got == records[: len(got)]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_a_flipped_bit_is_data_loss(records: list[bytes], data: st.DataObject) -> None:
    spoiled = bytearray(written(records))
    bit = data.draw(st.integers(0, len(spoiled) * 8 - 1))
    spoiled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DataLoss, match="corrupted record at "):
        read(bytes(spoiled))


def test_a_file_of_something_else_is_told_so() -> None:
    assert failure(b"this is no record at all") == (
        "corrupted record at 0 (Is this even a TFRecord file?)"
    )


def test_the_offset_of_what_is_wrong_is_told() -> None:
    first = write_record(b"hello")
    second = bytearray(write_record(b"worldly"))
    at = len(first)
    assert failure(first + second[:-1]) == (
        f"truncated record at {at}' failed with Read less bytes than requested"
    )
    second[-1] ^= 1
    assert failure(first + second) == f"corrupted record at {at + HEAD}"
    second[0] ^= 1
    assert failure(first + second) == f"corrupted record at {at}"


def test_the_beginning_of_a_head_at_the_end_is_ignored_as_in_tensorflow() -> None:
    assert read(write_record(b"a") + write_record(b"b")[: HEAD - 1]) == [b"a"]


def test_a_length_that_lies_takes_no_memory() -> None:
    length = struct.pack("<Q", 1 << 60)
    assert failure(length + masked(length) + b"abc") == "record size too large"
    length = struct.pack("<Q", (1 << 31) - 1)
    file = Spy(length + masked(length) + b"abc")
    with pytest.raises(DataLoss, match="truncated record at 0"):
        list(read_records(file))
    assert file.most == 1 << 20


def test_a_record_larger_than_a_piece_is_whole() -> None:
    data = bytes(range(256)) * 10_000
    assert read(write_record(data) + write_record(b"end")) == [data, b"end"]


TENSORFLOW = """
import sys
import tensorflow as tf
from tensorflow.python.lib.io import tf_record
ours, theirs, *spoiled = sys.argv[1:]
records = [bytes([n % 256]) * n for n in (0, 1, 5, 200, 70_000)]
assert list(tf_record.tf_record_iterator(ours)) == records, "ours are not read"
with tf.io.TFRecordWriter(theirs) as file:
    for record in records:
        file.write(record)
for path in spoiled:
    try:
        list(tf_record.tf_record_iterator(path))
        print("fine")
    except tf.errors.DataLossError as error:
        print(str(error))
"""


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="compares with TensorFlow itself")
def test_tensorflow_reads_ours_and_we_read_its_own_and_say_the_same_of_errors(
    tmp_path: Path,
) -> None:
    records = [bytes([n % 256]) * n for n in (0, 1, 5, 200, 70_000)]
    whole = written([b"hello", b"worldly"])
    spoils = [whole[:cut] for cut in (0, 1, 11, 12, 13, 17, 20, 21, 22, 33, len(whole) - 1)]
    for at in (0, 8, 12, 17, 20, 21, 33, 40):
        spoiled = bytearray(whole)
        spoiled[at] ^= 1
        spoils.append(bytes(spoiled))
    paths = [tmp_path / f"spoiled{number}" for number in range(len(spoils))]
    for path, data in zip(paths, spoils, strict=True):
        path.write_bytes(data)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(written(records))
    child = subprocess.run(
        [sys.executable, "-c", TENSORFLOW, ours, theirs, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert read(theirs.read_bytes()) == records
    assert [outcome(data) for data in spoils] == child.stdout.splitlines()
