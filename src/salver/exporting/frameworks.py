"""Keras models and `tf.Module`s → SavedModels, by the framework that made them."""

import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

from salver.errors import FailedPrecondition, InvalidArgument
from salver.exporting.asked import Asked, Made
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["export_keras", "export_module", "is_keras", "is_module"]

_KERAS: Final = ("keras", "tf_keras")


def is_keras(model: Any) -> bool:
    """Whether it is a model of Keras."""
    packages = [sys.modules[name] for name in _KERAS if name in sys.modules]
    return any(
        isinstance(model, kind)
        for package in packages
        if isinstance(kind := getattr(package, "Model", None), type)
    )


def is_module(model: Any) -> bool:
    """Whether it is a `tf.Module`."""
    kind = getattr(sys.modules.get("tensorflow"), "Module", None)
    return isinstance(kind, type) and isinstance(model, kind)


def export_keras(model: Any, directory: Path, asked: Asked) -> Made:
    """Write a SavedModel.

    Raises:
        InvalidArgument: it cannot be exported; the text is the framework's.
        FailedPrecondition: Keras runs without TensorFlow, which exporting needs.
    """
    del asked
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
    return Made()


def _parameters(call: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(call).parameters)


def export_module(model: Any, directory: Path, asked: Asked) -> Made:
    """Write a SavedModel.

    Raises:
        InvalidArgument: it has no function to serve, or cannot be exported.
    """
    del asked
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
    return Made()


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
