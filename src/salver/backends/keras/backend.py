"""Keras files, served from the SavedModels they are converted to."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from salver.backends.keras.converted import ConvertedFiles
from salver.backends.keras.files import keras_file
from salver.backends.registry import BackendOptions
from salver.backends.tensorflow.backend import TensorFlowBackend
from salver.files import drop_from_cache
from salver.servable import ServableId

if TYPE_CHECKING:
    from salver.backends.tensorflow.session import SavedModel

__all__ = ["KerasBackend", "open_backend"]

_log = logging.getLogger(__name__)

_TAGS = ("serve",)  # of what Keras exports


class KerasBackend:
    """Loads the one Keras file of version directories, through TensorFlow's C API."""

    def __init__(self, options: BackendOptions) -> None:
        self._files = ConvertedFiles(options.keras)
        self._tensorflow = TensorFlowBackend(replace(options, saved_model_tags=_TAGS))

    def load(self, directory: str, id: ServableId | None = None) -> "SavedModel":
        """See `Backend.load`; converts the file first, unless that has been done."""
        file = keras_file(directory)
        with self._files.of(file) as converted:
            model = self._tensorflow.load(str(converted), id, settings=directory)
            drop_from_cache(str(converted))
        _log.info("Loaded %s from %s", file, converted)
        return model

    def stop(self) -> None:
        """Give up conversions, now and for ever."""
        self._files.stop()


def open_backend(options: BackendOptions) -> KerasBackend:
    """See `registry.open_backend`."""
    return KerasBackend(options)
