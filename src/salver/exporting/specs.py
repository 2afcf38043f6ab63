"""What a function takes and gives, by types that a caller writes or annotates.

The form is that of Python models: `("float32", [-1, 4])`, with a default as a third.
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DTYPES, DataType, dtype_of_array

__all__ = ["Tensor", "tensor_of", "tensors_of"]

_SCALARS: Final[Mapping[Any, DataType]] = {
    bool: DataType.BOOL,
    int: DataType.INT64,
    float: DataType.FLOAT64,
    str: DataType.STRING,
    bytes: DataType.STRING,
}
_UNSENDABLE: Final = frozenset({DataType.INVALID, DataType.RESOURCE, DataType.VARIANT})
_HOW: Final = (
    'Write ("float32", [-1, 4]), a dtype and a shape in which -1 is any size, or one of bool, int, '
    "float, str for a single value."
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output.

    Attributes:
        dtype: name of the element type.
        shape: one number per axis, -1 for any.
        default: values for an input that is left out, as the source of a program; empty for none.
        scalar: `bool`, `int`, `float`, `str` or `bytes` where the function takes such a value
            rather than an array; empty otherwise.
    """

    dtype: str
    shape: tuple[int, ...]
    default: str = ""
    scalar: str = ""

    @property
    def source(self) -> str:
        """As a Python model writes it."""
        default = f", {self.default}" if self.default else ""
        return f"({self.dtype!r}, {list(self.shape)!r}{default})"


def tensors_of(said: Any, what: str) -> dict[str, Tensor]:
    """Read `inputs=` or `outputs=` of a function.

    Raises:
        InvalidArgument: it is no such dict.
    """
    if not isinstance(said, Mapping) or not said:
        raise InvalidArgument(f"{what} of a function are a dict: name → type", hint=_HOW)
    for name in said:
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"{what}: {name!r} is no name")
    return {name: tensor_of(of, f"{what}[{name!r}]") for name, of in said.items()}


def tensor_of(said: Any, what: str) -> Tensor:
    """Read a type.

    Args:
        said: `("float32", [-1])`, a type of Python, or an annotation that has one of the two.
        what: has it, for errors.

    Raises:
        InvalidArgument: it is none.
    """
    if typing.get_origin(said) is typing.Annotated:
        _, *more = typing.get_args(said)
        said = more[0] if len(more) == 1 else tuple(more)
    if isinstance(said, type) and said in _SCALARS:
        return Tensor(_SCALARS[said].name, (), scalar=said.__name__)
    if not isinstance(said, (tuple, list)) or len(said) not in (2, 3):
        raise InvalidArgument(f"{what} is no type of a tensor: {said!r}", hint=_HOW)
    dtype = _dtype(said[0], what)
    try:
        shape = tuple(int(size) for size in said[1])
    except (TypeError, ValueError):
        raise InvalidArgument(f"{what} has no shape: {said[1]!r}", hint=_HOW) from None
    if any(size < -1 for size in shape):
        raise InvalidArgument(f"{what} has no shape: {said[1]!r}", hint=_HOW)
    return Tensor(dtype.name, shape, _default(said[2], what) if len(said) == 3 else "")


def _dtype(said: Any, what: str) -> DataType:
    known = DTYPES.get(said) if isinstance(said, str) else None
    if known is None and not isinstance(said, str):
        try:
            plain = np.dtype(said)
            known = DataType.STRING if plain.kind in "OSU" else dtype_of_array(plain)
        except TypeError:
            known = None
    if known is None or known in _UNSENDABLE:
        raise InvalidArgument(f"{what} has no dtype: {said!r}", hint=_HOW)
    return known


def _default(value: Any, what: str) -> str:
    plain = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    if not _is_plain(plain):
        raise InvalidArgument(f"{what}: the default is no number, text or list of such: {value!r}")
    return repr(plain)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(of) for of in value)
    return type(value) in (bool, int, float, str, bytes)
