"""TFLite files, of whatever platform their model is said to be."""

from salver.backends.registry import BackendOptions
from salver.backends.tflite.library import load_library
from salver.backends.tflite.model import TFLiteModel, load_model
from salver.servable import ServableId

__all__ = ["TFLiteBackend", "open_backend"]


class TFLiteBackend:
    """Loads the `model.tflite` of version directories; opens LiteRT at the first load."""

    def __init__(self, options: BackendOptions) -> None:
        self._options = options

    def load(self, directory: str, id: ServableId | None = None) -> TFLiteModel:
        """See `Backend.load`; here the name of a model means nothing."""
        del id
        return load_model(
            load_library(),
            directory,
            num_pools=self._options.num_tflite_pools,
            interpreters_per_pool=self._options.num_tflite_interpreters_per_pool,
        )


def open_backend(options: BackendOptions) -> TFLiteBackend:
    """See `registry.open_backend`."""
    return TFLiteBackend(options)
