"""Many runs made one: inputs joined along axis 0, outputs cut apart again. Pure.

Source: TensorFlow Serving `batching/batching_session.cc`, ComputeInputSize, MergeInputTensors and
SplitOutputTensors, and `batching/batching_util.{h,cc}`.
"""

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np

from salver.errors import FailedPrecondition, Internal, InvalidArgument
from salver.vocabulary.requests import Array

__all__ = [
    "check_can_pad",
    "check_outputs",
    "join_outputs",
    "merge_inputs",
    "rows_of",
    "shape_key",
    "split_outputs",
]

MOST_PADDED_AXES: Final = 6
UNPADDED_DTYPES: Final = frozenset(
    [
        "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz",
        "float4_e2m1fn", "int4", "uint4", "int2", "uint2",
    ]
)  # fmt: skip
"""What the reference's table of dtypes for padding leaves out."""


def rows_of(feeds: Sequence[Array]) -> int:
    """Size along axis 0, which all feeds of a task share.

    Raises:
        InvalidArgument: there is no feed, one has no axis, or two differ.
    """
    if not feeds:
        raise InvalidArgument("Batching Run() must have at least one input tensor")
    rows = -1
    for array in feeds:
        if not array.ndim:
            raise InvalidArgument("Batching Run() input tensors must have at least one dimension")
        if rows < 0:
            rows = array.shape[0]
        elif array.shape[0] != rows:
            raise InvalidArgument("Batching Run() input tensors must have equal 0th-dimension size")
    return rows


def check_can_pad(feeds: Sequence[Array]) -> None:
    """Refuse what the reference cannot pad, also where there is nothing to pad.

    Raises:
        InvalidArgument: there are too many axes, or the dtype is too new.
    """
    for array in feeds:
        if array.dtype.name in UNPADDED_DTYPES:
            raise InvalidArgument("Unsupported type")
        if array.ndim > MOST_PADDED_AXES:
            raise InvalidArgument("Only tensors with rank from 1 to 6 can be padded.")


def shape_key(feeds: Sequence[Array], *, is_padding: bool) -> Hashable:
    """What tasks that can be merged have in common: dtypes and inner shapes, or ranks.

    A task with an empty row has no element to be padded with: it goes with its own shape only.
    """
    if is_padding and all(array.size for array in feeds):
        return tuple((array.dtype, array.ndim) for array in feeds)
    return tuple((array.dtype, array.shape[1:]) for array in feeds)


def merge_inputs(
    names: Sequence[str], tasks: Sequence[Sequence[Array]], rows: int, *, is_padding: bool
) -> list[Array]:
    """Join the feeds of tasks along axis 0.

    Args:
        names: of the tensors.
        tasks: of each task its feeds, in the order of `names`; all with the same dtypes and ranks.
        rows: of the result, at least those of the tasks together. The first row of the last task
            fills what is left.
        is_padding: grow the axes after the first at their end to the longest among the tasks,
            each task with the first element of its own tensor.

    Returns:
        One array per name, shape (rows, ...). The very feeds of a single task that needs nothing.

    Raises:
        FailedPrecondition: inner shapes differ and nothing is padded.
        InvalidArgument: a tensor to be padded has no element.
    """
    return [
        _merge(name, [feeds[place] for feeds in tasks], rows, is_padding=is_padding)
        for place, name in enumerate(names)
    ]


def _merge(name: str, arrays: list[Array], rows: int, *, is_padding: bool) -> Array:
    inner = arrays[0].shape[1:]
    if any(array.shape[1:] != inner for array in arrays):
        if not is_padding:
            raise FailedPrecondition(
                f"Tensors with name '{name}' from different tasks have different shapes and "
                "padding is turned off. Set pad_variable_length_inputs to true, or ensure that "
                "all tensors with the same name have equal dimensions starting with the first dim."
            )
        inner = tuple(map(max, *(array.shape[1:] for array in arrays)))
        arrays = [_grown(array, inner) for array in arrays]
    missing = rows - sum(map(len, arrays))
    if missing > 0:
        arrays.append(np.broadcast_to(arrays[-1][:1], (missing, *inner)))
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _grown(array: Array, inner: tuple[int, ...]) -> Array:
    shape = (len(array), *inner)
    if array.shape == shape:
        return array
    if not array.size:
        raise InvalidArgument("Got empty tensor in batch of non-empty tensors.")
    grown: Array = np.empty(shape, array.dtype)
    # Not `np.full`: it would make an array of the fill value, and cut the NULs off its end.
    grown.fill(array.flat[0])
    grown[tuple(map(slice, array.shape))] = array
    return grown


def split_outputs(outputs: Sequence[Array], sizes: Sequence[int], rows: int) -> list[list[Array]]:
    """Undo `merge_inputs` on what was made of its result.

    Args:
        outputs: shape (rows, ...) each.
        sizes: rows of each task, in batch order; what is past their sum is dropped.
        rows: that were run.

    Returns:
        Of each task its outputs. Views: they keep `outputs` alive.

    Raises:
        FailedPrecondition: an output has no axis 0 of that size.
    """
    check_outputs(outputs, rows)
    tasks: list[list[Array]] = []
    begin = 0
    for size in sizes:
        tasks.append([output[begin : begin + size] for output in outputs])
        begin += size
    return tasks


def check_outputs(outputs: Sequence[Array], rows: int) -> None:
    """Refuse outputs that cannot be cut apart.

    Raises:
        FailedPrecondition: one has no axis 0 of size `rows`.
    """
    for output in outputs:
        if not output.ndim:
            raise FailedPrecondition("Batched output tensor has 0 dimensions")
        if len(output) != rows:
            raise FailedPrecondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
                "sizes of the input tensors"
            )


def join_outputs(pieces: Sequence[Sequence[Array]]) -> list[Array]:
    """The outputs of a task from those of its pieces, in order.

    Raises:
        Internal: the model gave the pieces outputs of different inner shapes.
    """
    if len(pieces) == 1:
        return list(pieces[0])
    try:
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
    except ValueError as error:
        raise Internal(f"Tensor concat operation failed: {error}") from error
