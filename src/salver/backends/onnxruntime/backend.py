"""ONNX models, run by ONNX Runtime's C API."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from salver.backends.onnxruntime.library import load_library, require_library
from salver.backends.onnxruntime.options import OnnxRuntimeOptions
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.onnxruntime.model import OnnxModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["OnnxRuntimeBackend"]

_FILE: Final = "model.onnx"


class OnnxRuntimeBackend(Backend):
    """Loads `model.onnx`, or the only `.onnx` file, of version directories."""

    name: ClassVar[str] = "onnxruntime"
    title: ClassVar[str] = "ONNX model"
    options: ClassVar = OnnxRuntimeOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True, can_cancel=True)

    def detect(self, listing: Listing, options: OnnxRuntimeOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        found = listing.one(_FILE, ".onnx")
        return None if found is None else Match(files=[found], stored_as=_FILE)

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        load_library()

    def inspect(self, directory: Path, options: OnnxRuntimeOptions) -> "ModelInfo":
        """See `Backend.inspect`."""
        from salver.backends.onnxruntime.model import inspect

        return inspect(_file(directory), options)

    def load(self, directory: Path, options: OnnxRuntimeOptions, stage: LoadStage) -> "OnnxModel":
        """See `Backend.load`."""
        from salver.backends.onnxruntime.model import load_model

        return load_model(load_library(), _file(directory), options, stage)


def _file(directory: Path) -> Path:
    return directory / (Listing.of(directory).one(_FILE, ".onnx") or _FILE)
