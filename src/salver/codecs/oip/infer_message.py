"""`inference.ModelInferRequest`: read as far as no version of a model need be known for it.

The usual request is scanned by hand, so that raw contents stay where they are in the message. Other
forms, and all parameters, go through protobuf's own parser.

Source: the specification's `open_inference_grpc.proto`, and Triton's `grpc_service.proto`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from salver.codecs.protobuf.wire import Bytes, parse_message, read_length
from salver.errors import InvalidArgument

__all__ = [
    "MOST_TENSORS",
    "InferMessage",
    "InputMessage",
    "OutputMessage",
    "Parameter",
    "decode_infer_request",
]

MOST_TENSORS: Final = 1 << 14
"""How many inputs, outputs and raw contents one request may have together: an empty one takes two
bytes of a message and a hundred of memory."""

Parameter = bool | int | str | float
"""A value of a parameter; a ParameterChoice that is not set is left out."""

_REQUEST: Final = "inference.ModelInferRequest"
_NONE: Final[Mapping[str, Parameter]] = MappingProxyType({})
_LARGE_BYTES: Final = 1 << 12  # above this a view costs less than a copy


class InputMessage:
    """An input as it came; its elements are not looked into.

    Attributes:
        name: of the input.
        datatype: what it calls its element type; any text.
        shape: any numbers.
        parameters: of this input.
        contents: a serialized `inference.InferTensorContents`; None where there is none.
    """

    __slots__ = ("contents", "datatype", "name", "parameters", "shape")

    def __init__(
        self,
        name: str,
        datatype: str,
        shape: tuple[int, ...],
        parameters: Mapping[str, Parameter] = _NONE,
        contents: Bytes | None = None,
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.parameters = parameters
        self.contents = contents


class OutputMessage:
    """An output that is asked for.

    Attributes:
        name: of the output.
        parameters: of this output.
    """

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: Mapping[str, Parameter] = _NONE) -> None:
        self.name = name
        self.parameters = parameters


class InferMessage:
    """A request. One is made for each, hence the slots.

    Attributes:
        model_name: empty where there is none.
        model_version: likewise.
        id: likewise.
        parameters: of the request.
        inputs: in their order, of any names.
        outputs: likewise; none where all are asked for.
        raw: `raw_input_contents`; a large one is a view of the message.
        raw_end: where in the message the last of them ends; 0 where there is none, or where the
            message is not of the usual form.
    """

    __slots__ = (
        "id",
        "inputs",
        "model_name",
        "model_version",
        "outputs",
        "parameters",
        "raw",
        "raw_end",
    )

    def __init__(self) -> None:
        """A request for nothing."""
        self.model_name = ""
        self.model_version = ""
        self.id = ""
        self.parameters: Mapping[str, Parameter] = _NONE
        self.inputs: list[InputMessage] = []
        self.outputs: list[OutputMessage] = []
        self.raw: list[Bytes] = []
        self.raw_end = 0


def decode_infer_request(data: bytes) -> InferMessage:
    """Read a request.

    Raises:
        Internal: it is malformed.
        InvalidArgument: it has more tensors than `MOST_TENSORS`.
    """
    try:
        message = _decode_usual(data)
    except (IndexError, UnicodeDecodeError):
        message = None
    return _decode_unusual(data) if message is None else message


def _decode_usual(data: bytes) -> InferMessage | None:
    """The request; None where it has other fields than the usual, or wrong ones."""
    message = InferMessage()
    parameters: list[bytes] = []
    at = n_fields = 0
    end = len(data)
    while at < end:
        begin, tag, size = at, data[at], data[at + 1]
        at += 2
        if size > 0x7F:
            size, at = read_length(data, at - 1)
        stop = at + size
        n_fields += 1
        if stop > end:
            return None
        if n_fields > MOST_TENSORS:
            raise _too_many()
        if tag == 0x3A:
            message.raw.append(data[at:stop] if size < _LARGE_BYTES else memoryview(data)[at:stop])
            message.raw_end = stop
        elif tag == 0x22:
            parameters.append(data[begin:stop])
        elif not _read_field(message, tag, data, at, stop):
            return None
        at = stop
    if parameters:
        parsed = parse_message(_REQUEST, b"".join(parameters))
        message.parameters = _parameters_of(parsed.parameters)
    return message


def _read_field(message: InferMessage, tag: int, data: bytes, at: int, stop: int) -> bool:
    """Add a field that is small; False where it has another form than the usual."""
    if tag == 0x2A:
        found = _decode_input(data, at, stop)
        if found is None:
            return False
        message.inputs.append(found)
    elif tag == 0x32:
        message.outputs.append(_decode_output(data, at, stop))
    elif tag == 0x0A:
        message.model_name = data[at:stop].decode()
    elif tag == 0x12:
        message.model_version = data[at:stop].decode()
    elif tag == 0x1A:
        message.id = data[at:stop].decode()
    else:
        return False
    return True


def _decode_input(data: bytes, at: int, stop: int) -> InputMessage | None:
    begin = at
    name = datatype = ""
    shape: tuple[int, ...] | None = None
    contents: Bytes | None = None
    while at < stop:
        tag = data[at]
        size = data[at + 1]
        at += 2
        if size > 0x7F:
            size, at = read_length(data, at - 1)
        next_at = at + size
        if next_at > stop:
            return None
        if tag == 0x0A:
            name = data[at:next_at].decode()
        elif tag == 0x12:
            datatype = data[at:next_at].decode()
        elif tag == 0x1A and shape is None:
            shape = _shape_of(data[at:next_at])
        elif tag == 0x2A and contents is None:
            large = size >= _LARGE_BYTES
            contents = memoryview(data)[at:next_at] if large else data[at:next_at]
        elif tag == 0x22:
            return _input_of(parse_message(f"{_REQUEST}.InferInputTensor", data[begin:stop]))
        else:
            return None
        at = next_at
    return InputMessage(name, datatype, shape or (), _NONE, contents)


def _shape_of(data: bytes) -> tuple[int, ...]:
    """Packed numbers, most of which are small.

    Raises:
        IndexError: the last is cut off, or it is too long.
    """
    if data.isascii():  # each is one byte
        return tuple(data)
    sizes = []
    at = 0
    while at < len(data):
        size, at = read_length(data, at)  # five bytes; longer ones are left to protobuf
        sizes.append(size)
    return tuple(sizes)


def _decode_output(data: bytes, at: int, stop: int) -> OutputMessage:
    size = data[at + 1] if stop - at > 1 else 0
    if data[at] == 0x0A and size <= 0x7F and at + 2 + size == stop:
        return OutputMessage(data[at + 2 : stop].decode())
    parsed = parse_message(f"{_REQUEST}.InferRequestedOutputTensor", data[at:stop])
    return OutputMessage(parsed.name, _parameters_of(parsed.parameters))


def _decode_unusual(data: bytes) -> InferMessage:
    parsed = parse_message(_REQUEST, data)
    if len(parsed.inputs) + len(parsed.outputs) + len(parsed.raw_input_contents) > MOST_TENSORS:
        raise _too_many()
    message = InferMessage()
    message.model_name = parsed.model_name
    message.model_version = parsed.model_version
    message.id = parsed.id
    message.parameters = _parameters_of(parsed.parameters)
    message.inputs = [_input_of(tensor) for tensor in parsed.inputs]
    message.outputs = [
        OutputMessage(output.name, _parameters_of(output.parameters)) for output in parsed.outputs
    ]
    message.raw = list(parsed.raw_input_contents)
    return message


def _too_many() -> InvalidArgument:
    return InvalidArgument(f"the request has more than {MOST_TENSORS} tensors")


def _input_of(tensor: Any) -> InputMessage:
    return InputMessage(
        tensor.name,
        tensor.datatype,
        tuple(tensor.shape),
        _parameters_of(tensor.parameters),
        tensor.contents.SerializeToString() if tensor.HasField("contents") else None,
    )


def _parameters_of(parameters: Any) -> Mapping[str, Parameter]:
    if not parameters:
        return _NONE
    found = {}
    for name, value in parameters.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(value, choice)
    return found
