"""LightGBM's text files, run by LightGBM."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from salver.backends.lightgbm.library import load_library, require_library
from salver.backends.lightgbm.options import LightGBMOptions
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.trees.model import TreeModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["LightGBMBackend"]

_FILE: Final = "model.txt"
_FIRST_LINE: Final = (b"tree\n", b"tree\r\n")


class LightGBMBackend(Backend):
    """Loads `model.txt`, or the only other `.txt` file that is a model, of version directories."""

    name: ClassVar[str] = "lightgbm"
    title: ClassVar[str] = "LightGBM model"
    options: ClassVar = LightGBMOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True)

    def detect(self, listing: Listing, options: LightGBMOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        found = _model(listing)
        return None if found is None else Match(files=[found], stored_as=_FILE)

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        load_library()

    def inspect(self, directory: Path, options: LightGBMOptions) -> "ModelInfo":
        """See `Backend.inspect`."""
        from salver.backends.lightgbm.loading import inspect

        return inspect(_file(directory), options)

    def load(self, directory: Path, options: LightGBMOptions, stage: LoadStage) -> "TreeModel":
        """See `Backend.load`."""
        del stage
        from salver.backends.lightgbm.loading import load_model

        return load_model(_file(directory), options)


def _model(listing: Listing) -> str | None:
    found = [
        name
        for name in listing.files
        if name.endswith(".txt") and listing.head(name, 6).startswith(_FIRST_LINE)
    ]
    return _FILE if _FILE in found else found[0] if len(found) == 1 else None


def _file(directory: Path) -> Path:
    return directory / (_model(Listing.of(directory)) or _FILE)
