"""What a backend's loaded model can do. The floors above know a model only by this."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from salver.requests import Array
from salver.signature import Signature

__all__ = ["Model", "Program"]


class Program(Protocol):
    """Some inputs and outputs of a model, resolved once and run many times. Thread-safe.

    It may be dropped at any time, and holds nothing that somebody must close.
    """

    @property
    def can_loop(self) -> bool:
        """Whether the graph has loops: how long a run takes may depend on the values fed."""
        ...

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Run to the end in threads of the backend's own; other Python threads go on meanwhile.

        Args:
            feeds: one array per input, in the order the program was made with; not kept.

        Raises:
            ServingError: with the code and text of the backend.
        """
        ...

    def run_in_caller(self, feeds: Sequence[Array]) -> list[Array]:
        """The same, in the calling thread, for runs too short to be worth sharing out."""
        ...

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """The same, in the calling thread and without letting another Python thread in.

        For runs known to be shorter than a change of threads; it cannot be interrupted.
        """
        ...


class Model(Protocol):
    """One loaded version. Thread-safe but for `close`, which comes last and once."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Signature name → what it takes and gives."""
        ...

    @property
    def signature_def_map(self) -> bytes:
        """The signatures verbatim: a serialized `tensorflow.serving.SignatureDefMap`."""
        ...

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> Program:
        """Resolve names of the graph.

        Args:
            feeds: tensors (`x:0`).
            fetches: tensors.
            targets: nodes that are run to, without an output.

        Raises:
            ServingError: the graph has no such tensor or node.
        """
        ...

    def close(self) -> None:
        """Give back what the model holds. Nothing may run in it any more."""
        ...
