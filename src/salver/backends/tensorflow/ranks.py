"""Inputs with too few axes, refused where TensorFlow would end the process over them.

TensorFlow checks what is fed nowhere, and its operations check what they are given. Some check it
too late: with oneDNN, which is on by default on x86, a convolution asks a picture without its batch
axis for the size of an axis that it does not have, and that is a failed `CHECK`. A missing axis is
the commonest mistake there is, so it must not be that of all other clients.

Of 75 operations that were given tensors of 0 to 6 dimensions, TensorFlow 2.21 did this in those
named here, each time for tensors with fewer dimensions than it takes, and never for ones with more.

Source of the check: TensorFlow `core/util/tensor_format.h`, GetTensorDimIndex.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from salver.errors import InvalidArgument
from salver.vocabulary.model import Program, TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

__all__ = ["ABORTING", "CheckedProgram", "least_ranks"]

ABORTING: Final = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative", "MaxPool3D"})
"""Operations that end the process when a tensor has too few dimensions."""

_LEAST_RANK: Final = 3
"""Of an input that reaches such an operation as it is: (batch, steps, channels) of a convolution in
one dimension. What is declared flatter is reshaped first, and TensorFlow checks that."""


def least_ranks(
    signatures: Mapping[str, Signature], names: Mapping[str, TensorNames]
) -> dict[str, int]:
    """Tensor of the graph → how many dimensions it must have, where that is to be checked."""
    return {
        names[of].inputs[alias]: len(spec.shape)
        for of, signature in signatures.items()
        for alias, spec in signature.inputs.items()
        if spec.shape is not None and len(spec.shape) >= _LEAST_RANK
    }


class CheckedProgram:
    """A program that refuses such inputs; see `salver.vocabulary.model.Program`."""

    __slots__ = ("_program", "_ranks", "can_loop")

    def __init__(self, program: Program, ranks: Sequence[int]) -> None:
        """Wrap a program.

        Args:
            program: is run.
            ranks: the least number of dimensions of each feed; 0 for any.
        """
        self._program = program
        self._ranks = ranks
        self.can_loop = program.can_loop

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run`."""
        self._check(feeds)
        return self._program.run(feeds)

    def run_in_caller(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run_in_caller`."""
        self._check(feeds)
        return self._program.run_in_caller(feeds)

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run_inline`."""
        self._check(feeds)
        return self._program.run_inline(feeds)

    def _check(self, feeds: Sequence[Array]) -> None:
        for array, rank in zip(feeds, self._ranks, strict=True):
            if array.ndim < rank:
                # The words of the operations themselves, where oneDNN is off.
                shape = ",".join(map(str, array.shape))
                raise InvalidArgument(f"input must be {rank}-dimensional[{shape}]")
