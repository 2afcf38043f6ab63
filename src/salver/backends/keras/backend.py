"""Keras files, served from the SavedModels they are converted to."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from salver.backends.keras.files import is_keras_name, keras_file, several
from salver.backends.keras.options import KerasOptions
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match, Variant
from salver.backends.tensorflow.backend import TensorFlowBackend
from salver.errors import Unavailable
from salver.instruments.files import drop_from_cache

if TYPE_CHECKING:  # what only these files need
    from salver.backends.keras.converted import ConvertedFiles
    from salver.backends.tensorflow.session import SavedModel

__all__ = ["KerasBackend"]

_log = logging.getLogger(__name__)

_TAGS = ("serve",)  # of what Keras exports


class KerasBackend(Backend):
    """Loads the one Keras file of version directories, through TensorFlow's C API."""

    name: ClassVar[str] = "keras"
    title: ClassVar[str] = "Keras model"
    options: ClassVar = KerasOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True)

    def __init__(self) -> None:
        """Convert nothing yet."""
        self._tensorflow = TensorFlowBackend()
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # a conversion takes 1 GB of memory
        self._files: dict[KerasOptions, ConvertedFiles] = {}
        self._is_stopped = False

    def detect(self, listing: Listing, options: KerasOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        found = [name for name in listing.files if is_keras_name(name)]
        if not found:
            return None
        problem = several(listing.path, found) if len(found) > 1 else ""
        return Match(files=found, rank=3, problem=problem)

    def require(self) -> None:
        """See `Backend.require`."""
        from salver.backends.keras.conversion import require_keras

        require_keras()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        self._tensorflow.prepare()

    def describe(self, directory: Path, options: KerasOptions) -> Sequence[Variant]:
        """See `Backend.describe`; converts the file, unless that has been done."""
        with self._converted(options).of(keras_file(directory)) as converted:
            return self._tensorflow.describe(converted, options)

    def load(self, directory: Path, options: KerasOptions, stage: LoadStage) -> "SavedModel":
        """See `Backend.load`; converts the file first, unless that has been done."""
        file = keras_file(directory)
        options = replace(options, saved_model_tags=_TAGS)
        stage.progress(f"converting {file.name}", None)
        with self._converted(options).of(file) as converted:
            stage.check()
            model = self._tensorflow.load(converted, options, stage, settings=str(directory))
            drop_from_cache(str(converted))
        _log.info("Loaded %s from %s", file, converted)
        return model

    def stop(self) -> None:
        """Give up conversions, now and for ever."""
        with self._lock:
            self._is_stopped = True
            files = list(self._files.values())
        for each in files:
            each.stop()

    def _converted(self, options: KerasOptions) -> "ConvertedFiles":
        from salver.backends.keras.converted import ConvertedFiles

        with self._lock:
            if self._is_stopped:
                raise Unavailable("The server is stopping")
            if options not in self._files:
                self._files[options] = ConvertedFiles(options, turn=self._turn)
            return self._files[options]
