"""Inference requests in JSON: what they ask for, and the tensors whose elements stand in them.

A request says itself of what types its tensors are, so it is read whole before a model is known.
Elements may be nested as the shape is, or in any other way: they are taken in the order in which
they stand there, as Triton takes them.

Readers stand behind each other as on a ladder. simdjson reads what is no longer than 16 MiB; of
what is longer the lists of numbers are cut out first (`json_pieces`). What simdjson does not know
(NaN and Infinity, integers of more than 64 bits) or refuses is read by the exact reader of
`codecs.json`, which knows every fault by its name and place, and makes no document many times its
size.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import simdjson

from salver.codecs.json.arrays import FLOATS, array_of, narrow
from salver.codecs.json.long import long_tree
from salver.codecs.json.reading import UNWANTED
from salver.codecs.json.syntax import read_tree
from salver.codecs.json.text import bytes_of
from salver.codecs.json.tree import ARRAY_TYPES, OBJECT_TYPES
from salver.codecs.oip.dtypes import DATATYPES, dtype_of_name
from salver.codecs.oip.json_pieces import Cut, Kind, cut_numbers
from salver.codecs.oip.tensors import (
    MAX_RANK,
    checked_shape,
    count_elements,
    shaped,
    string_array,
)
from salver.errors import Cancelled, InvalidArgument
from salver.instruments.threads import Breather
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array, TakesLong

__all__ = ["InferRequest", "Input", "Output", "parser_of_small", "read_infer_request"]

IsActive = Callable[[], bool]

_ARRAYS: Final = (simdjson.Array, *ARRAY_TYPES)
_OBJECTS: Final = (simdjson.Object, *OBJECT_TYPES)
_SCALARS: Final = (bool, int, float, str)
_MOST_MEMBERS: Final = 1000  # of an object, and inputs or outputs of a request
_SMALL_BYTES: Final = 2000  # read in the loop element by element
_LONG_BYTES: Final = 256 << 10
_LARGEST_WHOLE_BYTES: Final = 16 << 20
_LARGEST_KEPT_BYTES: Final = 8 << 20
_FORM: Final = 'A request is {"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'
_STEP: Final = 64  # elements between two looks at the clock
_BUFFER_KINDS: Final[Mapping[str, Kind]] = {"f": "d", "i": "i", "u": "u"}

# A parser is in here only while nothing refers to what it has parsed.
_idle_parsers: deque[simdjson.Parser] = deque(maxlen=4)


class Input:
    """One input.

    Attributes:
        name: of it.
        datatype: as it came.
        shape: checked.
        parameters: name → bool, int, float or str.
        array: its elements; None where they do not stand in the JSON text.
    """

    __slots__ = ("array", "datatype", "name", "parameters", "shape")

    def __init__(
        self,
        name: str,
        datatype: str,
        shape: tuple[int, ...],
        parameters: dict[str, Any],
        array: Array | None,
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.parameters = parameters
        self.array = array


class Output:
    """One output that is asked for; its parameters as those of an input."""

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        self.name = name
        self.parameters = parameters


class InferRequest:
    """A request; its parameters as those of an input.

    Attributes:
        id: empty where it has none.
        parameters: see there.
        inputs: in the order of the text.
        outputs: likewise; empty where it names none.
    """

    __slots__ = ("id", "inputs", "outputs", "parameters")

    def __init__(
        self, id: str, parameters: dict[str, Any], inputs: list[Input], outputs: list[Output]
    ) -> None:
        self.id = id
        self.parameters = parameters
        self.inputs = inputs
        self.outputs = outputs


def read_infer_request(text: bytes, is_active: IsActive | None = None) -> InferRequest:
    """Read a request.

    Args:
        text: JSON.
        is_active: whether anybody still waits; None: this is the loop.

    Raises:
        InvalidArgument: it is no request, in Triton's words where it has words.
        TakesLong: in the loop, where it is not short.
        Cancelled: nobody waits any more.
    """
    reading = _Reading(text, is_active)
    if len(text) < _SMALL_BYTES:
        return reading.request(_exactly(text, None))  # quicker than to ask simdjson for each
    if len(text) <= _LARGEST_WHOLE_BYTES:
        parser = parser_of_small()
        try:
            document: Any = parser.parse(text)
        except (ValueError, RuntimeError):  # the exact reader knows whether it is none
            pass
        else:
            request = reading.request(document)
            del document
            if len(text) <= _LARGEST_KEPT_BYTES:
                _idle_parsers.append(parser)
            return request
    if is_active is None:
        raise TakesLong
    reading.cut = cut_numbers(text, is_active) if len(text) > _LARGEST_WHOLE_BYTES else None
    rest = text if reading.cut is None else reading.cut.rest
    return reading.request(_exactly(rest, is_active))


def parser_of_small() -> simdjson.Parser:
    """A parser that may have been used before, and refers to nothing."""
    try:
        return _idle_parsers.pop()
    except IndexError:
        return simdjson.Parser()


def _exactly(text: bytes, is_active: IsActive | None) -> Any:
    try:
        if len(text) > _LONG_BYTES and is_active is not None:
            return long_tree(text, is_active)
        return read_tree(text)
    except InvalidArgument as error:
        said = error.message.removeprefix("JSON Parse error: ")
        hint = error.hint if text.strip() else f"The body is empty. {_FORM}"
        raise InvalidArgument(
            f"failed to parse the request JSON buffer: {said}", hint=hint
        ) from None


class _Reading:
    """One document, while it is read."""

    __slots__ = ("_breathe", "_is_active", "_size", "_text", "cut")

    def __init__(self, text: bytes, is_active: IsActive | None) -> None:
        self._text = text
        self._size = len(text)
        self._is_active = is_active
        self._breathe = None if is_active is None else Breather()
        self.cut: Cut | None = None

    def request(self, document: Any) -> InferRequest:
        """The request that a document is."""
        members = _members(document, "the request")
        inputs = members.get("inputs")
        if not isinstance(inputs, _ARRAYS):
            raise InvalidArgument(
                "Unable to parse 'inputs'",
                hint=_FORM,
            )
        id = members.get("id", "")
        if type(id) is not str:
            raise InvalidArgument("Unable to parse 'id'", hint="It is a string")
        outputs = members.get("outputs", [])
        if not isinstance(outputs, _ARRAYS):
            raise InvalidArgument("Unable to parse 'outputs'", hint="It is a list of objects")
        return InferRequest(
            id,
            _parameters(members),
            [self._input(each) for each in _few(inputs, "inputs")],
            [self._output(each) for each in _few(outputs, "outputs")] if outputs else [],
        )

    def _input(self, value: Any) -> Input:
        members = _members(value, "an input")
        name, datatype = _string(members, "name"), _string(members, "datatype")
        sizes = members.get("shape")
        if not isinstance(sizes, _ARRAYS):
            raise InvalidArgument("Unable to parse 'shape'", hint=f"of input '{name}'")
        shape = checked_shape(_first(sizes, MAX_RANK + 1), name)
        parameters = _parameters(members)
        array = None
        if "data" in members:
            array = self._array(members["data"], datatype, shape, name)
        return Input(name, datatype, shape, parameters, array)

    def _output(self, value: Any) -> Output:
        members = _members(value, "an output")
        return Output(_string(members, "name"), _parameters(members))

    # -- elements --------------------------------------------------------------------------------

    def _array(self, value: Any, datatype: str, shape: tuple[int, ...], name: str) -> Array:
        dtype = dtype_of_name(datatype)
        if dtype is None:
            raise InvalidArgument(
                f"invalid datatype for input {name}: '{datatype}'",
                hint=f"There are: {', '.join(DATATYPES)}",
            )
        count = count_elements(shape, name)
        is_text = self.cut is not None and self.cut.knows(value)
        if not isinstance(value, _ARRAYS) and not is_text:
            raise InvalidArgument("Unable to parse 'data'", hint=f"of input '{name}': not a list")
        if count > self._size:
            raise _other_count(name, shape, None)
        if dtype is DataType.STRING or dtype is DataType.BOOL:
            return self._words(value, dtype, shape, name)
        found = self._plain_numbers(value, dtype) if type(value) is list else None
        if found is None:
            found = self._numbers(value, dtype, name)
        if found.size != count:
            raise _other_count(name, shape, found.size)
        return shaped(found, shape, name)

    def _plain_numbers(self, value: list[Any], dtype: DataType) -> Array | None:
        """The array of a list that numpy finds regular; None where it may be something else."""
        if b"true" in self._text or b"false" in self._text or b"null" in self._text:
            return None  # which numpy takes for numbers
        if dtype in FLOATS or dtype in (DataType.INT32, DataType.INT64):
            return array_of(value, dtype)
        return None

    def _numbers(self, value: Any, dtype: DataType, name: str) -> Array:
        storage = numpy_dtype(dtype)
        kind = "f" if dtype in FLOATS else storage.kind
        wide = np.dtype(f"{kind}8")
        try:
            if type(value) is simdjson.Array:
                whole = np.frombuffer(value.as_buffer(of_type=_BUFFER_KINDS[kind]), wide)
            elif type(value) is str:
                assert self.cut is not None
                assert self._is_active is not None
                whole = self.cut.numbers(value, _BUFFER_KINDS[kind], self._is_active)
            else:
                whole = self._exact_numbers(value, wide, name)
        except (TypeError, ValueError, OverflowError):
            raise _not_all(name, dtype) from None
        if kind == "f":
            return narrow(whole, dtype)
        if storage != wide and whole.size:
            bounds = np.iinfo(storage)
            if int(whole.min()) < bounds.min or int(whole.max()) > bounds.max:
                raise _not_all(name, dtype)
        return whole.astype(storage, copy=False)

    def _exact_numbers(self, value: Any, wide: "np.dtype[Any]", name: str) -> Array:
        kinds = (int, float) if wide.kind == "f" else (int,)

        def numbers() -> Iterator[Any]:
            for each in self._flat(value, name):
                if type(each) not in kinds:
                    raise TypeError
                yield each

        return np.fromiter(numbers(), wide)

    def _words(self, value: Any, dtype: DataType, shape: tuple[int, ...], name: str) -> Array:
        """The array of strings or booleans."""
        if self._is_active is None and self._size >= _SMALL_BYTES:
            raise TakesLong
        if type(value) is str:
            raise _not_all(name, dtype)
        kind = bool if dtype is DataType.BOOL else str
        count = count_elements(shape, name)
        found: list[Any] = []
        for each in self._flat(value, name):
            if type(each) is not kind:
                raise _not_all(name, dtype)
            if len(found) == count:
                raise _other_count(name, shape, None)
            found.append(bytes_of(each) if isinstance(each, str) else each)
        if len(found) != count:
            raise _other_count(name, shape, len(found))
        if kind is bool:
            return shaped(np.array(found, np.bool_), shape, name)
        return string_array(found, shape, name)

    def _flat(self, value: Any, name: str) -> Iterator[Any]:
        """The scalars of nested lists; no list is kept."""
        opened = [iter(value)]
        seen = 0
        while opened:
            for each in opened[-1]:
                seen += 1
                if not seen % _STEP:
                    self._pause()
                if isinstance(each, _ARRAYS):
                    opened.append(iter(each))
                    break
                yield each
            else:
                opened.pop()
            if len(opened) > MAX_RANK:
                raise InvalidArgument(
                    "Unable to parse 'data'",
                    hint=f"of input '{name}': nested more than {MAX_RANK} lists deep",
                )

    def _pause(self) -> None:
        if self._is_active is not None:
            if not self._is_active():
                raise Cancelled(UNWANTED)
            assert self._breathe is not None
            self._breathe()


def _members(value: Any, what: str) -> dict[str, Any]:
    """The members of an object, each of which is there but once."""
    if not isinstance(value, _OBJECTS):
        raise InvalidArgument(f"failed to parse the request JSON buffer: {what} is not an object")
    if type(value) is dict and len(value) <= _MOST_MEMBERS:  # no key of which is there twice
        return value
    members: dict[str, Any] = {}
    for name, of in _items(value):
        if name in members:
            raise InvalidArgument(
                f"failed to parse the request JSON buffer: '{name[:200]}' is there twice in {what}"
            )
        if len(members) == _MOST_MEMBERS:
            raise InvalidArgument(f"{what} has more than {_MOST_MEMBERS} members")
        members[name] = of
    return members


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    if type(value) is not simdjson.Object:
        items: Iterable[tuple[str, Any]] = value.items()
        return items
    # Its `items` would make Python values of all that the members hold.
    # A name with a null byte it cannot look up; there is none that means anything.
    names = value.keys()
    return ((name, value[name]) for name in names if "\0" not in name)


def _parameters(members: dict[str, Any]) -> dict[str, Any]:
    value = members.get("parameters")
    if value is None:
        return {}
    parameters = _members(value, "'parameters'")
    for name, of in parameters.items():
        if type(of) not in _SCALARS:
            raise InvalidArgument(
                f"parameter '{name[:200]}' has invalid type. It should be either 'int', 'bool', or "
                "'string'."
            )
    return parameters


def _string(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if type(value) is not str:
        raise InvalidArgument(f"Unable to parse '{name}'", hint="It is a string that is needed")
    return value


def _few(values: Any, what: str) -> Iterable[Any]:
    if type(values) is list and len(values) <= _MOST_MEMBERS:
        return values
    return _counted(values, what)


def _counted(values: Iterable[Any], what: str) -> Iterator[Any]:
    for index, value in enumerate(values):
        if index == _MOST_MEMBERS:
            raise InvalidArgument(f"there are more than {_MOST_MEMBERS} {what}")
        yield value


def _first(values: Iterable[Any], count: int) -> list[Any]:
    return [value for value, _ in zip(values, range(count), strict=False)]


def _other_count(name: str, shape: tuple[int, ...], found: int | None) -> InvalidArgument:
    count = count_elements(shape, name)
    said = "another number of" if found is None else str(found)
    return InvalidArgument(
        "Unable to parse 'data': shape does not match true shape of 'data' field",
        hint=f"By its shape input '{name}' has {count} elements, 'data' has {said}",
    )


def _not_all(name: str, dtype: DataType) -> InvalidArgument:
    return InvalidArgument(
        "Unable to parse 'data'",
        hint=f"of input '{name}': not all of its elements are a {_KINDS.get(dtype, dtype.name)}",
    )


_KINDS: Final = {
    DataType.STRING: "string",
    DataType.BOOL: "boolean (true, false)",
    **dict.fromkeys(FLOATS, "number"),
}
