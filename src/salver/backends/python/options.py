"""What the configuration says to Python models."""

from collections.abc import Mapping
from dataclasses import dataclass

from salver.backends.options import own

__all__ = ["PythonOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonOptions:
    """Nothing that Salver knows of.

    Attributes:
        own: what a model's configuration says under `options`, for the model: `context.options`.
    """

    own: Mapping[str, str] = own("What a model is told in its own configuration.")
