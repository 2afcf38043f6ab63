"""How LightGBM's models are served."""

from dataclasses import dataclass
from typing import Final

from salver.backends.options import option

__all__ = ["LightGBMOptions"]

_DTYPES: Final = ("float32", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class LightGBMOptions:
    """What the flags, or a configuration, say of LightGBM's models.

    Attributes:
        num_threads: that one run computes in.
        input_dtype: of the matrix.
    """

    num_threads: int = option(
        1, "Threads that one run of a LightGBM model may compute in; runs go side by side anyway."
    )
    input_dtype: str = option(
        "float32", "Element type of the input x of LightGBM models: float32 or float64."
    )

    def __post_init__(self) -> None:
        if self.num_threads < 1:
            raise ValueError("num_threads must be at least 1")
        if self.input_dtype not in _DTYPES:
            raise ValueError(f"input_dtype must be {' or '.join(_DTYPES)}")
