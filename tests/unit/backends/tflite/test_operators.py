from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from salver.backends.tflite.flatbuffer import Malformed, root_table
from salver.backends.tflite.model_file import read
from salver.backends.tflite.operators import check_subgraph

Builder = pytest.importorskip("flatbuffers").Builder
ADD, CUSTOM, CALL_ONCE, LSTM, RESHAPE, SPLIT, FULLY_CONNECTED = 0, 32, 129, 16, 22, 49, 9
FLOAT, INT32 = 0, 2


def numbers(builder: Any, values: Sequence[int]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependInt32(value)
    return int(builder.EndVector())


def table(builder: Any, offsets: dict[int, int], scalars: dict[int, int] | None = None) -> int:
    builder.StartObject(12)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, value in (scalars or {}).items():
        if field == 1:
            builder.PrependInt8Slot(field, value, 0)
        else:
            builder.PrependUint32Slot(field, value, 0)
    return int(builder.EndObject())


def vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def check(
    code: int = ADD,
    inputs: Sequence[int] | None = (0, 1),
    outputs: Sequence[int] = (2,),
    *,
    kinds: Sequence[int] = (FLOAT, FLOAT, FLOAT),
    shape: Sequence[int] = (2,),
    takes: Sequence[int] = (0,),
    number: int = 0,
) -> None:
    """Check a function of three tensors and one operator."""
    builder = Builder(1024)
    tensors = [table(builder, {0: numbers(builder, shape)}, {1: kind}) for kind in kinds]
    given = {} if inputs is None else {1: numbers(builder, inputs)}
    operator = table(builder, {**given, 2: numbers(builder, outputs)}, {0: number})
    fields = {
        0: vector(builder, tensors),
        1: numbers(builder, takes),
        2: numbers(builder, [2]),
        3: vector(builder, [operator]),
    }
    builder.Finish(table(builder, fields), b"TFL3")
    check_subgraph(root_table(bytes(builder.Output()), b"TFL3"), [code])


@pytest.mark.parametrize("name", ["lite", "lite_dtypes", "lite_loop", "lite_net", "lite_quantized"])
def test_what_was_converted_passes(name: str, version_path: Callable[[str], Path]) -> None:
    read(version_path(name) / "model.tflite")


def test_operators_pass_that_have_what_they_need() -> None:
    check()
    check(RESHAPE, [0])
    check(FULLY_CONNECTED, [0, 1, -1])  # no bias
    check(LSTM, [0, -1, 1])
    check(CUSTOM, None)
    check(CALL_ONCE, [])
    check(SPLIT, [0, 1], kinds=[INT32, FLOAT, FLOAT])


@pytest.mark.parametrize("inputs", [None, [], [0], [0, -1], [-1, 0]])
def test_an_operator_without_an_input_that_it_needs_is_refused(inputs: list[int] | None) -> None:
    with pytest.raises(Malformed, match="an operator of code 0 lacks an input"):
        check(ADD, inputs)


@pytest.mark.parametrize(("inputs", "outputs"), [([0, 3], [2]), ([0, 1], [3]), ([0, -2], [2])])
def test_tensors_that_are_not_there_are_refused(inputs: list[int], outputs: list[int]) -> None:
    with pytest.raises(Malformed, match="a tensor that is not there"):
        check(ADD, inputs, outputs)


@pytest.mark.parametrize("takes", [[-1], [3]])
def test_a_function_takes_tensors_that_are_there(takes: list[int]) -> None:
    with pytest.raises(Malformed, match="an input or output of a function is not there"):
        check(takes=takes)


def test_a_kind_of_operator_that_is_not_there_is_refused() -> None:
    with pytest.raises(Malformed, match="of a kind that is not there"):
        check(number=1)


def test_an_axis_is_a_whole_number() -> None:
    with pytest.raises(Malformed, match="splits along an axis that is no number"):
        check(SPLIT, [0, 1])


def test_a_tensor_of_absurdly_many_dimensions_is_refused() -> None:
    check(shape=[1] * 64)
    with pytest.raises(Malformed, match="a tensor has 3000 dimensions"):
        check(shape=[1] * 3000)
