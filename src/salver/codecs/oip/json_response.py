"""Answers to inference requests in JSON, and those whose tensors follow the JSON as raw bytes.

The elements of a tensor are written in one flat list, row by row, as Triton does. NaN and Infinity
are written as those words, which its clients read. Strings that are no UTF-8 pass through as they
are, as there; who wants them whole asks for raw bytes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import orjson

from salver.codecs.json.tensors import gathered, tensor_pieces, tensor_text
from salver.codecs.json.text import bytes_of, quote
from salver.codecs.oip.dtypes import DATATYPES, datatype_of_array
from salver.codecs.oip.tensors import raw_of
from salver.codecs.protobuf.wire import Bytes
from salver.instruments.heap import joined
from salver.vocabulary.dtypes import numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["WrittenOutput", "write_binary", "write_json", "write_json_in_parts", "write_number"]

_DUMPED = frozenset(
    numpy_dtype(DATATYPES[name]) for name in DATATYPES if name not in ("BYTES", "BF16")
)
_END = b"}]}"


class WrittenOutput:
    """One output: its name, its datatype as the protocol calls it, its elements.

    Attributes:
        is_binary: whether its elements follow the JSON as raw bytes.
    """

    __slots__ = ("array", "datatype", "is_binary", "name")

    def __init__(self, name: str, datatype: str, array: Array, *, is_binary: bool = False) -> None:
        self.name = name
        self.datatype = datatype
        self.array = array
        self.is_binary = is_binary


@lru_cache(maxsize=1024)
def _one_head(
    model: str, version: int, name: str, dtype: "Any", shape: tuple[int, ...]
) -> bytes | None:
    if dtype not in _DUMPED:
        return None
    head = _answer_head(model, version, "")
    return head + _output_head(name, datatype_of_array(dtype), shape) + b',"data":'


def write_number(model: str, version: int, name: str, array: Array, id: str = "") -> bytes | None:
    """The first writer, of what most models answer: one tensor of few numbers, none of them NaN.

    Args:
        model: that answers.
        version: of it.
        name: of the output.
        array: its elements.
        id: of the request; empty for none.

    Returns:
        None leaves the answer to the next writer.
    """
    head = _one_head(model, version, name, array.dtype, array.shape)
    if head is None:
        return None
    try:
        flat = array if array.ndim == 1 else array.reshape(-1)
        text = orjson.dumps(flat, None, orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # not in C order
        return None
    if b"n" in text:  # `null`, where there is no number; none of these types has it otherwise
        return None
    if id:
        head = _with_id(head, id)
    return head + text + _END


def write_json(model: str, version: int, id: str, outputs: Sequence[WrittenOutput]) -> bytes:
    """The second writer, of all that is small.

    Args:
        model: that answers.
        version: of it.
        id: of the request; empty for none.
        outputs: none of them binary.
    """
    texts = [
        b'%b,"data":%b}'
        % (
            _output_head(of.name, of.datatype, of.array.shape),
            tensor_text("", of.array.reshape(-1)),
        )
        for of in outputs
    ]
    return _answer_head(model, version, id) + b",".join(texts) + b"]}"


def write_json_in_parts(
    model: str,
    version: int,
    id: str,
    outputs: Sequence[WrittenOutput],
    check: Callable[[], None],
) -> list[bytes]:
    """The same of large outputs, in parts that are large themselves; not for the loop.

    Args:
        model: see `write_json`; so are the next three.
        version: see there.
        id: see there.
        outputs: see there.
        check: called every millisecond or so; what it raises ends the work.

    Raises:
        MemoryError: there is no room.
    """

    def pieces() -> Iterator[bytes]:
        lead = _answer_head(model, version, id)
        for of in outputs:
            yield lead + _output_head(of.name, of.datatype, of.array.shape) + b',"data":'
            yield from tensor_pieces("", of.array.reshape(-1), check)
            lead = b"},"
        yield lead + b"]}" if not outputs else b"}]}"

    return gathered(pieces())


def write_binary(
    model: str, version: int, id: str, outputs: Sequence[WrittenOutput]
) -> tuple[bytes, int]:
    """An answer some of whose outputs are raw bytes, and how long its JSON is.

    Args:
        model: see `write_json`; so are the next three.
        version: see there.
        id: see there.
        outputs: see there, but for what is binary.
    """
    texts: list[bytes] = []
    raws: list[Bytes] = []
    for of in outputs:
        head = _output_head(of.name, of.datatype, of.array.shape)
        if of.is_binary:
            raw = raw_of(of.array)
            texts.append(b'%b,"parameters":{"binary_data_size":%d}}' % (head, len(raw)))
            raws.append(raw)
        else:
            texts.append(b'%b,"data":%b}' % (head, tensor_text("", of.array.reshape(-1))))
    text = _answer_head(model, version, id) + b",".join(texts) + b"]}"
    return joined(deque([text, *raws])), len(text)


def _answer_head(model: str, version: int, id: str) -> bytes:
    head = _model_head(model, version)
    return _with_id(head, id) if id else head


def _with_id(head: bytes, id: str) -> bytes:
    """An answer that begins so, with an id, which is of any length and not kept."""
    return b'{"id":%b,%b' % (quote(bytes_of(id)), head[1:])


@lru_cache(maxsize=1024)
def _model_head(model: str, version: int) -> bytes:
    return b'{"model_name":%b,"model_version":"%d","outputs":[' % (quote(bytes_of(model)), version)


@lru_cache(maxsize=1024)
def _output_head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    sizes = ",".join(map(str, shape))
    return b'{"name":%b,"datatype":"%b","shape":[%b]' % (
        quote(bytes_of(name)),
        datatype.encode(),
        sizes.encode(),
    )
