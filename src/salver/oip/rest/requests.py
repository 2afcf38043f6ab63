"""The body of an inference request over REST → what it asks for.

A body is JSON; or JSON and behind it the raw bytes of tensors, `Inference-Header-Content-Length`
saying where they begin; or, where that is 0, the bytes of the only input of a model and nothing
else. Raw bytes are not copied: the arrays are views of the body.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from salver.codecs.oip.dtypes import datatype_name
from salver.codecs.oip.json_request import Input, Output, read_infer_request
from salver.codecs.oip.tensors import array_of_raw, raw_strings
from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.wire import Bytes
from salver.errors import InvalidArgument
from salver.oip.asked import Asked, GivenInput, RequestedOutput
from salver.oip.parameters import Parameters, read_parameters, refuse_shared_memory
from salver.oip.rest.alike import without_id
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

__all__ = [
    "HEADER_LENGTH",
    "KnownHeads",
    "asked_of_body",
    "asked_of_raw_body",
    "header_length",
    "raw_input",
]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"

_MOST_DIGITS: Final = 18
_GREATEST: Final = (1 << 63) - 1
_MOST_KNOWN: Final = 1024  # past that all are forgotten
_MOST_KNOWN_BYTES: Final = 1024
_LARGE_BYTES: Final = 1 << 12  # above this a view costs less than a copy


def header_length(value: bytes | None, body_bytes: int) -> int | None:
    """How long the JSON of a body is; None where nothing is behind it.

    Args:
        value: of the header field `Inference-Header-Content-Length`; None without one.
        body_bytes: how long the body is.

    Raises:
        InvalidArgument: it is no number, or the body is not so long.
    """
    if value is None:
        return None
    if not value.isdigit():
        raise InvalidArgument(f"Unable to parse {HEADER_LENGTH}, got: {_shown(value)}")
    if len(value) > _MOST_DIGITS or (length := int(value)) > body_bytes:
        raise InvalidArgument(
            f"inference header size should be in range (0, {body_bytes}), got: {_shown(value)}"
        )
    return length


def _shown(value: bytes) -> str:
    return value.decode("latin-1")[:100]


class _Head(NamedTuple):
    """What the JSON of a request says."""

    inputs: Sequence[Input]
    outputs: Sequence[RequestedOutput]
    id: str
    parameters: Parameters


def _read(text: bytes, is_active: Callable[[], bool] | None) -> _Head:
    request = read_infer_request(text, is_active)
    parameters = read_parameters(request.parameters)
    outputs = [_output(each, parameters) for each in request.outputs]
    return _Head(request.inputs, outputs, request.id, parameters)


class KnownHeads:
    """The JSON texts before raw bytes, which are the same in most requests of a client.

    What they say is remembered, which saves 15 µs. Thread-safe.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        """Know none yet."""
        self._known: dict[bytes, _Head] = {}

    def read(self, text: bytes, is_active: Callable[[], bool] | None) -> _Head:
        """What a text says; raises as `asked_of_body`."""
        id, key = without_id(text)  # which is another one each time
        head = self._known.get(key)
        if head is not None and id:
            # One with an id of its own would have two.
            head = None if head.id else head._replace(id=id)
        if head is None:
            head = _read(text, is_active)
            if id and head.id != id:
                return head
            # Arrays are not to be shared: a model may write to what it is fed.
            if len(key) <= _MOST_KNOWN_BYTES and all(each.array is None for each in head.inputs):
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = head._replace(id="") if id else head
        return head


def asked_of_body(
    body: bytes, length: int | None, is_active: Callable[[], bool] | None, heads: KnownHeads
) -> Asked:
    """What a body of JSON, or of JSON and raw bytes, asks for.

    Args:
        body: of the request.
        length: of the JSON; None: all of it.
        is_active: see `read_infer_request`.
        heads: remember the texts before raw bytes.

    Raises:
        InvalidArgument: it is wrong.
        Unimplemented: it asks for what is not there.
        TakesLong: in the loop.
    """
    if length is None:
        head = _read(body, is_active)
        raws = _Raws(b"")
    else:
        head = heads.read(body[:length], is_active)
        raws = _Raws(
            body[length:] if len(body) - length < _LARGE_BYTES else memoryview(body)[length:]
        )
    inputs = [_given(each, raws) for each in head.inputs]
    raws.check_end()
    return Asked(inputs, head.outputs, head.id, head.parameters)


def asked_of_raw_body() -> Asked:
    """What a body asks for that is nothing but the bytes of a model's only input."""
    return Asked((), parameters=Parameters(is_binary=True))


