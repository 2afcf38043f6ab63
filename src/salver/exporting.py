"""Models that live in the caller's process → SavedModels, by the framework that made them.

The framework is there already, or there would be no such model: nothing is imported here.
"""

import inspect
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

from salver.errors import FailedPrecondition, InvalidArgument
from salver.signature import DEFAULT_SIGNATURE

__all__ = ["export", "is_live", "live_name"]

_KERAS: Final = ("keras", "tf_keras")


def is_live(model: Any) -> bool:
    """Whether this is a Keras model or a `tf.Module`, rather than a path."""
    return _is_keras(model) or _is_module(model)


def live_name(model: Any) -> str:
    """What a live model calls itself; fit for a URL."""
    name = str(getattr(model, "name", "") or type(model).__name__)
    return re.sub("^-|[/:=]", "_", name)


def export(model: Any, directory: Path) -> None:
    """Write a live model as a SavedModel.

    Args:
        model: a Keras model, or a `tf.Module` with a `tf.function` that has an input signature.
        directory: that is made; what is above it is there.

    Raises:
        InvalidArgument: it is no such model, or cannot be exported; the text is the framework's.
        FailedPrecondition: Keras runs without TensorFlow, which exporting needs.
    """
    if _is_keras(model):
        _export_keras(model, directory)
    elif _is_module(model):
        _export_module(model, directory)
    else:
        raise InvalidArgument(
            f"A {type(model).__name__} is no model",
            hint="Give a Keras model, a tf.Module, or the path of a SavedModel.",
        )


def _is_keras(model: Any) -> bool:
    packages = [sys.modules[name] for name in _KERAS if name in sys.modules]
    return any(
        isinstance(model, kind)
        for package in packages
        if isinstance(kind := getattr(package, "Model", None), type)
    )


def _is_module(model: Any) -> bool:
    kind = getattr(sys.modules.get("tensorflow"), "Module", None)
    return isinstance(kind, type) and isinstance(model, kind)


def _export_keras(model: Any, directory: Path) -> None:
    more = {"verbose": False} if "verbose" in _parameters(model.export) else {}
    try:
        with redirect_stdout(StringIO()):  # it tells the whole signature
            model.export(str(directory), **more)
    except ImportError as error:
        raise FailedPrecondition(
            f"Keras cannot export the model: {error}", hint="Exporting needs TensorFlow."
        ) from error
    except Exception as error:  # the framework's own words are the best there are
        raise InvalidArgument(f"Keras cannot export the model: {error}") from error


def _parameters(call: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(call).parameters)


def _export_module(model: Any, directory: Path) -> None:
    tensorflow = sys.modules["tensorflow"]
    functions = _functions(model)
    if not functions:
        raise InvalidArgument(
            f"{type(model).__name__} has no function to serve",
            hint="Decorate a method with @tf.function(input_signature=[tf.TensorSpec(…)]).",
        )
    try:
        signatures = {name: of.get_concrete_function() for name, of in functions.items()}
        tensorflow.saved_model.save(model, str(directory), signatures=signatures)
    except Exception as error:  # see above
        raise InvalidArgument(f"TensorFlow cannot export the module: {error}") from error


def _functions(model: Any) -> dict[str, Any]:
    """Signature name → each `tf.function` that says what it takes.

    The default one is `__call__`, else `serve`, `serving_default` or `predict`, else the only one.
    """
    kinds = type(model).__mro__
    own = kinds[: kinds.index(sys.modules["tensorflow"].Module)]
    names = {name for holder in (*own, model) for name in vars(holder)}
    named = {
        name: of
        for name in ("__call__", *sorted(names))
        if getattr(of := getattr(model, name, None), "input_signature", None) is not None
    }
    if not named:
        return {}
    wanted = ("__call__", "serve", DEFAULT_SIGNATURE, "predict")
    default = next((name for name in wanted if name in named), None)
    if default is None:
        (default, *others) = named
        if others:
            default = None
    found = {name: of for name, of in named.items() if name not in ("__call__", default)}
    return {DEFAULT_SIGNATURE: named[default], **found} if default is not None else found
