"""What an inference request asks for, as a wire has read it, and what it is answered with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from salver.codecs.protobuf.room import Room
from salver.oip.parameters import NO_PARAMETERS, Parameters
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array

__all__ = ["AnsweredOutput", "Asked", "GivenInput", "ReadInput", "RequestedOutput"]

ReadInput = Callable[[DataType, tuple[int, ...], str, Room], Array]
"""Makes the array of an input: dtype, shape, name, room; see `codecs.oip.tensors.array_of_raw`."""


class GivenInput:
    """One input as a request gives it, its elements not read yet.

    Attributes:
        name: of the input.
        datatype: as it came, `FP32`.
        shape: without negative axes; see `codecs.oip.tensors.checked_shape`.
        read: makes the array.
    """

    __slots__ = ("datatype", "name", "read", "shape")

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...], read: ReadInput) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.read = read


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One output that a request names.

    Attributes:
        name: of the output.
        classification: how many classes are wanted in place of the tensor; 0: the tensor.
        is_binary: whether it is to be raw bytes. REST's alone (`binary_data`).
    """

    name: str
    classification: int = 0
    is_binary: bool = False


@dataclass(slots=True)
class Asked:
    """What a message asks for.

    Attributes:
        inputs: in any order.
        outputs: none: all there are.
        id: of the request, which the answer repeats; empty for none.
        parameters: see there.
    """

    inputs: Sequence[GivenInput]
    outputs: Sequence[RequestedOutput] = ()
    id: str = ""
    parameters: Parameters = NO_PARAMETERS


@dataclass(slots=True)
class AnsweredOutput:
    """One output of the answer.

    Attributes:
        name: of the output.
        datatype: `FP32`.
        array: its elements.
        requested: what the request says of it; None where it names no outputs.
    """

    name: str
    datatype: str
    array: Array
    requested: RequestedOutput | None = None
