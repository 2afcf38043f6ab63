"""Results → JSON bodies.

Numbers are written by orjson from the array itself: the shortest digits that give back the same
value of the array's dtype. What stands around them is the reference's, compact within a value.

Source: TensorFlow Serving `util/json_tensor.cc`, MakeJsonFromTensors and its neighbours.
"""

import binascii
import math
from collections.abc import Sequence

import numpy as np
import orjson

from salver.codecs.json_text import bytes_of, quote
from salver.dtypes import DTYPES, DataType, dtype_of_array
from salver.errors import InvalidArgument
from salver.requests import Array, ClassifyResult, RegressResult

__all__ = [
    "encode_classify",
    "encode_error",
    "encode_number_rows",
    "encode_predict",
    "encode_regress",
    "number_text",
]

_BYTES_SUFFIX = "_bytes"
_PRINTED = frozenset(
    {
        DataType.FLOAT,
        DataType.DOUBLE,
        DataType.HALF,
        DataType.BFLOAT16,
        DataType.INT32,
        DataType.INT16,
        DataType.INT8,
        DataType.UINT8,
        DataType.STRING,
        DataType.INT64,
        DataType.BOOL,
        DataType.UINT32,
        DataType.UINT64,
    }
)


_DUMPED = frozenset(map(np.dtype, ("?", "e", "f", "d", "i1", "u1", "i2", "i4", "u4", "i8", "u8")))


def encode_predict(outputs: Sequence[tuple[str, Array]], is_row: bool) -> bytes:
    """The body of a predict response: outputs in alphabetical order.

    Args:
        outputs: name and tensor of each; the bytes of one whose name ends in `_bytes` are written
            in base64.
        is_row: `predictions`, one element per row, rather than `outputs`.

    Raises:
        InvalidArgument: there is no output, one cannot be written in JSON, or (in row format) they
            are not batches of one size.
    """
    if not outputs:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")
    ordered = sorted(outputs, key=lambda output: output[0]) if len(outputs) > 1 else outputs
    if not is_row:
        return b'{\n    "outputs": %s\n}' % _columns(ordered)
    _check_batch(ordered)
    if len(ordered) == 1:
        ((name, array),) = ordered
        return b'{\n    "predictions": %s\n}' % _text(name, array)
    return b'{\n    "predictions": %s\n}' % _rows(ordered)


def encode_number_rows(array: Array) -> bytes | None:
    """What `encode_predict` makes of one output in row format, if that is quick; None if not."""
    if array.dtype not in _DUMPED or not array.ndim:
        return None
    try:
        text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # not in C order
        return None
    # `null`, where there is no number: none of these types has another word with an n.
    return None if b"n" in text else b'{\n    "predictions": %s\n}' % text


def encode_classify(result: ClassifyResult) -> bytes:
    """The body of a classify response: per example, pairs of label and score.

    Raises:
        InvalidArgument: there is no example.
    """
    labels, scores = result.labels, result.scores
    examples = len(labels if labels is not None else scores if scores is not None else ())
    if not examples:
        raise InvalidArgument("Cannot convert empty ClassificationResults to JSON")
    rows = []
    for index in range(examples):
        names = None if labels is None else [quote(label) for label in labels[index]]
        values = None if scores is None else _row_texts("", scores[index])
        if names is None:
            names = [b'""'] * len(values or ())
        if values is None:
            values = [b"0.0"] * len(names)
        pairs = (b"[%s,%s]" % pair for pair in zip(names, values, strict=True))
        rows.append(b"[%s]" % b",".join(pairs))
    return b'{\n    "results": [%s]\n}' % b",".join(rows)


def encode_regress(result: RegressResult) -> bytes:
    """The body of a regress response: one number per example.

    Raises:
        InvalidArgument: there is no example.
    """
    if not result.values.size:
        raise InvalidArgument("Cannot convert empty RegressionResults to JSON")
    return b'{\n    "results": %s\n}' % number_text(result.values)


