"""Calls of the Open Inference Protocol over gRPC: messages as bytes, tensors as raw contents.

Source: the specification's `open_inference_grpc.proto`, and Triton's `grpc_service.proto`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from salver._pb import message_class
from salver.client.answers import ListedModel, ModelMetadata, ModelStatus
from salver.client.exchange import Exchange, Reply, Which
from salver.client.v2_calls import V2Calls
from salver.client.v2_forms import (
    index_of,
    metadata_of,
    number_of,
    own_array,
    signature_parameter,
    up_status,
    version_text,
)
from salver.client.wire import Predicted
from salver.codecs.oip.contents import array_of_contents
from salver.codecs.oip.dtypes import DATATYPES, datatype_of_array, dtype_of_name
from salver.codecs.oip.tensors import checked_shape, raw_of
from salver.codecs.protobuf.wire import Bytes, length_delimited, parse_message, read_length, varint
from salver.errors import Internal, ServingError, Unavailable, Unimplemented
from salver.vocabulary.requests import Array

__all__ = ["INFER_PATH", "V2GrpcWire"]

_SERVICE: Final = "/inference.GRPCInferenceService"
INFER_PATH: Final = f"{_SERVICE}/ModelInfer"
_RESPONSE: Final = "inference.ModelInferResponse"
_RAW_TAG: Final = 0x32


class V2GrpcWire(V2Calls):
    """Writes and reads protocol buffers; a `Wire`."""

    def _infer(
        self,
        which: Which,
        signature: str,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        classes: int,
    ) -> Exchange[Predicted]:
        parts: list[Bytes] = [length_delimited(1, which.name.encode())]
        version = version_text(which)
        if version:
            parts.append(length_delimited(2, version.encode()))
        named = signature_parameter(signature)
        if named is not None:
            parts.append(length_delimited(4, _parameter("signature_name", string_param=named)))
        parts += [_input(name, array) for name, array in feeds.items()]
        parts += [length_delimited(6, _output(name, classes)) for name in outputs]
        for array in feeds.values():
            raw = raw_of(array)
            parts += (b"\x3a" + varint(len(raw)), raw)
        return Exchange(INFER_PATH, b"".join(parts), _read_predicted)

    def is_up(self, which: Which) -> Exchange[ModelStatus]:
        """See `Wire`."""

        def read(reply: Reply) -> ModelStatus:
            if not parse_message("inference.ModelReadyResponse", reply.body).ready:
                raise Unavailable("the server says that it is not ready")
            return up_status(which)

        body = length_delimited(1, which.name.encode())
        body += length_delimited(2, version_text(which).encode())
        return Exchange(f"{_SERVICE}/ModelReady", body, read)

    def metadata(self, which: Which) -> Exchange[ModelMetadata]:
        """See `Wire`; of the default signature alone."""

        def read(reply: Reply) -> ModelMetadata:
            said = parse_message("inference.ModelMetadataResponse", reply.body)
            told = {
                "name": said.name,
                "versions": list(said.versions),
                "inputs": [_tensor(of) for of in said.inputs],
                "outputs": [_tensor(of) for of in said.outputs],
            }
            return metadata_of(which, told, None)

        body = length_delimited(1, which.name.encode())
        body += length_delimited(2, version_text(which).encode())
        return Exchange(f"{_SERVICE}/ModelMetadata", body, read)

    def models(self) -> Exchange[tuple[ListedModel, ...]]:
        """See `Wire`; of the repository index, which has no labels."""

        def read(reply: Reply) -> tuple[ListedModel, ...]:
            said = parse_message("inference.RepositoryIndexResponse", reply.body)
            return index_of([(of.name, of.version, of.state, of.reason) for of in said.models])

        return Exchange(f"{_SERVICE}/RepositoryIndex", b"", read)

    def ready(self) -> Exchange[bool]:
        """See `Wire`."""

        def read(reply: Reply) -> bool:
            if not parse_message("inference.ServerReadyResponse", reply.body).ready:
                raise Unavailable("The server says that it is not serving")
            return True

        return Exchange(f"{_SERVICE}/ServerReady", b"", read)


# -- requests --------------------------------------------------------------------------------------


def _input(name: str, array: Array) -> bytes:
    try:
        datatype = datatype_of_array(array.dtype)
    except TypeError:
        datatype = str(array.dtype)
    if datatype not in DATATYPES:
        raise Unimplemented(
            f"The Open Inference Protocol has no datatype for input {name!r} of type {array.dtype}",
            hint='TensorFlow Serving\'s API has one: protocol="tfs"',
        )
    head = length_delimited(1, name.encode()) + length_delimited(2, datatype.encode())
    if array.shape:
        head += length_delimited(3, b"".join(map(varint, array.shape)))
    return length_delimited(5, head)


def _output(name: str, classes: int) -> bytes:
    head = length_delimited(1, name.encode())
    if classes:
        head += length_delimited(2, _parameter("classification", int64_param=classes))
    return head


def _parameter(name: str, **value: Any) -> bytes:
    """An entry of the map `parameters`."""
    written = message_class("inference.InferParameter")(**value).SerializeToString()
    return length_delimited(1, name.encode()) + length_delimited(2, written)


# -- replies ---------------------------------------------------------------------------------------


def _tensor(said: Any) -> dict[str, Any]:
    return {"name": said.name, "datatype": said.datatype, "shape": list(said.shape)}


def _read_predicted(reply: Reply) -> Predicted:
    try:
        rest, raws = _scanned(reply.body)
        said = parse_message(_RESPONSE, rest)
    except IndexError as error:
        raise Internal(f"The answer is no {_RESPONSE}: {error}") from error

    def arrays(_signature: Any) -> Mapping[str, Array]:
        if raws and len(raws) != len(said.outputs):
            raise Internal(
                f"The answer has {len(said.outputs)} outputs, and elements of {len(raws)}"
            )
        if raws:
            return {
                of.name: own_array(of.name, of.datatype, tuple(of.shape), raw)
                for of, raw in zip(said.outputs, raws, strict=True)
            }
        return {of.name: _typed(of) for of in said.outputs}

    return Predicted(number_of(said.model_version), arrays)


def _typed(said: Any) -> Array:
    """An output of `contents`, as servers without raw ones answer."""
    dtype = dtype_of_name(said.datatype)
    if dtype is None:
        raise Internal(f"The answer has an output of datatype {said.datatype!r}")
    try:
        shape = checked_shape(tuple(said.shape), said.name)
        array = array_of_contents(dtype, shape, said.contents.SerializeToString(), said.name)
    except ServingError as error:
        raise Internal(f"The answer is no tensor: {error.message}") from error
    return array if array.flags.writeable else array.copy()


def _scanned(body: bytes) -> tuple[bytes, list[Bytes]]:
    """A response without its raw contents, and these, where they lie.

    Raises:
        IndexError: it has fields that no response has.
    """
    view = memoryview(body)
    rest: list[Bytes] = []
    raws: list[Bytes] = []
    at = 0
    while at < len(body):
        tag = body[at]
        size, begin = read_length(body, at + 1)
        end = begin + size
        if tag & 7 != 2 or end > len(body):
            raise IndexError("a field is of another kind, or cut short")
        if tag == _RAW_TAG:
            raws.append(view[begin:end])
        else:
            rest.append(view[at:end])
        at = end
    return b"".join(rest), raws
