"""The `tensorflow` platform."""

import threading
from pathlib import Path

from salver.backends.registry import BackendOptions
from salver.backends.tensorflow.library import Library, load_library
from salver.backends.tensorflow.session import SavedModel, load_saved_model
from salver.errors import NotFound

__all__ = ["TensorFlowBackend", "open_backend"]


class TensorFlowBackend:
    """Loads SavedModels; opens TensorFlow and the custom-op libraries at the first load."""

    def __init__(self, options: BackendOptions) -> None:
        self._options = options
        self._opening = threading.Lock()
        self._library: Library | None = None

    def load(self, directory: str) -> SavedModel:
        """See `Backend.load`."""
        return load_saved_model(
            self._open(),
            directory,
            tags=self._options.saved_model_tags,
            session_config=self._options.session_config,
        )

    def _open(self) -> Library:
        with self._opening:
            if self._library is None:
                library = load_library()
                for path in self._options.custom_op_libraries:
                    _load_custom_ops(library, path)
                self._library = library
            return self._library


def _load_custom_ops(library: Library, path: str) -> None:
    if not Path(path).is_file():
        raise NotFound(f"Custom op library {path} not found")
    status = library.quick.TF_NewStatus()
    try:
        handle = library.long.TF_LoadLibrary(str(Path(path).resolve()).encode(), status)
        library.check(status)
        library.quick.TF_DeleteLibraryHandle(handle)  # the operations stay registered
    finally:
        library.quick.TF_DeleteStatus(status)


def open_backend(options: BackendOptions) -> TensorFlowBackend:
    """See `registry.open_backend`."""
    return TensorFlowBackend(options)
