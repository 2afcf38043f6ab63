"""Models that live in the caller's process → files that a server loads.

Each kind of object has an exporter, found by the module and the type of the object: no library is
imported to ask whether an object is of it. The library is there already, or there would be no such
object.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from salver.errors import InvalidArgument
from salver.exporting.asked import NOTHING_ASKED, NOTHING_MADE, Asked, Made
from salver.exporting.estimators import (
    export_estimator,
    export_lightgbm,
    export_xgboost,
    flags_of_estimator,
    is_estimator,
    is_lightgbm,
    is_xgboost,
)
from salver.exporting.frameworks import export_keras, export_module, is_keras, is_module
from salver.exporting.functions import export_function, is_function
from salver.exporting.onnx_models import export_onnx, is_onnx
from salver.exporting.python_classes import export_class, is_model_class
from salver.exporting.torch_modules import export_torch, is_torch

__all__ = [
    "NOTHING_ASKED",
    "NOTHING_MADE",
    "NO_MODEL_HINT",
    "Asked",
    "Made",
    "export",
    "is_live",
    "live_name",
    "server_flags",
]

NO_MODEL_HINT: Final = (
    "Give a Keras model, a tf.Module, a fitted estimator of scikit-learn, XGBoost or LightGBM, a "
    "torch.nn.Module, an ONNX ModelProto, a function, or the path of a model."
)


@dataclass(frozen=True, slots=True)
class _Exporter:
    """One kind of live model.

    Attributes:
        knows: whether an object is one.
        export: writes it into a directory.
        takes: what may be asked of it: `inputs`, `outputs`.
        is_in_directory: whether the directory is made before; else the framework makes it.
        flags: of a server, without which it does not load what is exported.
    """

    knows: Callable[[Any], bool]
    export: Callable[[Any, Path, Asked], Made]
    takes: Sequence[str] = ()
    is_in_directory: bool = True
    flags: Callable[[Any], Mapping[str, str]] = lambda _model: {}


_EXPORTERS: Final[Mapping[str, _Exporter]] = {
    "a Keras model": _Exporter(is_keras, export_keras, is_in_directory=False),
    "a tf.Module": _Exporter(is_module, export_module, is_in_directory=False),
    # Before scikit-learn, whose classes theirs are derived from.
    "a model of XGBoost": _Exporter(is_xgboost, export_xgboost),
    "a model of LightGBM": _Exporter(is_lightgbm, export_lightgbm),
    "an estimator": _Exporter(is_estimator, export_estimator, flags=flags_of_estimator),
    "a PyTorch module": _Exporter(is_torch, export_torch, takes=("inputs",)),
    "an ONNX model": _Exporter(is_onnx, export_onnx),
    "a Python model": _Exporter(is_model_class, export_class),
    "a function": _Exporter(is_function, export_function, takes=("inputs", "outputs")),
}
"""What it is called → how it is exported. The first that knows an object has it."""


def is_live(model: Any) -> bool:
    """Whether this is a model that lives here, rather than a path."""
    return any(each.knows(model) for each in _EXPORTERS.values())


def live_name(model: Any) -> str:
    """What a live model calls itself; fit for a URL."""
    said = [getattr(model, "name", None)]
    if isinstance(model, type) or is_function(model):
        said = [getattr(model, "__name__", None)]
    name = next((each for each in said if isinstance(each, str) and each), type(model).__name__)
    return (
        re.sub("^-|[^-\\w.~]", "_", name) if is_function(model) else re.sub("^-|[/:=]", "_", name)
    )


def server_flags(model: Any) -> Mapping[str, str]:
    """Flags without which a server does not load a live model, name → value; of others, none.

    Raises:
        InvalidArgument: it cannot be exported.
        NotInstalled: something that exporting needs is not installed.
    """
    for exporter in _EXPORTERS.values():
        if exporter.knows(model):
            return exporter.flags(model)
    return {}


def export(model: Any, directory: Path, asked: Asked = NOTHING_ASKED) -> Made:
    """Write a live model.

    Args:
        model: any that `is_live`.
        directory: of the version, which is made; what is above it is there.
        asked: what the caller says of it.

    Returns:
        What the model says of itself beyond its files.

    Raises:
        InvalidArgument: it is no such model, or cannot be exported; the text is the framework's.
        FailedPrecondition: something that exporting needs is not installed.
    """
    for name, exporter in _EXPORTERS.items():
        if not exporter.knows(model):
            continue
        for said in ("inputs", "outputs"):
            if getattr(asked, said) is not None and said not in exporter.takes:
                raise InvalidArgument(f"{said} are not to be said of {name}: it has its own")
        if exporter.is_in_directory:
            directory.mkdir()
        return exporter.export(model, directory, asked)
    raise InvalidArgument(f"A {type(model).__name__} is no model", hint=NO_MODEL_HINT)
