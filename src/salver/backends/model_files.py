"""Files that are models by themselves, and what a version directory has of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from salver.backends.protocol import Listing
from salver.backends.selection import Selected, Selector
from salver.errors import InvalidArgument

__all__ = ["ModelFile", "file_model", "models_in"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that one file names.

    Attributes:
        path: of that file.
        selected: the backend, and the files that it takes; several where it needs them, such as
            weights of the same name.
        beside: files that belong to it, though the backend does not name them.
    """

    path: Path
    selected: Selected
    beside: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Of the model: the file's without its ending."""
        return self.path.stem

    @property
    def files(self) -> dict[str, Path]:
        """Name in a version directory → file. The first is the one that was named."""
        assert self.selected.match is not None
        match = self.selected.match
        parent = self.path.parent
        others = [name for name in (*match.files, *self.beside) if name != self.path.name]
        stored_as = match.stored_as if len(match.files) == 1 else ""
        own = {stored_as or self.path.name: self.path}
        return {**own, **{name: parent / name for name in others}}


def file_model(path: Path, select: Selector) -> ModelFile | None:
    """The model that a file is; None for none."""
    found = _found(Listing.of(path), path.name, select)
    listing = Listing.of(path.parent)
    if found is None:  # it may need another of the same name
        alike = {name: size for name, size in listing.files.items() if Path(name).stem == path.stem}
        found = _found(Listing(path.parent, alike), path.name, select)
    if found is None:
        return None
    beside = [name for name in listing.files if _belongs(name, path)]
    return ModelFile(path, found, beside)


def models_in(directory: Path, select: Selector) -> list[ModelFile]:
    """The models that files of a directory are, in the order of their names.

    Raises:
        InvalidArgument: two of them would have one name.
    """
    found: dict[str, ModelFile] = {}
    taken: set[str] = set()
    for name in Listing.of(directory).files:
        file = None if name in taken else file_model(directory / name, select)
        if file is None:
            continue
        assert file.selected.match is not None
        taken |= set(file.selected.match.files)
        there = found.setdefault(file.name, file)
        if there is not file:
            found[file.name] = _ranked(there, file)
    return list(found.values())


def _found(listing: Listing, name: str, select: Selector) -> Selected | None:
    return next((each for each in _usable(listing, select) if _head(each) == name), None)


def _usable(listing: Listing, select: Selector) -> Iterator[Selected]:
    for each in select.found_in(listing):
        if each.match is not None and not each.match.problem:
            yield each


def _head(selected: Selected) -> str:
    """The file that stands for a model of several."""
    return "" if selected.match is None else next(iter(selected.match.files), "")


def _belongs(name: str, path: Path) -> bool:
    """Whether it is data that a file keeps apart: `net.onnx.data`, `net.onnx_data`, `net.data`."""
    ends = [f"{path.name}.", f"{path.name}_"]
    return any(name.startswith(end) for end in ends) or name in (
        f"{path.stem}.data",
        f"{path.stem}_data",
    )


def _ranked(one: ModelFile, other: ModelFile) -> ModelFile:
    """Of two files of one name the one that goes before the other, as in a version directory."""
    ranks = [each.selected.match and each.selected.match.rank for each in (one, other)]
    if None in ranks or ranks[0] == ranks[1]:
        raise InvalidArgument(
            f"{one.path} and {other.path.name} would both be the model {one.name}",
            hint="Give each a name: NAME=PATH.",
        )
    return min(
        (one, other), key=lambda each: (each.selected.match and each.selected.match.rank) or 0
    )
