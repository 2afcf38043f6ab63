"""The files of a model: which they are, how large, and that none lies elsewhere."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from salver.backends.onnxruntime.meaning import Meaning, meaning_of
from salver.backends.onnxruntime.model_file import ExternalData, ModelFile, read
from salver.errors import FailedPrecondition, NotFound, ServingError
from salver.instruments.files import check_regular, error_of_os

__all__ = ["Examined", "examine"]

_ADDRESS: Final = "_MEM_ADDR_"  # by which ONNX Runtime names places in memory


@dataclass(frozen=True, slots=True)
class Examined:
    """A model that has been read, and found to be what may be loaded.

    Attributes:
        file: what it says of itself.
        meaning: what can be asked of it.
        size: of all its files, in bytes: about what it takes when it is loaded.
    """

    file: ModelFile
    meaning: Meaning
    size: int


def _go_on() -> None:
    """Rest never."""


def examine(path: Path, *, max_nodes: int, breathe: Callable[[], None] = _go_on) -> Examined:
    """Read a model.

    Args:
        path: of the file.
        max_nodes: see `model_file.read`.
        breathe: likewise.

    Raises:
        ServingError: it is none, or cannot be served; see `read` and `meaning_of`.
        FailedPrecondition: it wants to read what is not beside it.
        NotFound: a file that belongs to it is not there.
    """
    file = read(path, max_nodes=max_nodes, breathe=breathe)
    meaning = meaning_of(file)
    sizes = dict(map(_sized, _external(file)))
    return Examined(file, meaning, file.size + sum(sizes.values()))


def _external(file: ModelFile) -> list[tuple[ModelFile, ExternalData]]:
    by_location = {each.location: each for each in file.external}
    return [(file, each) for each in by_location.values()]


def _sized(each: tuple[ModelFile, ExternalData]) -> tuple[Path, int]:
    """Where a file with weights is, and its size; not where it leads elsewhere."""
    file, data = each
    location = PurePosixPath(data.location)
    is_inside = not location.is_absolute() and ".." not in location.parts
    if not is_inside or not location.parts or "\0" in data.location or _ADDRESS in data.location:
        raise _outside(file, data)
    path = file.path.parent / location
    try:
        real = path.resolve()
        if not real.is_relative_to(file.path.parent.resolve()):
            raise _outside(file, data)
        check_regular(real)
        return real, os.stat(real).st_size
    except FileNotFoundError:
        raise NotFound(
            f"{path} not found, which has weights of {file.path} ({data.tensor})"
        ) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ServingError:
    if isinstance(error, OSError):
        return error_of_os(str(path), error)
    return FailedPrecondition(f"{path}; {error}")


def _outside(file: ModelFile, data: ExternalData) -> FailedPrecondition:
    return FailedPrecondition(
        f"{file.path} has weights ({data.tensor}) outside its directory: {data.location!r}",
        hint="External data is read from files beside the model alone. Copy them there, and save "
        "the model with their names: onnx.save_model(..., save_as_external_data=True).",
    )
