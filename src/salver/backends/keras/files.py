"""Which files are Keras models, and which one a version directory holds."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from salver.backends.protocol import Listing
from salver.errors import DataLoss, FailedPrecondition, NotFound
from salver.instruments.files import error_of_os, open_regular

__all__ = [
    "Stamp",
    "is_keras_name",
    "keras_file",
    "must_be_whole",
    "several",
    "stamp",
]

_SUFFIXES: Final = (".keras", ".h5", ".hdf5")
_WEIGHTS: Final = ".weights"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"


def is_keras_name(name: str) -> bool:
    """Whether a file is, by its name, a Keras model; one of weights alone is not."""
    path = PurePath(name)
    return path.suffix in _SUFFIXES and PurePath(path.stem).suffix != _WEIGHTS


def several(directory: Path, names: Sequence[str]) -> str:
    """What is wrong with more than one file."""
    listed = ", ".join(names)
    return f"{directory} holds more than one Keras file: {listed}. Leave the one to be served"


def keras_file(directory: Path) -> Path:
    """The one Keras model of a version directory.

    Raises:
        NotFound: there is none.
        FailedPrecondition: there are several.
    """
    found = [name for name in Listing.of(directory).files if is_keras_name(name)]
    if not found:
        raise NotFound(f"{directory} holds no Keras file")
    if len(found) > 1:
        raise FailedPrecondition(several(directory, found))
    return directory / found[0]


def must_be_whole(path: Path) -> None:
    """Look whether a file can be what its name says, before seconds are spent on it.

    Raises:
        DataLoss: it is of another format, or has been cut.
        ServingError: it cannot be read.
    """
    import zipfile  # here: only a Keras file needs it

    try:
        with open_regular(path) as file:
            # A ZIP archive has its directory at the end: one that was cut has none.
            is_right = (
                zipfile.is_zipfile(file)
                if path.suffix == ".keras"
                else file.read(len(_HDF5)) == _HDF5
            )
    except OSError as error:
        raise error_of_os(str(path), error) from error
    if not is_right:
        kind = "ZIP archive" if path.suffix == ".keras" else "HDF5 file"
        raise DataLoss(
            f"{path} is no Keras file, or only a part of one: it is not a whole {kind}. "
            "Copy it again, or save the model again"
        )


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a file looked. Two that are equal mean that nothing has changed.

    Attributes:
        changed_ns: the latest change of contents, name or permissions (ctime).
        inode: tells a file that was moved into its place.
    """

    size_bytes: int
    changed_ns: int
    inode: int


def stamp(path: str | Path) -> Stamp:
    """Look at a file, through links.

    Raises:
        ServingError: it is not there.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise error_of_os(str(path), error) from error
    return Stamp(found.st_size, found.st_ctime_ns, found.st_ino)
