"""An ONNX file in which other nodes stand in place of its ZipMaps.

A ZipMap makes a list of maps out of a matrix: for each row, label → probability. In its place
stands an Identity, so that the output of that name is the matrix.
"""

from collections.abc import Sequence
from pathlib import Path

from salver.backends.onnxruntime.meaning import ZipMap
from salver.backends.onnxruntime.model_file import Span
from salver.codecs.protobuf.wire import length_delimited, varint
from salver.instruments.files import error_of_os, read_regular

__all__ = ["without_zip_maps"]


def without_zip_maps(path: Path, graphs: Sequence[Span], zip_maps: Sequence[ZipMap]) -> bytes:
    """The model of a file, with matrices in place of maps.

    Args:
        path: of the file.
        graphs: where its graph stands.
        zip_maps: what is to be replaced.

    Raises:
        ServingError: the file cannot be read.
    """
    try:
        data = memoryview(read_regular(path))
    except OSError as error:
        raise error_of_os(str(path), error) from error
    edits = {each.node: length_delimited(1, _identity(each)) for each in zip_maps}
    edits |= {each.declared: length_delimited(12, _declaration(each)) for each in zip_maps}
    pieces: list[bytes | memoryview] = []
    at = 0
    for begin, payload, end in graphs:
        inner, length = _edited(
            data,
            payload,
            end,
            [(span, edits[span]) for span in sorted(edits) if payload <= span[0] < end],
        )
        pieces += [data[at:begin], varint(7 << 3 | 2), varint(length), *inner]
        at = end
    pieces.append(data[at:])
    return b"".join(pieces)


def _edited(
    data: memoryview, begin: int, end: int, edits: Sequence[tuple[Span, bytes]]
) -> tuple[list[bytes | memoryview], int]:
    pieces: list[bytes | memoryview] = []
    for (first, _, stop), replacement in edits:
        pieces += [data[begin:first], replacement]
        begin = stop
    pieces.append(data[begin:end])
    return pieces, sum(map(len, pieces))


def _identity(zip_map: ZipMap) -> bytes:
    """`NodeProto`: input (1), output (2), op_type (4)."""
    return (
        length_delimited(1, zip_map.input.encode())
        + length_delimited(2, zip_map.output.name.encode())
        + length_delimited(4, b"Identity")
    )


def _declaration(zip_map: ZipMap) -> bytes:
    """`ValueInfoProto`: name (1), type (2): tensor (1): elem_type (1), shape (2) of dims (1)."""
    dims = b"".join(
        length_delimited(1, b"\x08" + varint(size) if isinstance(size, int) else b"")
        for size in zip_map.output.dims or ()
    )
    tensor = b"\x08" + varint(zip_map.output.element) + length_delimited(2, dims)
    return length_delimited(1, zip_map.output.name.encode()) + length_delimited(
        2, length_delimited(1, tensor)
    )
