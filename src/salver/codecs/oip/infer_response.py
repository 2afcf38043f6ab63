"""`inference.ModelInferResponse`: outputs → bytes.

Elements are `raw_output_contents`, as Triton writes them whatever the request has, or `contents`
where the request wants no raw ones.

Source: the specification's `open_inference_grpc.proto`, "ModelInferResponse".
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from salver.codecs.oip.contents import contents_of
from salver.codecs.oip.tensors import raw_of
from salver.codecs.protobuf.wire import Bytes, length_delimited, varint
from salver.errors import InvalidArgument
from salver.instruments.heap import joined
from salver.vocabulary.requests import Array

__all__ = ["before_raw_output", "encode_infer_response"]

_COPIED_APART_BYTES: Final = 1 << 20  # without the GIL


def encode_infer_response(
    model: tuple[str, int],
    id: str,
    outputs: Sequence[tuple[str, str, Array]],
    *,
    is_raw: bool = True,
) -> bytes:
    """Serialize a response.

    Args:
        model: name and version of what answered.
        id: of the request; empty for none.
        outputs: name, datatype (`FP32`) and array of each, in this order.
        is_raw: whether elements are `raw_output_contents`; else `contents`.

    Raises:
        InvalidArgument: contents cannot hold the elements of an output.
    """
    parts: list[Bytes] = [_model_head(*model)]
    if id:
        parts.append(length_delimited(3, id.encode()))
    if not is_raw:
        parts += [_with_contents(*output) for output in outputs]
        return b"".join(parts)
    parts += [_output_head(name, datatype, array.shape) for name, datatype, array in outputs]
    is_large = False
    for _, _, array in outputs:
        raw = raw_of(array)
        is_large |= len(raw) > _COPIED_APART_BYTES
        parts += (b"\x32" + varint(len(raw)), raw)
    return joined(deque(parts)) if is_large else b"".join(parts)


def before_raw_output(
    model_name: str, version: int, name: str, datatype: str, array: Array
) -> tuple[bytes, bytes]:
    """What a response with one output, of numbers, has before its elements, which end it.

    Returns:
        What stands before the id of the request, and what behind it.
    """
    raw = b"\x32" + varint(array.nbytes)
    return _model_head(model_name, version), _output_head(name, datatype, array.shape) + raw


def _with_contents(name: str, datatype: str, array: Array) -> bytes:
    try:
        contents = contents_of(array)
    except TypeError as error:
        raise InvalidArgument(
            f"output '{name}' is of datatype {datatype}, which contents cannot hold: leave out "
            "the parameter 'binary_data_output'"
        ) from error
    return length_delimited(
        5, _output_fields(name, datatype, array.shape) + length_delimited(5, contents)
    )


@lru_cache(maxsize=1024)
def _model_head(name: str, version: int) -> bytes:
    return length_delimited(1, name.encode(errors="replace")) + length_delimited(
        2, str(version).encode()
    )


@lru_cache(maxsize=1024)
def _output_head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return length_delimited(5, _output_fields(name, datatype, shape))


def _output_fields(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    sizes = length_delimited(3, b"".join(map(varint, shape))) if shape else b""
    return length_delimited(1, name.encode()) + length_delimited(2, datatype.encode()) + sizes
