"""Python values → arrays, all at once: what numpy itself proves to be a regular tensor.

These functions answer None for whatever they cannot vouch for; `json_predict` then converts
element by element and knows the reference's words for what is wrong.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from salver.codecs.json_value import base64_text, decode_base64
from salver.dtypes import DataType, numpy_dtype
from salver.errors import InvalidArgument
from salver.requests import Array

__all__ = ["FLOATS", "INTEGERS", "MAX_RANK", "PredictInputs", "array_of", "narrow", "strings_of"]

MAX_RANK: Final = 64
"""How many axes an array may have: numpy's own limit since 2.0."""

FLOATS = frozenset({DataType.FLOAT, DataType.DOUBLE, DataType.HALF, DataType.BFLOAT16})

_INT32 = (-(2**31), 2**31 - 1)
INTEGERS: dict[DataType, tuple[int, int]] = {
    DataType.INT32: _INT32,
    # The reference takes any int32 for these and lets the runtime drop the upper bits.
    DataType.INT16: _INT32,
    DataType.INT8: _INT32,
    DataType.UINT8: _INT32,
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, 2**64 - 1),
}
"""The integer types JSON can feed, and the smallest and largest token each accepts."""


class PredictInputs(NamedTuple):
    """The decoded inputs of a predict request.

    A tuple, as one is made for every request: 0.1 µs, where a frozen dataclass takes 0.4.

    Attributes:
        arrays: one per input, in the order of `Signature.inputs`.
        is_row: whether the request was in row format (`instances`), and the answer is to be.
    """

    arrays: list[Array]
    is_row: bool


def array_of(value: Any, dtype: DataType) -> Array | None:
    """The array of nested lists of one kind of scalar.

    Args:
        value: of an object in it only `{"b64": …}` is understood, and only for strings. For a
            numeric `dtype` it must hold no booleans, which numpy would take for numbers.
        dtype: of the input.

    Returns:
        None unless it is regular and every element is of the kind `dtype` wants.
    """
    if dtype is DataType.STRING:
        return strings_of(value)
    try:
        found = np.array(value)
    except (ValueError, TypeError):  # ragged
        return None
    kind = found.dtype.kind
    if dtype is DataType.BOOL:
        return found if kind == "b" else None
    if dtype in FLOATS:
        if kind == "f":
            return narrow(found, dtype)
        # By way of double, as the reference converts.
        return narrow(found.astype(np.float64), dtype) if kind in "iu" else None
    bounds = INTEGERS.get(dtype)
    if bounds is None or kind not in "iu":
        return None
    if found.size and not (bounds[0] <= int(found.min()) and int(found.max()) <= bounds[1]):
        return None
    return found.astype(numpy_dtype(dtype))


def narrow(doubles: Array, dtype: DataType) -> Array:
    """Doubles as a float type; what is too large becomes infinite without a warning."""
    if dtype is DataType.DOUBLE:
        return doubles
    with np.errstate(over="ignore"):
        return doubles.astype(numpy_dtype(dtype))


def strings_of(value: Any) -> Array | None:
    """The array of nested lists of strings and `{"b64": …}` objects; None if it is no such."""
    found = np.array(value, dtype=object)  # of ragged lists, an array with lists for elements
    flat: list[Any] = found.ravel().tolist()
    try:
        encoded: Sequence[bytes | None] = list(map(str.encode, flat))
    except (TypeError, UnicodeEncodeError):
        encoded = list(map(_decoded, flat))
        if None in encoded:
            return None
    filled = np.empty(found.size, dtype=object)
    filled[:] = encoded
    return filled.reshape(found.shape)


def _decoded(value: Any) -> bytes | None:
    text = base64_text(value)
    try:
        return None if text is None else decode_base64(text)
    except InvalidArgument:
        return None
