"""What a TFLite file says of itself, read without LiteRT: tensors, signatures, operations.

The weights are not looked at. The fields and their numbers are those of TFLite's schema, version 3.

Source: `tensorflow/lite/schema/schema.fbs`; for the metadata, `lite/tools/signature`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from salver.backends.tflite.flatbuffer import Malformed, Table, flexbuffer_map, root_table
from salver.backends.tflite.operators import check_subgraph
from salver.errors import Internal, InvalidArgument
from salver.instruments.files import error_of_os, read_regular
from salver.vocabulary.dtypes import DataType

__all__ = ["ModelFile", "Subgraph", "TableSignature", "Tensor", "parse", "read"]

_IDENTIFIER: Final = b"TFL3"
_SIGNATURES_NAME: Final = "signature_defs_metadata"
_LOOPS: Final = frozenset({119, 200})  # WHILE, STABLEHLO_WHILE
_CUSTOM: Final = 32
# TensorType → dtype. LiteRT gives Python no arrays of the types left out.
_DTYPES: Final = {
    0: DataType.FLOAT32,
    1: DataType.FLOAT16,
    2: DataType.INT32,
    3: DataType.UINT8,
    4: DataType.INT64,
    5: DataType.STRING,
    6: DataType.BOOL,
    7: DataType.INT16,
    8: DataType.COMPLEX64,
    9: DataType.INT8,
    10: DataType.FLOAT64,
    11: DataType.COMPLEX128,
    12: DataType.UINT64,
    15: DataType.UINT32,
    16: DataType.UINT16,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a subgraph.

    Attributes:
        index: of the tensor in its subgraph.
        shape: -1 where the model takes any size.
    """

    name: str
    index: int
    dtype: DataType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A function of the file; the first is the one that files without signatures mean."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class TableSignature:
    """A signature as converters write it since TensorFlow 2.5: alias → index of a tensor."""

    name: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A TFLite file.

    Attributes:
        data: the whole file; a LiteRT interpreter needs it as long as it lives.
        subgraphs: inputs and outputs alone.
        signature_defs: name → a serialized `tensorflow.SignatureDef`, from the file's metadata.
        table_signatures: those of the schema's own table.
        has_loops: whether an operation loops.
        custom_operations: names of operations that TFLite itself does not have, sorted.
    """

    data: bytes
    subgraphs: tuple[Subgraph, ...]
    signature_defs: Mapping[str, bytes] = field(default_factory=dict)
    table_signatures: tuple[TableSignature, ...] = ()
    has_loops: bool = False
    custom_operations: tuple[str, ...] = ()


def read(path: Path) -> ModelFile:
    """Read a file.

    Raises:
        ServingError: it cannot be read; else see `parse`.
    """
    try:
        # Read, not mapped: a file that is cut while it is mapped ends the process.
        data = read_regular(path)
    except OSError as error:
        raise error_of_os(str(path), error) from error
    return parse(data)


def parse(data: bytes) -> ModelFile:
    """Read the contents of a file.

    Raises:
        InvalidArgument: they are no TFLite model, or its signatures cannot be read.
        Internal: an input or output is of a type no array can hold.
    """
    try:
        file, metadata = _parse(data)
    except (Malformed, IndexError) as error:
        raise InvalidArgument(
            "Cannot build FlatBufferModel from buffer.",
            hint=f"The file is not a whole TFLite model: {error}.",
        ) from error
    return replace(file, signature_defs=_signature_defs(metadata))


def _parse(data: bytes) -> tuple[ModelFile, bytes | None]:
    model = root_table(data, _IDENTIFIER)
    operations = [(_builtin_code(each), each.text(1) or "?") for each in model.tables(1)]
    for each in model.tables(2):
        check_subgraph(each, [code for code, _ in operations])
    file = ModelFile(
        data=data,
        subgraphs=tuple(_subgraph(each) for each in model.tables(2)),
        table_signatures=tuple(_table_signature(each) for each in model.tables(7)),
        has_loops=any(code in _LOOPS for code, _ in operations),
        custom_operations=tuple(sorted(name for code, name in operations if code == _CUSTOM)),
    )
    if not file.subgraphs:
        raise Malformed("it has no function")
    if any(each.subgraph >= len(file.subgraphs) for each in file.table_signatures):
        raise Malformed("a signature is of a function that is not there")
    return file, _signatures_metadata(model)


def _subgraph(table: Table) -> Subgraph:
    tensors = list(table.tables(0))
    return Subgraph(
        inputs=tuple(_tensor(index, tensors[index]) for index in table.numbers(1) or ()),
        outputs=tuple(_tensor(index, tensors[index]) for index in table.numbers(2) or ()),
    )


def _tensor(index: int, table: Table) -> Tensor:
    number = table.number(1, "<b")
    if number not in _DTYPES:
        raise Internal(f"Unknown TfLite type: {number}")
    shape = table.numbers(7)  # shape_signature: absent when no size is open
    if not shape:
        shape = table.numbers(0) or ()
    return Tensor(table.text(3) or "", index, _DTYPES[number], shape)


def _builtin_code(operation: Table) -> int:
    # The first field holds codes below 127 in files of old converters, the other one all codes.
    return max(operation.number(0, "<b"), operation.number(3, "<i"))


def _table_signature(table: Table) -> TableSignature:
    def indices(field: int) -> dict[str, int]:
        return {each.text(0) or "": each.number(1, "<I") for each in table.tables(field)}

    return TableSignature(table.text(2) or "", table.number(4, "<I"), indices(0), indices(1))


def _signatures_metadata(model: Table) -> bytes | None:
    for metadata in model.tables(6):
        if metadata.text(0) == _SIGNATURES_NAME:
            return list(model.tables(4))[metadata.number(1, "<I")].octets(0) or b""
    return None


def _signature_defs(metadata: bytes | None) -> dict[str, bytes]:
    if metadata is None:
        return {}
    try:
        return flexbuffer_map(metadata)
    except Malformed as error:
        raise InvalidArgument(f"Invalid SignatureDefs found in TfLite model: {error}") from error