def encode_error(message: str, hint: str | None) -> bytes:
    """The body of any error; never fails. Bytes that are no UTF-8 pass through."""
    body = b'{\n    "error": %s' % quote(bytes_of(message))
    if hint is not None:
        body += b',\n    "hint": %s' % quote(bytes_of(hint))
    return body + b"\n}"


def _check_batch(outputs: Sequence[tuple[str, Array]]) -> None:
    batch = None
    for name, array in outputs:
        if not array.ndim:
            raise InvalidArgument(f"Tensor name: {name} has no shape information ")
        if batch is not None and len(array) != batch:
            raise InvalidArgument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch}"
            )
        batch = len(array)


def _columns(outputs: Sequence[tuple[str, Array]]) -> bytes:
    if len(outputs) == 1:
        ((name, array),) = outputs
        return _text(name, array)
    named = (quote(bytes_of(name)) + b":" + _text(name, array) for name, array in outputs)
    return b"{%s}" % b",".join(named)


def _rows(outputs: Sequence[tuple[str, Array]]) -> bytes:
    names = (quote(bytes_of(name)).replace(b"%", b"%%") + b":%s" for name, _ in outputs)
    row = b"{%s}" % b",".join(names)
    texts = [_row_texts(name, array) for name, array in outputs]
    return b"[%s]" % b",".join([row % values for values in zip(*texts, strict=True)])


def _text(name: str, array: Array) -> bytes:
    """A whole tensor."""
    if array.dtype.kind != "O":
        return number_text(array)
    return _nest(_string_texts(name, array), array.shape, 0)[0]


def _row_texts(name: str, array: Array) -> list[bytes]:
    """Each row of a tensor of rank 1 or more."""
    if array.dtype.kind == "O":
        return _nest(_string_texts(name, array), array.shape, 1)
    text = number_text(array)
    if not array.size:
        return _nest([], array.shape, 1)
    depth = array.ndim - 1
    opening, closing = b"[" * depth, b"]" * depth
    rows = text[1 + depth : -1 - depth].split(closing + b"," + opening)
    return [opening + row + closing for row in rows] if depth else rows


def _nest(texts: list[bytes], shape: Sequence[int], first_axis: int) -> list[bytes]:
    """Join the texts of scalars into those of the lists along `first_axis` and all after it."""
    for axis in range(len(shape) - 1, first_axis - 1, -1):
        size = shape[axis]
        lists = math.prod(shape[:axis])
        texts = [b"[%s]" % b",".join(texts[at * size : (at + 1) * size]) for at in range(lists)]
    return texts


def _string_texts(name: str, array: Array) -> list[bytes]:
    flat: list[bytes] = array.ravel().tolist()
    if not name.endswith(_BYTES_SUFFIX):
        return [quote(element) for element in flat]
    return [b'{"b64":"%s"}' % binascii.b2a_base64(element, newline=False) for element in flat]


def number_text(array: Array) -> bytes:
    """A tensor of numbers or booleans, of any shape and layout.

    Raises:
        InvalidArgument: JSON has no form for its dtype.
    """
    dtype = dtype_of_array(array.dtype)
    if dtype not in _PRINTED:
        if array.size:
            raise InvalidArgument(
                f"Failed to write JSON value for tensor type: {DTYPES[dtype].text}"
            )
        array = np.empty(array.shape, np.float32)
    elif dtype is DataType.BFLOAT16:
        array = array.astype(np.float32)
    if not array.ndim:
        return number_text(array.reshape(1))[1:-1]
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return _with_specials(text, array) if b"n" in text and array.dtype.kind == "f" else text


def _with_specials(text: bytes, array: Array) -> bytes:
    """Put NaN and Infinity where orjson, knowing no such numbers, wrote null."""
    flat = array.ravel()
    words = [
        b"NaN" if math.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"
        for value in flat[~np.isfinite(flat)].tolist()
    ]
    parts = text.split(b"null")
    return b"".join([piece for pair in zip(parts, [*words, b""], strict=True) for piece in pair])
