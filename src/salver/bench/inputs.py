"""Random inputs that a signature would take. Pure but for the random numbers it is handed."""

from typing import Any, Final

import numpy as np

from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec
from salver.vocabulary.tensorflow_types import short_text

__all__ = ["describe_feeds", "random_feeds"]

_MOST_INTEGER: Final = 10  # ids and counts are small: a larger one is outside of most vocabularies
_LETTERS: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
_WORD: Final = 8
_BYTES_HINT: Final = "give a request with --input FILE"


def random_feeds(signature: Signature, rows: int, random: np.random.Generator) -> dict[str, Array]:
    """A value for each input that has no default.

    The first axis has `rows` where its size is open, any other open axis has 1, and a tensor of
    unknown rank is a vector. Floats are even in [0, 1), as scaled pixels are; uint8 in [0, 255];
    other integers in [0, 10); strings are words of eight letters.

    Raises:
        InvalidArgument: an input takes what cannot be made up.
    """
    return {
        alias: _value(alias, spec, rows, random)
        for alias, spec in signature.inputs.items()
        if alias not in signature.defaults
    }


def describe_feeds(feeds: dict[str, Array], signature: Signature) -> str:
    """In words: `x float [1, 784]`."""
    return ", ".join(
        f"{alias} {short_text(signature.inputs[alias].dtype)} {list(array.shape)}"
        for alias, array in feeds.items()
    )


def _value(alias: str, spec: TensorSpec, rows: int, random: np.random.Generator) -> Array:
    if not spec.is_dense:
        raise InvalidArgument(f"Input {alias} is no dense tensor", hint=_BYTES_HINT)
    try:
        dtype = numpy_dtype(spec.dtype)
    except TypeError:
        text = short_text(spec.dtype)
        raise InvalidArgument(f"Nothing can be fed to input {alias} of type {text}") from None
    shape = _shape(spec.shape, rows)
    if dtype.hasobject:
        return _words(shape, random)
    return np.asarray(_numbers(spec.dtype, dtype, shape, random).astype(dtype))


def _shape(declared: tuple[int, ...] | None, rows: int) -> tuple[int, ...]:
    if declared is None:
        return (rows,)
    first = [rows if size < 0 else size for size in declared[:1]]
    return (*first, *[1 if size < 0 else size for size in declared[1:]])


def _numbers(
    of: DataType, dtype: "np.dtype[Any]", shape: tuple[int, ...], random: np.random.Generator
) -> Array:
    if of is DataType.UINT8:
        return random.integers(0, 256, shape)
    if dtype.kind == "b":
        return random.integers(0, 2, shape)
    if dtype.kind in "iu":
        return random.integers(0, _MOST_INTEGER, shape)
    if short_text(of).startswith(("int", "uint")):  # of two or four bits
        return random.integers(0, 2, shape)
    if dtype.kind == "c":
        return random.random(shape) + 1j * random.random(shape)
    # With six digits, as data in JSON has: seventeen would make bodies twice as long.
    return np.asarray(np.round(random.random(shape), 6))


def _words(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    words = np.empty(shape, object)
    flat = words.reshape(-1)
    for index in range(words.size):
        flat[index] = random.choice(_LETTERS, _WORD).tobytes()
    return words
