"""The `tensorflow` platform: a version directory holds a SavedModel, a TFLite file, or both.

Or one Keras file, which is served where there is neither.
"""

import importlib.util
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from salver.backends.foreign_formats import advice_on, foreign_files
from salver.backends.keras.files import holds_keras
from salver.backends.registry import AnyFormat, Backend, BackendOptions
from salver.errors import NotFound, NotInstalled, Unavailable
from salver.servable import ServableId

if TYPE_CHECKING:
    from salver.backends.tensorflow.saved_model import MetaGraph
    from salver.model import Model

__all__ = [
    "FormatBackend",
    "holds_keras",
    "holds_saved_model",
    "holds_tflite",
    "is_tflite",
    "load_library",
    "open_backend",
]

_TFLITE_FILE: Final = "model.tflite"
_SAVED_MODEL_FILES: Final = ("saved_model.pb", "saved_model.pbtxt")
_TENSORFLOW: Final = "salver.backends.tensorflow"
_TFLITE: Final = "salver.backends.tflite"
_KERAS: Final = "salver.backends.keras"


def holds_tflite(directory: str | Path) -> bool:
    """Whether there is a TFLite file."""
    return Path(directory, _TFLITE_FILE).is_file()


def holds_saved_model(directory: str | Path) -> bool:
    """Whether there is a SavedModel."""
    return any(Path(directory, name).is_file() for name in _SAVED_MODEL_FILES)


def is_tflite(directory: str | Path, *, prefer_tflite: bool) -> bool:
    """Whether a version is served from its TFLite file: when that is preferred, or all there is."""
    return holds_tflite(directory) and (prefer_tflite or not holds_saved_model(directory))


class FormatBackend:
    """Loads each version with the backend of its files; each is imported at its first load."""

    def __init__(self, options: BackendOptions) -> None:
        self._options = options
        self._opening = threading.Lock()
        self._backends: dict[str, Backend] = {}
        self._converting: AnyFormat | None = None
        self._is_stopped = False

    def load(self, directory: str, id: ServableId | None = None) -> "Model":
        """See `Backend.load`."""
        is_lite = is_tflite(directory, prefer_tflite=self._options.prefer_tflite_model)
        if not is_lite and not holds_saved_model(directory):
            if holds_keras(directory):
                return self._keras().load(directory, id)
            _refuse(directory)
        try:
            return self._backend(_TFLITE if is_lite else _TENSORFLOW).load(directory, id)
        except NotInstalled as error:
            raise _with_advice(error, directory, is_lite=is_lite) from error

    def inspect(self, directory: str) -> bytes | None:
        """See `AnyFormat.inspect`."""
        is_lite = is_tflite(directory, prefer_tflite=self._options.prefer_tflite_model)
        is_keras = not is_lite and not holds_saved_model(directory) and holds_keras(directory)
        if is_keras:
            import_module(f"{_KERAS}.conversion").require_keras()
            return None
        if not is_lite and not holds_saved_model(directory):
            _refuse(directory)
        try:
            import_module(f"{_TFLITE if is_lite else _TENSORFLOW}.library").require_library()
        except NotInstalled as error:
            raise _with_advice(error, directory, is_lite=is_lite) from error
        if is_lite:
            definitions: bytes = import_module(f"{_TFLITE}.model").signatures_in(directory)
            return definitions
        saved_model = import_module(f"{_TENSORFLOW}.saved_model")
        variants = saved_model.read_meta_graphs(directory)
        tags = self._options.saved_model_tags
        meta_graph: MetaGraph = saved_model.meta_graph_with_tags(variants, tags, directory)
        return meta_graph.signature_def_map

    def stop(self) -> None:
        """See `AnyFormat.stop`."""
        with self._opening:
            self._is_stopped = True
            if self._converting is not None:
                self._converting.stop()

    def _keras(self) -> AnyFormat:
        with self._opening:
            if self._is_stopped:
                raise Unavailable("The server is stopping")
            if self._converting is None:
                opened: AnyFormat = import_module(f"{_KERAS}.backend").open_backend(self._options)
                self._converting = opened
            return self._converting

    def _backend(self, package: str) -> Backend:
        with self._opening:
            if package not in self._backends:
                opened: Backend = import_module(f"{package}.backend").open_backend(self._options)
                self._backends[package] = opened
            return self._backends[package]


def _refuse(directory: str) -> None:
    """Say, before a library is looked for, that there is nothing that any would load.

    Raises:
        ServingError: in the words for a SavedModel that is not there.
    """
    try:
        import_module(f"{_TENSORFLOW}.saved_model").read_meta_graphs(directory)
    except NotFound as error:
        advice = [advice_on(Path(directory, name)) for name in foreign_files(directory)]
        error.hint = error.hint or next(iter(advice), None)
        raise


def _with_advice(error: NotInstalled, directory: str, *, is_lite: bool) -> NotInstalled:
    """The same, and what could be served instead."""
    if is_lite or not holds_tflite(directory) or importlib.util.find_spec("tensorflow"):
        return error
    return NotInstalled(f"{error.message}. Or serve its {_TFLITE_FILE}: --prefer_tflite_model")


def open_backend(options: BackendOptions) -> FormatBackend:
    """See `registry.open_backend`."""
    return FormatBackend(options)


def load_library(base_paths: Sequence[str] = (), *, prefer_tflite: bool = False) -> None:
    """Open what the first loads will need: TensorFlow, unless all versions are TFLite files.

    Args:
        base_paths: of the models; empty when they are not known.
        prefer_tflite: see `is_tflite`.

    Raises:
        NotInstalled: or it cannot be used.
    """
    versions = [version for path in base_paths for version in _versions(path)]
    is_lite = bool(versions) and all(
        is_tflite(version, prefer_tflite=prefer_tflite) for version in versions
    )
    import_module(f"{_TFLITE if is_lite else _TENSORFLOW}.library").load_library()


def _versions(base_path: str) -> list[Path]:
    try:
        return [child for child in Path(base_path).iterdir() if child.name.isdecimal()]
    except OSError:
        return []
