"""A Python model's class, as `model.py` has it → that file."""

import inspect
from pathlib import Path
from typing import Any, Final

from salver.errors import InvalidArgument
from salver.exporting.asked import Asked, Made
from salver.exporting.sources import Sources

__all__ = ["export_class", "is_model_class"]

_NAME: Final = "Model"
_NEEDED: Final = ("inputs", "outputs", "predict")


def is_model_class(model: Any) -> bool:
    """Whether it is a class with `inputs`, `outputs` and `predict`, or an object of one."""
    kind = model if isinstance(model, type) else type(model)
    return all(hasattr(kind, name) for name in _NEEDED) and isinstance(
        inspect.getattr_static(kind, "inputs", None), dict
    )


def export_class(model: Any, directory: Path, asked: Asked) -> Made:
    """Write `model.py`.

    Raises:
        InvalidArgument: it is an object, or its source does not stand alone.
    """
    del asked
    if not isinstance(model, type):
        kind = type(model).__name__
        raise InvalidArgument(
            f"A Python model is published as its class, not as an object of it: {kind}",
            hint=f"Give {kind} itself; what an object holds is made by its load().",
        )
    sources = Sources()
    sources.add(model.__name__, model)
    text = f'"""Written by salver.publish, of the class {model.__name__}."""\n\n'
    text += f"from __future__ import annotations\n\n{sources.text}\n"
    if model.__name__ != _NAME:
        text += f"\n\n{_NAME} = {model.__name__}\n"
    compile(text, "model.py", "exec")
    (directory / "model.py").write_text(text, encoding="utf-8")
    return Made()
