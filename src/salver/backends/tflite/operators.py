"""What the operators of a TFLite file must have for LiteRT to survive them.

LiteRT verifies that a file is well-formed, and its kernels check most of what they are given. But
an input that is left out where none may be, or a tensor of absurdly many dimensions, is not noticed
everywhere, and ends the process. Found by changing files at random, with LiteRT 2.3.

Source of the codes: `BuiltinOperator` of `tensorflow/lite/schema/schema.fbs`; how many inputs each
takes, the kernels.
"""

from collections.abc import Sequence
from typing import Final

from salver.backends.tflite.flatbuffer import Malformed, Table

__all__ = ["check_subgraph"]

_MOST_DIMENSIONS: Final = 64  # as many as an array of numpy's may have
_ABSENT: Final = -1  # in place of the index of an input that is left out
_INT32: Final = 2

_FEWEST_INPUTS: Final[dict[int, int]] = {
    **dict.fromkeys((32, 51, 129, 136, 142, 173, 196, 206), 0),  # custom operations, handles, calls
    **dict.fromkeys(
        [
            0, 3, 4, 7, 9, 18, 23, 34, 36, 39, 40, 41, 42, 48, 49, 54, 55, 56, 57, 58, 61, 62,
            63, 69, 70, 71, 72, 74, 78, 79, 81, 82, 84, 86, 89, 90, 91, 94, 95, 97, 99, 100, 105,
            107, 112, 115, 125, 126, 128, 130, 131, 132, 137, 140, 144, 145, 149, 156,
        ],
        2,
    ),
    **dict.fromkeys([10, 33, 37, 38, 60, 64, 65, 67, 96, 102, 122, 123, 138, 141, 151], 3),
    **dict.fromkeys([45, 68, 85], 4),
}  # fmt: skip
"""Operator code → how many inputs it has at least; others have one."""

_MAY_LACK_ANY: Final = frozenset({16, 32, 44, 46, 51, 52, 173, 206})
"""Operators of which inputs may be left out also among those that others must have."""

_SPLIT: Final = 49


def check_subgraph(subgraph: Table, codes: Sequence[int]) -> None:
    """See that LiteRT survives a function.

    Args:
        subgraph: its table.
        codes: of the operators of the file.

    Raises:
        Malformed: it would not.
    """
    tensors = list(subgraph.tables(0))
    for tensor in tensors:
        for shape in (tensor.numbers(0), tensor.numbers(7)):
            if len(shape or ()) > _MOST_DIMENSIONS:
                raise Malformed(f"a tensor has {len(shape or ())} dimensions")
    for index in (*(subgraph.numbers(1) or ()), *(subgraph.numbers(2) or ())):
        if not 0 <= index < len(tensors):
            raise Malformed("an input or output of a function is not there")
    for operator in subgraph.tables(3):
        _check_operator(operator, codes, tensors)


def _check_operator(operator: Table, codes: Sequence[int], tensors: Sequence[Table]) -> None:
    number = operator.number(0, "<I")
    if number >= len(codes):
        raise Malformed("an operator is of a kind that is not there")
    code = codes[number]
    inputs = operator.numbers(1) or ()
    needed = _FEWEST_INPUTS.get(code, 1)
    if code not in _MAY_LACK_ANY and (len(inputs) < needed or _ABSENT in inputs[:needed]):
        raise Malformed(f"an operator of code {code} lacks an input")
    for index in (*inputs, *(operator.numbers(2) or ())):
        if not _ABSENT <= index < len(tensors):
            raise Malformed("an operator takes or makes a tensor that is not there")
    if code == _SPLIT and tensors[inputs[0]].number(1, "<b") != _INT32:
        raise Malformed("an operator splits along an axis that is no number")
