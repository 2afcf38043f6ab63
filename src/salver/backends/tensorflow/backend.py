"""The `tensorflow` platform."""

import logging
import threading
from pathlib import Path

from salver._pb import message_class
from salver.backends.registry import BackendOptions
from salver.backends.tensorflow.library import Library, load_library
from salver.backends.tensorflow.saved_model_config import override_session
from salver.backends.tensorflow.session import SavedModel, load_saved_model
from salver.errors import NotFound
from salver.servable import ServableId

__all__ = ["TensorFlowBackend", "open_backend"]

_log = logging.getLogger(__name__)


class TensorFlowBackend:
    """Loads SavedModels; opens TensorFlow and the custom-op libraries at the first load."""

    def __init__(self, options: BackendOptions) -> None:
        self._options = options
        self._opening = threading.Lock()
        self._library: Library | None = None

    def load(
        self, directory: str, id: ServableId | None = None, *, settings: str = ""
    ) -> SavedModel:
        """See `Backend.load`.

        Args:
            directory: of the SavedModel.
            id: see there.
            settings: the version directory, whose `assets.extra` counts, where it is another one.
        """
        options = self._options
        session_config = options.session_config
        if options.has_session_metadata and id is not None:
            session_config = _with_metadata(session_config, id)
        return load_saved_model(
            self._open(),
            directory,
            tags=options.saved_model_tags,
            session_config=override_session(session_config, settings or directory),
            target=options.session_target,
            thread_pool=options.load_thread_pool,
            steps_back=options.is_serving(),
        )

    def _open(self) -> Library:
        with self._opening:
            if self._library is None:
                library = load_library()
                if not self._options.is_xla_enabled and not library.disable_xla():
                    _log.warning(
                        "This TensorFlow does not let XLA be turned off: models that ask for it "
                        "are compiled, as with --xla_cpu_compilation_enabled"
                    )
                for path in self._options.custom_op_libraries:
                    _load_custom_ops(library, path)
                self._library = library
            return self._library


def _with_metadata(session_config: bytes, id: ServableId) -> bytes:
    config = message_class("tensorflow.ConfigProto").FromString(session_config)
    config.experimental.session_metadata.name = id.name
    config.experimental.session_metadata.version = id.version
    serialized: bytes = config.SerializeToString(deterministic=True)
    return serialized


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
