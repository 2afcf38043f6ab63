"""A plain function with declared types → the source of a Python model, `model.py`."""

import inspect
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy

from salver.errors import InvalidArgument
from salver.exporting.asked import Asked, Made
from salver.exporting.sources import Sources
from salver.exporting.specs import Tensor, tensor_of, tensors_of
from salver.vocabulary.dtypes import DTYPES

__all__ = ["export_function", "is_function"]

_FILE: Final = "model.py"
_OUTPUT: Final = "y"
_TYPES: Final = (
    "Annotate the function, def score(x: ('float32', [-1, 4])) -> ('float32', [-1]), or give "
    "inputs={'x': ('float32', [-1, 4])} and outputs={'y': ('float32', [-1])}."
)
_RESERVED: Final = frozenset({"Model", "_outputs", "numpy"})
_HEAD: Final = '''"""Written by salver.publish, of the function {name}."""

from __future__ import annotations

{imports}
'''
_EXTENDED: Final = "import ml_dtypes  # numpy learns bfloat16 and the like of it"
_MODEL: Final = """

class Model:
    inputs = {inputs}
    outputs = {outputs}

    {define} predict(self, inputs):
        return _outputs({call})


def _outputs(answer):
    names = list(Model.outputs)
    if not isinstance(answer, dict):
        answer = dict(zip(names, (answer,) if len(names) == 1 else answer, strict=True))
    return {{
        name: numpy.asarray(answer[name], object if kind == "string" else kind)
        for name, (kind, *_) in Model.outputs.items()
    }}
"""
_ASIDE: Final[Mapping[str, str]] = {
    "bool": "bool({value})",
    "int": "int({value})",
    "float": "float({value})",
    "str": "_text({value})",
    "bytes": "_text({value}).encode()",
}
_TEXT: Final = """

def _text(value):
    value = value.item() if hasattr(value, "item") else value
    return value.decode() if isinstance(value, bytes) else str(value)
"""


def is_function(model: Any) -> bool:
    """Whether it is a function, a method, or something built in: whatever can only be called."""
    kinds = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
    return isinstance(model, kinds) or type(model).__name__ in ("partial", "ufunc")


def export_function(function: Any, directory: Path, asked: Asked) -> Made:
    """Write `model.py`.

    Raises:
        InvalidArgument: its types are not said, or its source does not stand alone.
    """
    if not isinstance(function, types.FunctionType):
        kind = type(function).__name__
        raise InvalidArgument(
            f"A {kind} has no source of its own",
            hint="Call it from a function that is defined by def.",
        )
    name = function.__name__
    sources = Sources()
    sources.add(name, function)
    if taken := _RESERVED & (sources.names - {"numpy"}):
        raise InvalidArgument(f"{', '.join(taken)} is a name of the Python model's own")
    inputs, outputs = _inputs(function, asked.inputs), _outputs(function, asked.outputs)
    arguments = ", ".join(_argument(of, inputs[of]) for of in inputs)
    is_async = inspect.iscoroutinefunction(function)
    is_plain = all(hasattr(numpy, DTYPES[of.dtype].storage or "") for of in outputs.values())
    imports = "import numpy" if is_plain else f"{_EXTENDED}\nimport numpy"
    text = "\n\n".join([_HEAD.format(name=name, imports=imports), sources.text])
    text += "\n" + _TEXT if any(of.scalar in ("str", "bytes") for of in inputs.values()) else "\n"
    text += _MODEL.format(
        inputs=_dict(inputs),
        outputs=_dict(outputs),
        define="async def" if is_async else "def",
        call=f"await {name}({arguments})" if is_async else f"{name}({arguments})",
    )
    compile(text, _FILE, "exec")
    (directory / _FILE).write_text(text, encoding="utf-8")
    return Made()


def _dict(tensors: Mapping[str, Tensor]) -> str:
    return "{" + ", ".join(f"{name!r}: {of.source}" for name, of in tensors.items()) + "}"


def _argument(name: str, tensor: Tensor) -> str:
    value = f"inputs[{name!r}]"
    return f"{name}={_ASIDE[tensor.scalar].format(value=value) if tensor.scalar else value}"


def _inputs(function: types.FunctionType, said: Any) -> dict[str, Tensor]:
    """The inputs, by the names of the parameters.

    Raises:
        InvalidArgument: they are not said, or do not fit.
    """
    parameters = _signature(function).parameters
    for of in parameters.values():
        if of.kind in (of.VAR_POSITIONAL, of.VAR_KEYWORD, of.POSITIONAL_ONLY):
            raise InvalidArgument(
                f"{function.__name__} takes {of}: an input goes to a parameter by its name"
            )
    if said is not None:
        inputs = tensors_of(said, "inputs")
        if unknown := [each for each in inputs if each not in parameters]:
            raise InvalidArgument(f"{function.__name__} has no parameter {unknown[0]}")
    else:
        inputs = {
            name: _annotated(function, f"parameter {name}", of.annotation, of.default)
            for name, of in parameters.items()
            if of.annotation is not of.empty or of.default is of.empty
        }
    missing = [
        name for name, of in parameters.items() if name not in inputs and of.default is of.empty
    ]
    if missing:
        raise InvalidArgument(f"inputs say nothing of the parameter {missing[0]}", hint=_TYPES)
    if not inputs:
        raise InvalidArgument(f"{function.__name__} takes nothing", hint=_TYPES)
    return inputs


def _outputs(function: types.FunctionType, said: Any) -> dict[str, Tensor]:
    if said is not None:
        return tensors_of(said, "outputs")
    annotation = _signature(function).return_annotation
    if isinstance(annotation, Mapping):
        return tensors_of(annotation, "outputs")
    return {_OUTPUT: _annotated(function, "what it returns", annotation, inspect.Parameter.empty)}


def _annotated(function: types.FunctionType, what: str, annotation: Any, default: Any) -> Tensor:
    if annotation is inspect.Parameter.empty:
        raise InvalidArgument(f"{function.__name__} does not say the type of {what}", hint=_TYPES)
    tensor = tensor_of(annotation, f"{what} of {function.__name__}")
    if default is inspect.Parameter.empty or tensor.default:
        return tensor
    spec = tensor_of((tensor.dtype, tensor.shape, default), f"{what} of {function.__name__}")
    return Tensor(tensor.dtype, tensor.shape, spec.default, tensor.scalar)


def _signature(function: types.FunctionType) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except Exception as error:  # whatever its annotations do
        raise InvalidArgument(
            f"The annotations of {function.__name__} cannot be read: {error}"
        ) from error
