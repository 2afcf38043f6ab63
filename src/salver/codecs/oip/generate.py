"""The bodies of Triton's generate extension: JSON objects whose members are tensors by their names.

A member is a value, or a list of values; what shape it has the model says. An answer is such an
object too, a tensor of one element being that element.

Source: Triton's `docs/protocol/extension_generate.md`, and `http_server.cc` (ExactMappingInput,
ExactMappingOutput).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from salver.codecs.json.arrays import FLOATS, narrow
from salver.codecs.json.long import long_tree
from salver.codecs.json.syntax import read_tree
from salver.codecs.json.tensors import tensor_text
from salver.codecs.json.text import bytes_of, quote
from salver.codecs.json.tree import ARRAY_TYPES, OBJECT_TYPES
from salver.codecs.oip.tensors import MAX_RANK, shaped, string_array
from salver.errors import InvalidArgument
from salver.instruments.threads import LARGE_BYTES
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array, TakesLong

__all__ = ["array_of_member", "read_members", "write_answer"]

IsActive = Callable[[], bool]

_PARAMETERS: Final = "parameters"
_MOST_MEMBERS: Final = 1000
_KINDS: Final = {DataType.STRING: (str,), DataType.BOOL: (bool,)}


def read_members(text: bytes, is_active: IsActive | None) -> dict[str, Any]:
    """The members of a request, those of its `parameters` among them.

    Args:
        text: JSON.
        is_active: whether anybody still waits; None: this is the loop.

    Raises:
        InvalidArgument: it is no object of JSON, or a member is there twice.
        TakesLong: in the loop, where it is not short.
    """
    if len(text) > LARGE_BYTES and is_active is None:
        raise TakesLong
    try:
        tree = read_tree(text) if is_active is None else long_tree(text, is_active)
    except InvalidArgument as error:
        said = error.message.removeprefix("JSON Parse error: ")
        raise InvalidArgument(
            f"failed to parse the request JSON buffer: {said}", hint=error.hint
        ) from None
    members: dict[str, Any] = {}
    for name, value in _items(tree, "the request"):
        if name == _PARAMETERS and isinstance(value, OBJECT_TYPES):
            for nested, of in _items(value, f"'{_PARAMETERS}'"):
                _add(members, nested, of)
        elif name == _PARAMETERS:
            raise InvalidArgument(f"Expected JSON object for keyword: '{_PARAMETERS}'")
        else:
            _add(members, name, value)
    return members


def _items(tree: Any, what: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(tree, OBJECT_TYPES):
        raise InvalidArgument(
            f"failed to parse the request JSON buffer: {what} is not an object",
            hint='A request is {"name of an input": value, "parameters": {…}}',
        )
    items: Iterable[tuple[str, Any]] = tree.items()
    return items


def _add(members: dict[str, Any], name: str, value: Any) -> None:
    if name in members:
        raise InvalidArgument(f"'{name[:200]}' is there twice in the request")
    if len(members) == _MOST_MEMBERS:
        raise InvalidArgument(f"the request has more than {_MOST_MEMBERS} members")
    members[name] = value


def array_of_member(
    value: Any, dtype: DataType, declared: tuple[int, ...] | None, name: str
) -> Array:
    """The tensor of a member.

    Its elements fill the axes whose size is declared; the last of the others has what is left.

    Args:
        value: a scalar, or lists of them, which are taken in their order.
        dtype: of the input.
        declared: its shape; None: any, so that a list has one axis.
        name: of it.

    Raises:
        InvalidArgument: it has another type, or another number of elements.
    """
    kinds: tuple[type, ...] = _KINDS.get(dtype, (int, float) if dtype in FLOATS else (int,))
    found: list[Any] = []
    for each in _flat(value, name):
        if type(each) not in kinds:
            raise InvalidArgument(
                f"Unable to parse '{name}'", hint=f"Its elements are {dtype.name} to this model"
            )
        found.append(bytes_of(each) if dtype is DataType.STRING else each)
    shape = _shape(declared, len(found), is_list=isinstance(value, ARRAY_TYPES), name=name)
    if dtype is DataType.STRING:
        return string_array(found, shape, name)
    try:
        array = _numbers(found, dtype)
    except OverflowError:
        raise InvalidArgument(
            f"Unable to parse '{name}'", hint=f"It has a number that {dtype.name} cannot hold"
        ) from None
    return shaped(array, shape, name)


def _numbers(values: list[Any], dtype: DataType) -> Array:
    """The array of numbers; raises OverflowError for those that it cannot hold."""
    if dtype in FLOATS:
        return narrow(np.array(values, np.float64), dtype)
    storage = numpy_dtype(dtype)
    if storage.kind != "b" and values:
        bounds = np.iinfo(storage)
        if min(values) < bounds.min or max(values) > bounds.max:
            raise OverflowError
    return np.array(values, storage)


def _flat(value: Any, name: str) -> Iterator[Any]:
    if not isinstance(value, ARRAY_TYPES):
        yield value
        return
    opened = [iter(value)]
    while opened:
        for each in opened[-1]:
            if isinstance(each, ARRAY_TYPES):
                opened.append(iter(each))
                break
            yield each
        else:
            opened.pop()
        if len(opened) > MAX_RANK:
            raise InvalidArgument(f"Unable to parse '{name}'", hint="Too many lists in lists")


def _shape(
    declared: tuple[int, ...] | None, count: int, *, is_list: bool, name: str
) -> tuple[int, ...]:
    if declared is None:
        return (count,) if is_list else ()
    left = count
    for size in declared:
        if size >= 0:
            if left % size if size else left:
                raise _no_shape(name)
            left = left // size if size else left
    shape = list(declared)
    for axis in range(len(shape) - 1, -1, -1):
        if shape[axis] < 0:
            shape[axis], left = left, 1
    if left != 1 and count:
        raise _no_shape(name)
    if not count and 0 not in shape:
        raise _no_shape(name)
    return tuple(shape)


def _no_shape(name: str) -> InvalidArgument:
    return InvalidArgument(f"The schema can not convert input '{name}' to tensor with proper shape")


def write_answer(model: str, version: int, id: str, outputs: Sequence[tuple[str, Array]]) -> bytes:
    """An answer.

    Args:
        model: its name.
        version: that answers.
        id: of the request; empty for none.
        outputs: name and tensor of each.
    """
    texts = [
        b",%b:%b" % (_key(name), tensor_text("", array.reshape(() if array.size == 1 else -1)))
        for name, array in outputs
    ]
    return _head(model, version, id) + b"".join(texts) + b"}"


@lru_cache(maxsize=1024)
def _head(model: str, version: int, id: str) -> bytes:
    said = b'"id":%b,' % quote(bytes_of(id)) if id else b""
    name = quote(bytes_of(model))
    return b'{%b"model_name":%b,"model_version":"%d"' % (said, name, version)


@lru_cache(maxsize=1024)
def _key(name: str) -> bytes:
    return quote(bytes_of(name))
