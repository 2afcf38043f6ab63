"""Inputs where no signature says their types: as they come, and as columns of examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from salver.client.feeds import as_array
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array

__all__ = ["as_columns", "as_they_are"]


def as_they_are(inputs: Any, signature_name: str) -> dict[str, Array]:
    """Arrays of what a caller gives.

    Arrays keep their types; numbers with a fraction in lists become FP32, whole ones INT64.

    Args:
        inputs: name → what numpy takes for an array.
        signature_name: for the error's text.

    Raises:
        InvalidArgument: they have no names, or are no arrays.
    """
    if not isinstance(inputs, Mapping):
        raise InvalidArgument(
            f"Name the inputs of signature {signature_name!r}: the server tells only of the "
            "default one",
            hint="Give a dict: input name → array.",
        )
    return {name: _array(name, value) for name, value in inputs.items()}


def _array(name: str, value: Any) -> Array:
    is_array = isinstance(value, np.ndarray | np.generic)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArgument(f"Input {name!r} is no regular array: {error}") from None
    if array.dtype.kind in "OSU":
        return as_array(name, value, DataType.STRING)
    if not is_array and array.dtype == np.float64:
        array = array.astype(np.float32)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_columns(examples: Any) -> Any:
    """Inputs of a list of examples, each a dict: the values of each name, one below the other.

    What is no such list is left as it is.

    Raises:
        InvalidArgument: the examples have different names.
    """
    is_list = isinstance(examples, Sequence) and not isinstance(examples, str | bytes)
    if not is_list or not examples:
        return examples
    if not all(isinstance(of, Mapping) for of in examples):
        return examples
    names = examples[0].keys()
    if any(of.keys() != names for of in examples):
        raise InvalidArgument("The examples have different features; by this API each has all")
    return {name: [of[name] for of in examples] for name in names}