def raw_input(body: bytes, signature: Signature, model: str) -> GivenInput:
    """The only input of a signature, of a body that is nothing but its bytes.

    Args:
        body: of the request.
        signature: that is run.
        model: its name, for the text of an error.

    Raises:
        InvalidArgument: there are several inputs, or the shape cannot be told from the size.
    """
    if len(signature.inputs) != 1:
        raise InvalidArgument(
            "Raw request must only have 1 input (found 1) to be deduced but got "
            f"{len(signature.inputs)} inputs in '{model}' model configuration"
        )
    ((name, spec),) = signature.inputs.items()
    datatype = datatype_name(spec.dtype)
    declared = spec.shape if spec.shape is not None else (-1,)
    if spec.dtype is DataType.STRING:
        if any(size not in (-1, 1) for size in declared):
            raise InvalidArgument(
                f"For BYTE datatype raw input '{name}', the model must have input shape [1]"
            )
        shape = (1,) * len(declared)
        return GivenInput(name, datatype, shape, partial(_read_raw, raw_strings([body])))
    unknown = [axis for axis, size in enumerate(declared) if size < 0]
    if len(unknown) == 2 and unknown[0] == 0:  # the first counts rows, and this is one
        declared, unknown = (1, *declared[1:]), unknown[1:]
    if len(unknown) > 1:
        raise InvalidArgument(
            f"The shape of the raw input '{name}' can not be deduced because there are more than "
            "one variable-sized dimension"
        )
    if unknown:
        declared = _filled(declared, unknown[0], len(body), spec.dtype)
    return GivenInput(name, datatype, declared, partial(_read_raw, body))


def _filled(
    declared: tuple[int, ...], axis: int, body_bytes: int, dtype: DataType
) -> tuple[int, ...]:
    """A shape with the one size filled in that it lacks."""
    step = numpy_dtype(dtype).itemsize
    for size in declared:
        step *= abs(size)  # of the axis that is not known it is 1
    return (*declared[:axis], body_bytes // step if step else 0, *declared[axis + 1 :])


class _Raws:
    """The raw bytes behind the JSON, from the first input to the last."""

    __slots__ = ("_at", "_raws")

    def __init__(self, raws: Bytes) -> None:
        self._raws = raws
        self._at = 0

    def take(self, size: Any, name: str) -> Bytes:
        """The bytes of the next input, as many as it says."""
        if type(size) is not int or not 0 <= size <= _GREATEST:
            raise InvalidArgument("Unable to parse 'binary_data_size'", hint=f"of input '{name}'")
        end = self._at + size
        if end > len(self._raws):
            raise InvalidArgument(
                f"unexpected size for input '{name}', expecting {end - len(self._raws)} additional "
                "bytes",
                hint=f"{HEADER_LENGTH} says where the bytes behind the JSON begin",
            )
        found, self._at = self._raws[self._at : end], end
        return found

    def check_end(self) -> None:
        if self._at != len(self._raws):
            raise InvalidArgument(
                f"unexpected additional input data: {len(self._raws) - self._at} bytes"
            )


def _given(given: Input, raws: _Raws) -> GivenInput:
    parameters, array = given.parameters, given.array
    size = parameters.get("binary_data_size") if parameters else None
    if parameters:
        refuse_shared_memory(parameters, f"input '{given.name}'")
    if (size is None) == (array is None):
        but = "no field is set" if array is None else "set 'data' 'binary_data_size'"
        raise InvalidArgument(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in "
            f"'parameters', 'shared_memory_region' in 'parameters'. But {but}",
            hint=f"of input '{given.name}'",
        )
    if array is not None:
        return GivenInput(given.name, given.datatype, given.shape, partial(_read_made, array))
    raw = raws.take(size, given.name)
    return GivenInput(given.name, given.datatype, given.shape, partial(_read_raw, raw))


def _read_made(
    array: Array, _dtype: DataType, _shape: tuple[int, ...], _name: str, _room: Room
) -> Array:
    return array


def _read_raw(raw: Bytes, dtype: DataType, shape: tuple[int, ...], name: str, room: Room) -> Array:
    return array_of_raw(dtype, shape, raw, name, room)


def _output(output: Output, parameters: Parameters) -> RequestedOutput:
    given = output.parameters
    if not given:
        return RequestedOutput(output.name, is_binary=parameters.is_binary)
    refuse_shared_memory(given, f"output '{output.name}'")
    is_binary = given.get("binary_data", parameters.is_binary)
    if type(is_binary) is not bool:
        raise InvalidArgument("Unable to parse 'binary_data'", hint=f"of output '{output.name}'")
    classes = given.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= _GREATEST:
        raise InvalidArgument("Unable to set 'classification'", hint=f"of output '{output.name}'")
    return RequestedOutput(output.name, classes, is_binary)
