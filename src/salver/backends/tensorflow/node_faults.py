"""Nodes that TensorFlow does not survive, by their operations.

Found by a corpus of hostile graphs (`tests/hostile_graphs.py`) with TensorFlow 2.21. What it
refuses by itself is not listed. A graph can end its process in ways that no text shows, so this is
no wall: see `docs/security.md`.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from salver.backends.tensorflow.graph_scopes import Look, Scope, Values, node_of
from salver.backends.tensorflow.tensor_claims import (
    MOST_DIMENSIONS,
    claimed_bytes,
    fault_of_shape,
    fault_of_variant,
    shape_text,
)

__all__ = ["LOOPS", "WATCHED"]

LOOPS: Final = frozenset({"While", "StatelessWhile", "For", "Enter", "RefEnter"})
"""Operations with which how long a run takes may depend on the values that are fed."""

_MOST_OUTPUTS: Final = 1 << 20  # of one node; each takes a kilobyte
_MOST_ITERATIONS: Final = 1 << 20  # that may run at once; there is memory for each at once
_FEW: Final = 1024  # numbers of a constant that are remembered
_WIDTHS: Final = {3: 4, 9: 8}  # of int32 and int64
_FLOAT: Final = 1


def _judge_constant(scope: Scope, node: Any) -> None:
    for attribute in node.attr:
        if attribute.key == "value" and attribute.value.HasField("tensor"):
            _judge_tensor(scope, node, attribute.value.tensor)


def _judge_tensor(scope: Scope, node: Any, tensor: Any) -> None:
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    fault = fault_of_shape(sizes)
    if fault is None and tensor.variant_val:
        faults = map(fault_of_variant, tensor.variant_val)
        fault = next((each for each in faults if each is not None), None)
    if fault is not None:
        text = f"is a constant of shape {shape_text(sizes)}, {fault}"
        scope.blame(node.name, node.op, text, is_met_anyway=True)
        return
    scope.excess_bytes += max(
        0, claimed_bytes(tensor.dtype, sizes) - tensor.ByteSize() - scope.unread_bytes
    )
    if tensor.dtype in _WIDTHS:
        _remember(scope, node.name, tensor, sizes)
    elif tensor.string_val and not sizes:
        scope.texts[node.name] = tensor.string_val[0]


def _remember(scope: Scope, name: str, tensor: Any, sizes: Sequence[int]) -> None:
    if len(sizes) > 1:
        return
    length = max(0, sizes[0]) if sizes else 1
    width = _WIDTHS[tensor.dtype]
    values: list[int]
    if content := tensor.tensor_content[: min(length, _FEW) * width]:
        values = [
            int.from_bytes(content[at : at + width], "little", signed=True)
            for at in range(0, len(content), width)
        ]
    else:
        values = list((tensor.int_val or tensor.int64_val)[:_FEW])
    if len(values) < min(length, _FEW):  # the last one stands for those that are left out
        values += [values[-1] if values else 0] * (min(length, _FEW) - len(values))
    scope.numbers[name] = Values(length if sizes else None, values)


def _hand_on(scope: Scope, node: Any) -> None:
    inputs = node.input
    if inputs and (len(inputs) == 1 or node.op != "AddN"):
        scope.handed_on[node.name] = node_of(inputs[0])


def _call(scope: Scope, node: Any) -> None:
    for attribute in node.attr:
        value = attribute.value
        if value.HasField("func"):
            names = [value.func.name]
        elif value.HasField("list"):
            names = [each.name for each in value.list.func]
        else:
            continue
        if not attribute.key.startswith("_"):  # such are notes, which nobody calls
            for name in names:
                scope.calls[name] = scope.calls.get(name, 0) + 1


def _iterate(scope: Scope, node: Any) -> None:
    count = _int(node, "parallel_iterations")
    if count is not None and not 0 <= count <= _MOST_ITERATIONS:
        scope.blame(node.name, node.op, f"wants {count} iterations to run at once")


def _have_outputs(scope: Scope, node: Any) -> None:
    for name in _OUTPUTS[node.op]:
        count = _int(node, name)
        if count is not None and count > _MOST_OUTPUTS:
            scope.blame(node.name, node.op, f"has {count} outputs", is_met_anyway=True)


def _take_memory(scope: Scope, node: Any) -> None:
    name, each_bytes = _ATTRIBUTE_SIZES[node.op]
    count = _int(node, name)
    if count is not None and count > 0:
        text = f"takes memory for {count} elements"
        scope.blame(node.name, node.op, text, claimed_bytes=count * each_bytes)


def _end_process(scope: Scope, node: Any) -> None:
    scope.blame(node.name, node.op, "ends the process that runs it")


def _stand_for_argument(scope: Scope, node: Any) -> None:
    """In a function of the library, arguments are named; TensorFlow makes such nodes of them."""
    if scope.is_function:
        scope.blame(node.name, node.op, "is of a kind that a function in a file cannot have")


def _read_file(scope: Scope, node: Any) -> None:
    """A table that is filled from a device takes all memory, or waits for ever."""
    name, op, place = node.name, node.op, _FILE_NAMES[node.op]
    source = node.input[place] if len(node.input) > place else ""

    def judge() -> None:
        path = scope.texts.get(scope.origin(source))
        with suppress(OSError, ValueError):
            if path and not stat.S_ISREG(os.stat(path).st_mode):
                scope.blame(name, op, f"reads {os.fsdecode(path)}, which is not a regular file")

    scope.later.append(judge)


def _use(scope: Scope, node: Any) -> None:
    name, op = node.name, node.op
    place, judge_values = _USES[op]
    source = node.input[place] if len(node.input) > place else ""

    def judge() -> None:
        values = scope.numbers.get(scope.origin(source))
        found = None if values is None else judge_values(values)
        if found is not None:
            scope.blame(name, op, found[0], claimed_bytes=found[1])

    scope.later.append(judge)


def _int(node: Any, name: str) -> int | None:
    """An attribute that is a number; of several with one name the last is meant."""
    value: int | None = None
    for attribute in node.attr:
        if attribute.key == name:
            value = attribute.value.i if attribute.value.HasField("i") else None
    return value


# -- what constants are used for -------------------------------------------------------------------


def _judge_shape(values: Values) -> tuple[str, int | None] | None:
    if values.length is not None and values.length > MOST_DIMENSIONS:
        return f"makes a tensor of {values.length} dimensions", None
    fault = fault_of_shape(values.first)
    text = shape_text(values.first)
    if fault is not None:
        return f"makes a tensor of shape {text}, {fault}", None
    if any(size < 0 for size in values.first):  # unknown: TensorFlow finds out
        return None
    return f"makes a tensor of shape {text}", claimed_bytes(_FLOAT, values.first)


def _judge_new_shape(values: Values) -> tuple[str, int | None] | None:
    """A shape that something gets which is there already, and so takes no memory."""
    found = _judge_shape(values)
    return found if found is not None and found[1] is None else None


def _judge_length(values: Values) -> tuple[str, int | None] | None:
    if values.length is not None or not values.first:
        return None
    length = values.first[0]
    return f"makes a list of {length} elements", max(0, length) * _ELEMENT_BYTES


_ELEMENT_BYTES: Final = 32  # sizeof(tensorflow::Tensor)

_SHAPED: Final[Mapping[int, Sequence[str]]] = {
    0: (
        "Empty", "Fill", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoisson",
        "RandomPoissonV2", "RandomStandardNormal", "RandomUniform", "RandomUniformInt",
        "StatelessParameterizedTruncatedNormal", "StatelessRandomGammaV2",
        "StatelessRandomGammaV3", "StatelessRandomNormal", "StatelessRandomNormalV2",
        "StatelessRandomPoisson", "StatelessRandomUniform", "StatelessRandomUniformFullInt",
        "StatelessRandomUniformFullIntV2", "StatelessRandomUniformInt",
        "StatelessRandomUniformIntV2", "StatelessRandomUniformV2", "StatelessTruncatedNormal",
        "StatelessTruncatedNormalV2", "TruncatedNormal",
    ),
    1: ("BroadcastTo", "SparseToDense"),
    2: (
        "ScatterNd", "StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulUniform",
        "StatefulUniformFullInt", "StatefulUniformInt",
    ),
}  # fmt: skip
"""Which input is the shape of what they make → operations."""

_USES: Final = {
    **{op: (place, _judge_shape) for place, ops in _SHAPED.items() for op in ops},
    "Reshape": (1, _judge_new_shape),
    "StridedSliceGrad": (0, _judge_new_shape),
    "TensorArray": (0, _judge_length),
    "TensorArrayV2": (0, _judge_length),
    "TensorArrayV3": (0, _judge_length),
    "TensorListReserve": (1, _judge_length),
    "TensorListResize": (1, _judge_length),
}
"""Operation → which of its inputs is judged, and how."""

_OUTPUTS: Final[Mapping[str, Sequence[str]]] = {
    "BoostedTreesQuantileStreamResourceGetBucketBoundaries": ("num_features",),
    "CTCBeamSearchDecoder": ("top_paths",),
    "ConvertToListOfSparseCoreCooTensors": ("num_sc_per_chip",),
    "CudnnRNNParamsToCanonical": ("num_params",),
    "CudnnRNNParamsToCanonicalV2": ("num_params_weights", "num_params_biases"),
    "DynamicPartition": ("num_partitions",),
    "ParseExampleV2": ("num_sparse",),
    "ParseSequenceExample": ("Ncontext_sparse", "Nfeature_list_sparse", "Nfeature_list_dense"),
    "ParseSequenceExampleV2": ("Ncontext_sparse", "Nfeature_list_sparse", "Nfeature_list_dense"),
    "ParseSingleExample": ("num_sparse",),
    "RaggedGather": ("OUTPUT_RAGGED_RANK",),
    "RaggedTensorFromVariant": ("output_ragged_rank",),
    "ReadVariableXlaSplitND": ("N",),
    "SparseSplit": ("num_split",),
    "Split": ("num_split",),
    "SplitV": ("num_split",),
    "Unpack": ("num",),
    "XlaSparseActivationsUnstack": ("num_tables",),
    "XlaSplitND": ("N",),
    "_FusedBatchNormGradEx": ("num_side_inputs",),
    "_ListToArray": ("N",),
    "_SwitchN": ("num_outs",),
    "_VarHandlesOp": ("N",),
}
"""Operation → the attributes that say how many outputs it has."""

_ATTRIBUTE_SIZES: Final = {
    "InitializeTableFromTextFile": ("vocab_size", 64),
    "InitializeTableFromTextFileV2": ("vocab_size", 64),
    "RandomShuffleQueue": ("min_after_dequeue", 32),
    "RandomShuffleQueueV2": ("min_after_dequeue", 32),
    "RecordInput": ("file_parallelism", 1 << 20),  # a thread each
}
"""Operation → the attribute that says how many elements it makes room for, and their bytes."""

_FILE_NAMES: Final = {
    "InitializeTableFromTextFile": 1,
    "InitializeTableFromTextFileV2": 1,
    "ReadFile": 0,
}
"""Operation → which of its inputs names a file."""

_CALLERS: Final = (
    "BatchFunction", "Case", "ChooseFastestBranchDataset", "ExperimentalGroupByReducerDataset",
    "ExperimentalGroupByWindowDataset", "ExperimentalMapAndBatchDataset", "ExperimentalMapDataset",
    "ExperimentalParallelInterleaveDataset", "ExperimentalScanDataset",
    "ExperimentalTakeWhileDataset", "FilterDataset", "FlatMapDataset", "For", "GeneratorDataset",
    "GroupByReducerDataset", "GroupByWindowDataset", "If", "IndexFlatMapDataset",
    "InterleaveDataset", "LegacyParallelInterleaveDatasetV2", "LoadDataset", "MapAndBatchDataset",
    "MapDataset", "MapDefun", "OneShotIterator", "ParallelFilterDataset",
    "ParallelInterleaveDataset", "ParallelInterleaveDatasetV2", "ParallelInterleaveDatasetV3",
    "ParallelInterleaveDatasetV4", "ParallelMapDataset", "ParallelMapDatasetV2", "PartitionedCall",
    "ReduceDataset", "RemoteCall", "SaveDataset", "SaveDatasetV2", "ScanDataset",
    "SnapshotDatasetV2", "StatefulPartitionedCall", "StatelessCase", "StatelessIf",
    "StatelessWhile", "SymbolicGradient", "TPUPartitionedCall", "TakeWhileDataset", "While",
    "XlaLaunch", "XlaLaunchV2", "_If", "_While", "_XlaCompile",
)  # fmt: skip
"""Operations that call the functions which their attributes name."""


def _watched() -> Mapping[str, tuple[Look, ...]]:
    table: dict[str, tuple[Look, ...]] = {}
    for look, ops in (
        (_judge_constant, ("Const", "HostConst")),
        (_hand_on, ("Identity", "IdentityN", "StopGradient", "PreventGradient", "AddN")),
        (_call, _CALLERS),
        (_iterate, ("Enter", "RefEnter", "While", "StatelessWhile", "_While")),
        (_have_outputs, tuple(_OUTPUTS)),
        (_take_memory, tuple(_ATTRIBUTE_SIZES)),
        (_read_file, tuple(_FILE_NAMES)),
        (_use, tuple(_USES)),
        (_end_process, ("Abort",)),
        (_stand_for_argument, ("_Arg", "_Retval", "_DeviceArg", "_DeviceRetval")),
    ):
        for op in ops:
            table[op] = (*table.get(op, ()), look)
    return table


WATCHED: Final = _watched()
"""Operation → what looks at its nodes. Those that are not here do no harm that their text shows."""
