"""ModelInfer: its two codecs.

Most requests differ from an earlier one in the elements of their tensor alone; what the earlier one
has told is not parsed again, see `rpc.alike`. The other codec reads any request.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from salver.codecs.oip.contents import array_of_contents
from salver.codecs.oip.dtypes import datatype_of_array
from salver.codecs.oip.infer_message import (
    InferMessage,
    InputMessage,
    OutputMessage,
    decode_infer_request,
)
from salver.codecs.oip.infer_response import before_raw_output, encode_infer_response
from salver.codecs.oip.tensors import array_of_raw, checked_shape
from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.wire import Bytes
from salver.errors import InvalidArgument
from salver.inference.alike import AlikeMessages, AlikeRequest
from salver.inference.call import Codec, InferenceRequest, IsActive
from salver.inference.serving import Handle
from salver.instruments.threads import LARGE_BYTES
from salver.oip.asked import AnsweredOutput, Asked, GivenInput, ReadInput, RequestedOutput
from salver.oip.asking import Labels, OipRequest
from salver.oip.parameters import read_parameters, refuse_shared_memory
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, ServableRequest

__all__ = ["METER_KEY", "InferCodecs", "asked_of", "servable_of"]

METER_KEY: Final = ("infer", "GRPC")
_RAW: Final = "raw_input_contents"
_LONGEST_NUMBER: Final = 19  # digits


class InferCodecs:
    """The codecs of ModelInfer, and what they remember. Reads in the loop or in the pool.

    Attributes:
        all: quickest first.
    """

    def __init__(self, labels: Labels | None = None) -> None:
        """Remember nothing yet.

        Args:
            labels: of classes; see `OipRequest`.
        """
        self.labels = labels
        self.alike: AlikeMessages[AlikeRequest] = AlikeMessages()
        self.all: tuple[Codec[bytes], ...] = (self._known, self._any)

    def _known(
        self, data: bytes, _context: Any, is_active: IsActive | None
    ) -> "_KnownInfer | None":
        if is_active is not None:  # what is remembered belongs to the loop
            return None
        known = self.alike.find(data)
        if known is not None:
            return _KnownInfer(self, known, data, b"")
        if len(data) > LARGE_BYTES:
            return None  # without its id it would be copied, in the loop
        message, id = without_id(data)
        if id:
            known = self.alike.find(message)
            if known is not None:
                return _KnownInfer(self, known, message, id)
        return None

    def _any(self, data: bytes, _context: Any, is_active: IsActive | None) -> "_Infer":
        return self.parsed(data)

    def parsed(self, data: bytes) -> "_Infer":
        """Read any request.

        Raises:
            ServingError: it is malformed, or asks for what no model could give.
        """
        return _Infer(self, decode_infer_request(data), data)


class _Infer(OipRequest[bytes]):
    """Any request."""

    __slots__ = ("_codecs", "_message")

    meter_key = METER_KEY

    def __init__(self, codecs: InferCodecs, message: InferMessage, data: bytes) -> None:
        servable = servable_of(message.model_name, message.model_version)
        super().__init__(servable, asked_of(message), data, codecs.labels)
        self._codecs = codecs
        self._message = message

    def encode(self, outputs: list[Array]) -> bytes:
        """See `InferenceRequest`."""
        answer = super().encode(outputs)
        # What is large is encoded elsewhere, and what is remembered belongs to the loop.
        if len(outputs) == 1 and outputs[0].nbytes <= LARGE_BYTES:
            self._remember(outputs[0])
        return answer

    def write(self, outputs: Sequence[AnsweredOutput]) -> bytes:
        """See `OipRequest`."""
        return encode_infer_response(
            (self.servable.name, self.handle.id.version),
            self.asked.id,
            [(each.name, each.datatype, each.array) for each in outputs],
            is_raw=self._message.parameters.get("binary_data_output") is not False,
        )

    def _remember(self, output: Array) -> None:
        message, data = self._message, self.data
        if not (len(self.feeds) == len(message.inputs) == len(message.raw) == 1):
            return
        [fed], call = self.feeds, self.call
        if (
            message.parameters
            or message.inputs[0].parameters
            or message.raw_end != len(data)
            or not _is_plain(fed)
            or not _is_plain(output)
            or len(call.output_names) != 1
            or any(each.parameters for each in message.outputs)
        ):
            return
        if message.id:
            if len(data) > LARGE_BYTES:
                return  # see `InferCodecs`
            data, id = without_id(data)
            if not id or decode_infer_request(data).id:  # it has two
                return
        begin = len(data) - fed.nbytes
        if self._codecs.alike.has_place(data, begin):
            version = self.handle.id.version
            written = (call.output_names[0], datatype_of_array(output.dtype), output)
            head = before_raw_output(self.servable.name, version, *written)
            known = AlikeRequest(self.servable, version, call, len(data), fed, output, head)
            self._codecs.alike.keep(data, begin, known)


class _KnownInfer(InferenceRequest[bytes]):
    """One of which all but the elements of its tensor is known."""

    __slots__ = ("_codecs", "_data", "_id", "_known")

    def __init__(self, codecs: InferCodecs, known: AlikeRequest, data: bytes, id: bytes) -> None:
        self.servable = known.request
        self._codecs = codecs
        self._data = data
        self._id = id
        self._known = known

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`. False: another version answers now, so it is to be parsed."""
        known = self._known
        if handle.id.version != known.version:
            return False
        call = handle.model.call(known.name)
        if call is None or call.signature is not known.signature:
            return False
        self.handle = handle
        self.start = call.start
        self.feeds = [np.ndarray(known.shape, known.dtype, self._data, known.begin)]
        self.meter = call.meters[METER_KEY]
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        """See `InferenceRequest`."""
        known = self._known
        if len(outputs) == 1:
            output = outputs[0]
            if output.dtype is known.output_dtype and output.shape == known.output_shape:
                return b"".join((known.head, self._id, known.tail, output.tobytes()))
        # The model answers in another shape than before: as to any other request, then.
        request = self._codecs.parsed(self._data + self._id)
        request.decode(self.handle, None)
        return request.encode(outputs)


