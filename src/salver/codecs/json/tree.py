"""What a JSON document holds, as Python values.

A value is None, bool, int, float, str, an array or an object. An array is a list, or a `LongList`;
an object is a dict, or `Pairs` when one of its keys occurs twice, or it is long. What is long is
still text, and read as one goes through it. A string that is no UTF-8 holds lone surrogates
(`text.text_of`). An integer outside int64 and uint64 is a double to the reference, whatever Python
makes of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from salver.vocabulary.requests import Array
from salver.vocabulary.signature import TensorSpec

__all__ = [
    "ARRAY_TYPES",
    "MISSING",
    "OBJECT_TYPES",
    "LongList",
    "Pairs",
    "Part",
    "is_integer",
    "type_name",
]

MISSING: Final[Any] = object()
"""Stands for the member of a key that is not there (null is a value)."""


class Part(Protocol):
    """Some elements of a `LongList`, one after the other.

    Attributes:
        count: how many.
    """

    count: int

    def arrays(self, specs: Mapping[str, TensorSpec], *, is_named: bool) -> list[Array] | None:
        """The elements as rows of these inputs, all at once; None where that cannot be done.

        Args:
            specs: of the inputs.
            is_named: whether the rows are objects of named inputs, not values of the only one.
        """

    def values(self) -> Iterable[Any]:
        """The elements."""


class LongList(ABC):
    """An array that is too large to be read at once."""

    __slots__ = ()

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """Its elements; they can be gone through more than once."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Any]: ...


class Pairs:
    """An object whose members are pairs, in the order of the text; keys may be repeated."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Keep pairs, which can be gone through more than once."""
        self._pairs = pairs

    def items(self) -> Iterable[tuple[str, Any]]:
        """Keys and values, repetitions included."""
        return self._pairs

    def get(self, key: str, default: Any) -> Any:
        """The first member of that name."""
        return next((value for name, value in self._pairs if name == key), default)


ARRAY_TYPES: Final = (list, LongList)
OBJECT_TYPES: Final = (dict, Pairs)


def is_integer(value: Any) -> bool:
    """Whether a value is a number that the reference keeps as an integer."""
    return type(value) is int and -(2**63) <= value < 2**64


def type_name(value: Any) -> str:
    """The reference's word for a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, str):
        return "String"
    if isinstance(value, ARRAY_TYPES):
        return "Array"
    return "Object" if isinstance(value, OBJECT_TYPES) else "Number"
