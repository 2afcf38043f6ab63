"""What a caller gives as inputs → arrays of the dtypes that a signature says."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature
from salver.vocabulary.tensorflow_types import short_text

__all__ = ["as_feeds"]

_COMPLEX: Final = frozenset({DataType.COMPLEX64, DataType.COMPLEX128})
_WHOLE_KINDS: Final = "iu"


def as_feeds(inputs: Any, signature_name: str, signature: Signature) -> dict[str, Array]:
    """The arrays a request feeds.

    Args:
        inputs: alias → what numpy takes for an array; or just that, where there is one input.
            Numbers are converted where nothing but precision can be lost.
        signature_name: only for the error's text.
        signature: says dtypes. What it says of shapes is the server's business.

    Raises:
        InvalidArgument: they are not what the signature takes.
    """
    if isinstance(inputs, Mapping):
        unknown = [alias for alias in inputs if alias not in signature.inputs]
        if unknown:
            raise InvalidArgument(
                f"Signature {signature_name!r} has no input {unknown[0]!r}.",
                hint=f"It takes {_listed(signature.inputs)}.",
            )
        named = dict(inputs)
    elif len(signature.inputs) == 1:
        named = dict.fromkeys(signature.inputs, inputs)
    else:
        raise InvalidArgument(
            f"Signature {signature_name!r} has {len(signature.inputs)} inputs: name them.",
            hint=f"Give a dict with {_listed(signature.inputs)}.",
        )
    return {
        alias: as_array(alias, value, signature.inputs[alias].dtype)
        for alias, value in named.items()
    }


def as_array(alias: str, value: Any, dtype: DataType) -> Array:
    """One input as an array of a dtype.

    Raises:
        InvalidArgument: it cannot be.
    """
    if dtype is DataType.STRING:
        return _strings(alias, value)
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise InvalidArgument(f"Input {alias!r} is no regular array: {error}") from None
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        wanted = numpy_dtype(dtype)
    except TypeError:
        raise InvalidArgument(
            f"Input {alias!r} has type {short_text(dtype)}, which nothing can be fed to"
        ) from None
    if array.dtype == wanted:
        return array
    if not array.size:
        return np.empty(array.shape, wanted)
    if wanted.kind in _WHOLE_KINDS:
        array = _whole(alias, value, array, wanted)
    if array.dtype.kind in _WHOLE_KINDS and wanted.kind in _WHOLE_KINDS:
        _check_range(alias, array, wanted)
    elif not _is_fair(array.dtype, dtype):
        raise InvalidArgument(
            f"Input {alias!r} takes {short_text(dtype)}, not {_dtype_text(array.dtype)}"
        )
    with np.errstate(over="ignore"):  # to infinity, as any conversion to a narrower float
        return array.astype(wanted)


def _is_fair(given: "np.dtype[Any]", wanted: DataType) -> bool:
    """Whether a conversion loses nothing but precision."""
    if given.kind == "b" or wanted is DataType.BOOL:
        return False
    source = _element_type(given)
    if source is None or source is DataType.STRING:
        return False
    if wanted in _COMPLEX:
        return True
    return source not in _COMPLEX and not short_text(wanted).startswith(("int", "uint", "q"))


def _element_type(dtype: "np.dtype[Any]") -> DataType | None:
    try:
        return dtype_of_array(dtype)
    except TypeError:
        return None


def _whole(alias: str, value: Any, array: Array, wanted: "np.dtype[Any]") -> Array:
    """Integers of lists, also where numpy made floats of them: 1 and 2⁶³ share no integer type."""
    if isinstance(value, np.ndarray) or array.dtype.kind not in ("f", "O"):
        return array
    exact = np.array(value, object)
    if not all(type(of) is int for of in exact.reshape(-1).tolist()):
        return array
    _check_range(alias, exact, wanted)
    return exact.astype(wanted)


def _check_range(alias: str, array: Array, wanted: "np.dtype[Any]") -> None:
    limits = np.iinfo(wanted)
    lowest, highest = int(array.min()), int(array.max())
    if lowest < limits.min or highest > limits.max:
        wrong = lowest if lowest < limits.min else highest
        raise InvalidArgument(f"Input {alias!r} takes {wanted}, and {wrong} is none")


def _strings(alias: str, value: Any) -> Array:
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        return value.astype(object)
    try:
        array = value if isinstance(value, np.ndarray) else np.array(value, object)
    except ValueError as error:
        raise InvalidArgument(f"Input {alias!r} is no regular array: {error}") from None
    made = np.empty(array.shape, object)
    flat = made.reshape(-1)
    for place, element in enumerate(array.reshape(-1).tolist()):
        if isinstance(element, str):
            flat[place] = _encoded(alias, element)
        elif isinstance(element, bytes):
            flat[place] = element
        else:
            raise InvalidArgument(
                f"Input {alias!r} takes strings (str or bytes), not {type(element).__name__}"
            )
    return made


def _encoded(alias: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"Input {alias!r} holds text that has no UTF-8: {error}") from None


def _dtype_text(dtype: "np.dtype[Any]") -> str:
    source = _element_type(dtype)
    if dtype.kind in "US":
        return "strings"
    return "values of no one kind" if source is None or dtype.hasobject else short_text(source)


def _listed(aliases: Iterable[str]) -> str:
    return ", ".join(map(repr, aliases)) or "none"
