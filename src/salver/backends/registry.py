"""Which backends there are: those that come with Salver, and those of installed packages."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from salver.backends.protocol import Backend
from salver.errors import FailedPrecondition, ServingError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "Backends"]

_log = logging.getLogger(__name__)

GROUP: Final = "salver.backends"
"""The group of entry points: `linear = "salver_linear:LinearBackend"`."""

_BUILT_IN: Final[Mapping[str, str]] = {
    "tensorflow_savedmodel": "salver.backends.tensorflow.backend:TensorFlowBackend",
    "tflite": "salver.backends.tflite.backend:TFLiteBackend",
    "keras": "salver.backends.keras.backend:KerasBackend",
    "onnxruntime": "salver.backends.onnxruntime.backend:OnnxRuntimeBackend",
    "lightgbm": "salver.backends.lightgbm.backend:LightGBMBackend",
    "xgboost": "salver.backends.xgboost.backend:XGBoostBackend",
    "openvino": "salver.backends.openvino.backend:OpenVINOBackend",
    "sklearn": "salver.backends.sklearn.backend:SklearnBackend",
    "pytorch": "salver.backends.pytorch.backend:PyTorchBackend",
    "python": "salver.backends.python.backend:PythonBackend",
}
"""Backend → its class. The first is asked what is wrong where no backend serves the files."""

_ENDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "tensorflow_savedmodel": ("saved_model.pb", "saved_model.pbtxt"),
    "tflite": (".tflite",),
    "keras": (".keras", ".h5", ".hdf5"),
    "onnxruntime": (".onnx",),
    "lightgbm": (".txt",),
    "xgboost": (".ubj", ".bst", ".json"),
    "openvino": (".xml",),
    "sklearn": (".skops", ".joblib", ".pkl"),
    "pytorch": (".pt2", ".pt"),
    "python": (".py",),
}
"""How a file ends without which a backend finds nothing, so that it need not be imported."""


class Backends:
    """The backends of one server, each made when it is first needed. Thread-safe."""

    def __init__(self, built_in: Mapping[str, str | Callable[[], Backend]] = _BUILT_IN) -> None:
        """Import nothing yet.

        Args:
            built_in: backend → what makes it, or where that is found: `module:Class`.
        """
        self._built_in = built_in
        self._lock = threading.RLock()
        self._made: dict[str, Backend] = {}
        self._failed: dict[str, ServingError] = {}
        self._installed: Mapping[str, EntryPoint] | None = None
        self._is_stopped = False

    def __contains__(self, name: object) -> bool:
        """Whether there is such a backend; imports nothing."""
        return name in self._built_in or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        """The names of all, those that come with Salver first; imports nothing."""
        return iter((*self._built_in, *self._entry_points()))

    def __getitem__(self, name: str) -> Backend:
        """A backend by its name.

        Raises:
            KeyError: there is none.
            FailedPrecondition: it cannot be imported, or is none.
        """
        with self._lock:
            if name not in self._made:
                if name in self._failed:
                    raise self._failed[name]
                backend = self._make(name)
                if self._is_stopped:
                    backend.stop()
                self._made[name] = backend
            return self._made[name]

    def built_in(self, files: Collection[str] | None = None) -> Iterator[Backend]:
        """Those that come with Salver, in their order.

        Args:
            files: leave out those that surely serve none of these.
        """
        for name in self._built_in:
            endings = _ENDINGS.get(name)
            if (
                files is None
                or endings is None
                or any(file.lower().endswith(endings) for file in files)
            ):
                yield self[name]

    def installed(self) -> Iterator[Backend]:
        """Those of other packages; one that cannot be imported is warned of, and left out."""
        for name in self._entry_points():
            try:
                yield self[name]
            except FailedPrecondition as error:  # noqa: PERF203 - there are a few
                _log.warning("%s", error.message)

    def stop(self) -> None:
        """See `Backend.stop`; of those that are made later, too."""
        with self._lock:
            self._is_stopped = True
            made = list(self._made.values())
        for backend in made:
            backend.stop()

    def _make(self, name: str) -> Backend:
        if name in self._built_in:
            make = self._built_in[name]
            if isinstance(make, str):
                module, _, attribute = make.partition(":")
                make = cast("Callable[[], Backend]", vars(import_module(module))[attribute])
            return make()
        entry = self._entry_points()[name]
        try:
            made: Backend = entry.load()()
            problem = "" if made.name == name else f"it calls itself {made.name}"
        except Exception as error:  # noqa: BLE001 - whatever another's package does
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self._failed[name] = FailedPrecondition(f"The backend {name} cannot be used: {problem}")
            raise self._failed[name]
        return made

    def _entry_points(self) -> "Mapping[str, EntryPoint]":
        with self._lock:
            if self._installed is None:
                from importlib import metadata  # here: 11 ms that a start need not wait for

                found = metadata.entry_points(group=GROUP)
                self._installed = {
                    entry.name: entry for entry in found if entry.name not in self._built_in
                }
            return self._installed
