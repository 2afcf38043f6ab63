"""PyTorch's files, run by PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.backends.pytorch.library import load_library, require_library
from salver.backends.pytorch.options import PyTorchOptions
from salver.errors import NotFound

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.pytorch.model import PyTorchModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["PyTorchBackend"]

_EXPORTED: Final = ("model.pt2", ".pt2")
_SCRIPT: Final = ("model.pt", ".pt")
# What PyTorch's loaders do with any such file, one without machine code too: they unpickle what is
# no plain tensor, and evaluate expressions of sizes as Python.
_CODE: Final = {_EXPORTED: "a PyTorch program", _SCRIPT: "a TorchScript program"}


class PyTorchBackend(Backend):
    """Loads `model.pt2`, or the only `.pt2` file, of version directories; else `.pt` likewise."""

    name: ClassVar[str] = "pytorch"
    title: ClassVar[str] = "PyTorch model"
    options: ClassVar = PyTorchOptions
    capabilities: ClassVar[Capabilities] = Capabilities(needs_process=True)

    def detect(self, listing: Listing, options: PyTorchOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        for kind in (_EXPORTED, _SCRIPT):
            name, ending = kind
            found = listing.one(name, ending)
            if found is not None:
                return Match(files=[found], stored_as=name, runs_code=_CODE[kind])
        return None

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        load_library()

    def inspect(self, directory: Path, options: PyTorchOptions) -> "ModelInfo | None":
        """See `Backend.inspect`."""
        del options
        from salver.backends.pytorch.loading import inspect_file

        return inspect_file(self._file(directory))

    def load(self, directory: Path, options: PyTorchOptions, stage: LoadStage) -> "PyTorchModel":
        """See `Backend.load`."""
        from salver.backends.pytorch.loading import load_file

        path = self._file(directory)
        return load_file(load_library(), path, options, stage)

    def _file(self, directory: Path) -> Path:
        match = self.detect(Listing.of(directory), PyTorchOptions())
        if match is None:
            raise NotFound(f"{directory} holds no file of PyTorch, such as {_EXPORTED[0]}")
        return directory / match.files[0]
