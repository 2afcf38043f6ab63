"""Results → JSON bodies.

Writers stand behind each other as the readers of requests do, quickest first. Each writes an answer
or hands it on: `encode_predict` asks those that write in one step, `encode_predict_in_parts` is for
what is large. What stands around the texts of tensors (`tensors`) is the reference's.

Source: TensorFlow Serving `util/json_tensor.cc`, MakeJsonFromTensors and its neighbours.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

import numpy as np
import orjson

from salver.codecs.json.tensors import (
    MOST_AT_ONCE,
    gathered,
    number_text,
    row_texts,
    tensor_pieces,
    tensor_text,
    weight_of,
)
from salver.codecs.json.text import bytes_of, quote
from salver.errors import InvalidArgument
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult

__all__ = [
    "encode_classify",
    "encode_error",
    "encode_numbers",
    "encode_predict",
    "encode_predict_in_parts",
    "encode_regress",
    "number_text",
]

_HEADS = {True: b'{\n    "predictions": ', False: b'{\n    "outputs": '}
_END = b"\n}"
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
    text = None
    if len(outputs) == 1 and outputs[0][1].size <= MOST_AT_ONCE:
        text = encode_numbers(outputs[0][1], is_row)
    return _whole(outputs, is_row) if text is None else text


def encode_predict_in_parts(
    outputs: Sequence[tuple[str, Array]], is_row: bool, check: Callable[[], None]
) -> list[bytes]:
    """The same of large outputs, in parts that are large themselves; not for the loop.

    The last writer, for what the others should not write in one step.

    Args:
        outputs: see `encode_predict`.
        is_row: see there.
        check: called every millisecond or so; what it raises ends the work.

    Raises:
        InvalidArgument: see there.
        MemoryError: there is no room.
    """
    return gathered(_pieces(_ordered(outputs, is_row), is_row, check))


def encode_numbers(array: Array, is_row: bool) -> bytes | None:
    """The first writer, of what most models answer: one tensor of few numbers, none of them NaN.

    Args:
        array: the tensor.
        is_row: see `encode_predict`.
    """
    if array.dtype not in _DUMPED or not array.ndim:
        return None
    try:
        text = orjson.dumps(array, None, orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # not in C order
        return None
    if b"n" in text:  # `null`, where there is no number; none of these types has it otherwise
        return None
    return _HEADS[is_row] + text + _END


def _whole(outputs: Sequence[tuple[str, Array]], is_row: bool) -> bytes:
    """The second writer, of all that is small."""
    ordered = _ordered(outputs, is_row)
    if len(ordered) == 1:
        text = tensor_text(*ordered[0])
    elif is_row:
        text = _rows(ordered)
    else:
        texts = (quote(bytes_of(name)) + b":" + tensor_text(name, array) for name, array in ordered)
        text = b"{%b}" % b",".join(texts)
    return _HEADS[is_row] + text + _END


def _ordered(outputs: Sequence[tuple[str, Array]], is_row: bool) -> Sequence[tuple[str, Array]]:
    if not outputs:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")
    ordered = sorted(outputs, key=itemgetter(0))
    batch = None
    for name, array in ordered if is_row else ():
        if not array.ndim:
            raise InvalidArgument(f"Tensor name: {name} has no shape information ")
        if batch is not None and len(array) != batch:
            raise InvalidArgument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch}"
            )
        batch = len(array)
    return ordered


def _pieces(
    ordered: Sequence[tuple[str, Array]], is_row: bool, check: Callable[[], None]
) -> Iterator[bytes]:
    yield _HEADS[is_row]
    if len(ordered) == 1:
        yield from tensor_pieces(*ordered[0], check)
    elif is_row:
        yield from _row_pieces(ordered, check)
    else:
        yield from _member_pieces(ordered, check)
    yield _END


def _row_pieces(outputs: Sequence[tuple[str, Array]], check: Callable[[], None]) -> Iterator[bytes]:
    """The rows of several outputs: many small ones at once, large ones output by output."""
    batch = len(outputs[0][1])
    weight = sum(weight_of(array) for _, array in outputs) // max(1, batch)
    step = MOST_AT_ONCE // max(1, weight)
    lead = b"["
    if not batch:
        yield lead
    for start in range(0, batch, max(1, step)):
        check()
        if step:
            rows = _rows([(name, array[start : start + step]) for name, array in outputs])
            yield lead + rows[1:-1]
        else:
            yield lead
            yield from _member_pieces([(name, array[start, ...]) for name, array in outputs], check)
        lead = b","
    yield b"]"


def _member_pieces(
    outputs: Sequence[tuple[str, Array]], check: Callable[[], None]
) -> Iterator[bytes]:
    lead = b"{"
    for name, array in outputs:
        yield b"%s%s:" % (lead, quote(bytes_of(name)))
        yield from tensor_pieces(name, array, check)
        lead = b","
    yield b"}"


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
        values = None if scores is None else row_texts("", scores[index])
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


def _rows(outputs: Sequence[tuple[str, Array]]) -> bytes:
    names = (quote(bytes_of(name)).replace(b"%", b"%%") + b":%s" for name, _ in outputs)
    row = b"{%s}" % b",".join(names)
    texts = [row_texts(name, array) for name, array in outputs]
    return b"[%s]" % b",".join([row % values for values in zip(*texts, strict=True)])
