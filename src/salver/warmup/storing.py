"""Warmup files on disk: written whole or not at all."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from salver.codecs.protobuf.tfrecord import read_records, write_record
from salver.errors import AlreadyExists, DataLoss, InvalidArgument
from salver.instruments.files import OsErrorsOf, error_of_os
from salver.warmup.replay import MAX_RECORDS

__all__ = ["read_file", "write_file"]


def read_file(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, one after the other.

    Raises:
        DataLoss: it is none, or damaged; what came before is good.
        ServingError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from read_records(file)
    except DataLoss as error:
        raise DataLoss(f"{path}: {error.message}") from None
    except OSError as error:
        raise error_of_os(str(path), error) from error


def write_file(
    path: Path, records: Sequence[bytes], *, is_appended: bool = False, is_forced: bool = False
) -> int:
    """Write a warmup file, under another name first.

    Args:
        path: where; missing directories are made.
        records: what to write.
        is_appended: keep what is there, and write behind it.
        is_forced: replace what is there.

    Returns:
        How many records the file has now.

    Raises:
        AlreadyExists: it exists, and neither is said.
        DataLoss: it is to be kept, and is no TFRecord file.
        InvalidArgument: a server would refuse so many records.
        ServingError: it cannot be written.
    """
    kept: list[bytes] = []
    if path.exists():
        if not is_appended and not is_forced:
            raise AlreadyExists(
                f"{path} exists.", hint="--append writes behind it, --force replaces it."
            )
        kept = list(read_file(path)) if is_appended else []
    count = len(kept) + len(records)
    if count > MAX_RECORDS:
        raise InvalidArgument(
            f"{count} records are more than a server replays, which is {MAX_RECORDS}."
        )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with OsErrorsOf(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.writelines(write_record(record) for record in (*kept, *records))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
    return count
