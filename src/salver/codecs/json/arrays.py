"""Python values → arrays, all at once: what numpy itself proves to be a regular tensor.

These functions answer None for whatever they cannot vouch for.
"""

from typing import Any, Final

import numpy as np

from salver.codecs.json.text import base64_text, decode_base64
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["FLOATS", "INTEGERS", "JSON_TYPES", "MAX_RANK", "array_of", "narrow", "strings_of"]

MAX_RANK: Final = 64
"""How many axes an array may have: numpy's own limit since 2.0."""

FLOATS = frozenset({DataType.FLOAT32, DataType.FLOAT64, DataType.FLOAT16, DataType.BFLOAT16})

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


JSON_TYPES = FLOATS | INTEGERS.keys() | {DataType.BOOL, DataType.STRING}
"""The types that have a form in JSON."""


def array_of(value: Any, dtype: DataType) -> Array | None:
    """The array of nested lists of one kind of scalar.

    Args:
        value: the lists; for numbers without booleans, which numpy would take for some.
        dtype: of the input, which is none of strings (see `strings_of`).

    Returns:
        None unless it is regular and every element is of the kind `dtype` wants.
    """
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
    if dtype is DataType.FLOAT64:
        return doubles
    with np.errstate(over="ignore"):
        return doubles.astype(numpy_dtype(dtype))


def strings_of(value: Any) -> tuple[Array, int] | None:
    """The array of nested lists of strings and `{"b64": …}` objects; None if it is no such.

    Returns:
        The array, and how many of its elements were objects.
    """
    found = np.array(value, dtype=object)  # of ragged lists, an array with lists for elements
    flat: list[Any] = found.ravel().tolist()
    objects = 0
    try:
        encoded = list(map(str.encode, flat))
    except (TypeError, UnicodeEncodeError):
        objects = sum(type(each) is dict for each in flat)
        try:
            encoded = [_decoded(each) if type(each) is dict else each.encode() for each in flat]
        except (AttributeError, InvalidArgument, UnicodeEncodeError):
            return None
    filled = np.empty(found.size, dtype=object)
    filled[:] = encoded
    return filled.reshape(found.shape), objects


def _decoded(value: dict[str, Any]) -> bytes:
    text = base64_text(value)
    if text is None:
        raise InvalidArgument("No bytes in base64")
    return decode_base64(text)