def servable_of(name: str, version: str) -> ServableRequest:
    """Which servable a request names; a version that is no number is a label."""
    if not version:
        return ServableRequest(name)
    if version.isascii() and version.isdigit() and len(version) <= _LONGEST_NUMBER:
        return ServableRequest(name, int(version))
    return ServableRequest(name, None, version)


def without_id(data: bytes) -> tuple[bytes, bytes]:
    """A request without the field of its id, and that field, which a response has in this form too.

    Returns:
        The request as it is and nothing, where it has none or is not of the usual form.
    """
    try:
        size = data[1]
        begin = 2 + size  # behind the name of the model
        if data[begin] == 0x12:  # and behind its version
            size |= data[begin + 1]
            begin += 2 + data[begin + 1]
        size |= data[begin + 1]
        end = begin + 2 + data[begin + 1]
        if size > 0x7F or data[0] != 0x0A or data[begin] != 0x1A or end > len(data):
            return data, b""
    except IndexError:
        return data, b""
    id = data[begin:end]
    # What is no text is refused by whoever parses it.
    return (data[:begin] + data[end:], id) if id.isascii() else (data, b"")


def asked_of(message: InferMessage) -> Asked:
    """What a message asks for.

    Raises:
        InvalidArgument: its inputs have no elements, or have them twice; a shape is none; or a
            parameter has a value that it cannot have.
        Unimplemented: it asks for sequences or shared memory.
    """
    parameters = read_parameters(message.parameters)
    outputs = [_requested(each) for each in message.outputs] if message.outputs else ()
    raw = message.raw
    if raw:
        _check_contents(message)
    if raw and len(raw) != len(message.inputs):
        for each in message.inputs:  # one in shared memory has no raw contents
            _shape(each)
        raise InvalidArgument(
            f"the number of inputs ({len(message.inputs)}) does not match the number of {_RAW} "
            f"({len(raw)}) for model '{message.model_name}'"
        )
    if raw:
        inputs = [
            GivenInput(each.name, each.datatype, _shape(each), _RawReader(content))
            for each, content in zip(message.inputs, raw, strict=True)
        ]
    else:
        inputs = [
            GivenInput(each.name, each.datatype, _shape(each), _contents_reader(each, message))
            for each in message.inputs
        ]
    return Asked(inputs, outputs, message.id, parameters)


def _check_contents(message: InferMessage) -> None:
    """No input has elements of its own beside the raw ones."""
    for each in message.inputs:
        if each.contents is not None:
            raise InvalidArgument(
                f"contents field must not be specified when using {_RAW} for '{each.name}' for "
                f"model '{message.model_name}'"
            )


def _shape(given: InputMessage) -> tuple[int, ...]:
    if given.parameters:
        refuse_shared_memory(given.parameters, f"input '{given.name}'")
    return checked_shape(given.shape, given.name)


class _RawReader:
    """Makes the array of raw contents; see `asking.ReadInput`."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Bytes) -> None:
        self._raw = raw

    def __call__(self, dtype: DataType, shape: tuple[int, ...], name: str, room: Room) -> Array:
        return array_of_raw(dtype, shape, self._raw, name, room)


def _contents_reader(given: InputMessage, message: InferMessage) -> ReadInput:
    contents = given.contents
    if contents is None:
        raise InvalidArgument(
            f"unable to find data for input tensor '{given.name}' for model "
            f"'{message.model_name}' in request."
        )

    def read(dtype: DataType, shape: tuple[int, ...], name: str, room: Room) -> Array:
        return array_of_contents(dtype, shape, contents, name, room)

    return read


def _requested(output: OutputMessage) -> RequestedOutput:
    parameters = output.parameters
    if not parameters:
        return RequestedOutput(output.name)
    refuse_shared_memory(parameters, f"output '{output.name}'")
    count = parameters.get("classification", 0)
    if type(count) is not int:
        raise InvalidArgument(
            "invalid value type for 'classification' parameter, expected int64_param"
        )
    if count < 0:
        raise InvalidArgument("invalid value for 'classification' parameter, expected >= 0")
    return RequestedOutput(output.name, count)


def _is_plain(array: Array) -> bool:
    """Whether any bytes in the place of its elements are elements, too."""
    return array.nbytes > 0 and array.dtype.kind not in "bO"
