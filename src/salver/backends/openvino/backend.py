"""OpenVINO's IR, and ONNX files of models that ask for it."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from salver.backends.openvino.library import load_library, require_library
from salver.backends.openvino.options import OpenVINOOptions
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.openvino.model import OpenVINOModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["OpenVINOBackend"]

_FILE: Final = "model.xml"
_HEAD: Final = b"<net "


class OpenVINOBackend(Backend):
    """Loads `model.xml` with `model.bin`, or the only IR, of version directories."""

    name: ClassVar[str] = "openvino"
    title: ClassVar[str] = "OpenVINO model"
    options: ClassVar = OpenVINOOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True)

    def detect(self, listing: Listing, options: OpenVINOOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        found = _ir(listing)
        if found is None:
            return None
        weights = Path(found).with_suffix(".bin").name
        return Match(files=[found, weights] if weights in listing.files else [found])

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        load_library()

    def inspect(self, directory: Path, options: OpenVINOOptions) -> "ModelInfo | None":
        """See `Backend.inspect`."""
        del options
        path = _file(directory)
        if path.suffix != ".xml":
            return None
        from salver.backends.openvino.loading import inspect

        return inspect(path)

    def load(self, directory: Path, options: OpenVINOOptions, stage: LoadStage) -> "OpenVINOModel":
        """See `Backend.load`."""
        stage.progress("compiling", None)
        from salver.backends.openvino.loading import load_model

        return load_model(_file(directory), options)


def _ir(listing: Listing) -> str | None:
    """The IR: `model.xml`, or the only other XML that is one."""
    if _FILE in listing.files:
        return _FILE
    found = [
        name for name in listing.files if name.endswith(".xml") and _HEAD in listing.head(name)
    ]
    return found[0] if len(found) == 1 else None


def _file(directory: Path) -> Path:
    """The IR of a version; where there is none, its ONNX file, for which this was asked by name."""
    listing = Listing.of(directory)
    return directory / (_ir(listing) or listing.one("model.onnx", ".onnx") or _FILE)
