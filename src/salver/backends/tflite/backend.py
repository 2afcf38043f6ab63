"""TFLite files, run by LiteRT."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match, Variant
from salver.backends.tflite.library import load_library, require_library
from salver.backends.tflite.options import TFLiteOptions

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.tflite.model import TFLiteModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["TFLiteBackend"]

_FILE: Final = "model.tflite"
_RANKS: Final = (2, 0)  # behind SavedModels; or before them, where that is preferred


class TFLiteBackend(Backend):
    """Loads `model.tflite`, or the only `.tflite` file, of version directories."""

    name: ClassVar[str] = "tflite"
    title: ClassVar[str] = "TFLite model"
    options: ClassVar = TFLiteOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True)

    def detect(self, listing: Listing, options: TFLiteOptions) -> Match | None:
        """See `Backend.detect`."""
        found = listing.one(_FILE, ".tflite")
        if found is None:
            return None
        instead = "" if options.is_preferred else f"serve its {found}: --prefer_tflite_model"
        rank = _RANKS[options.is_preferred]
        return Match(files=[found], stored_as=_FILE, rank=rank, instead=instead)

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        load_library()

    def inspect(self, directory: Path, options: TFLiteOptions) -> "ModelInfo":
        """See `Backend.inspect`."""
        del options
        from salver.backends.tflite.model import inspect

        return inspect(_file(directory))

    def describe(self, directory: Path, options: TFLiteOptions) -> Sequence[Variant]:
        """See `Backend.describe`."""
        return [Variant("The file", self.inspect(directory, options))]

    def load(self, directory: Path, options: TFLiteOptions, stage: LoadStage) -> "TFLiteModel":
        """See `Backend.load`."""
        del stage
        from salver.backends.tflite.model import load_model

        return load_model(
            load_library(),
            _file(directory),
            num_pools=options.num_pools,
            interpreters_per_pool=options.num_interpreters_per_pool,
        )


def _file(directory: Path) -> Path:
    return directory / (Listing.of(directory).one(_FILE, ".tflite") or _FILE)
