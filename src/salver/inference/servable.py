"""A loaded model made ready to be asked: one call per signature, resolved once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from salver.model import Model, Program
from salver.requests import Array
from salver.signature import Signature

__all__ = ["Servable", "SignatureCall", "StartableProgram"]

MOST_PROGRAMS: Final = 256
"""Programs beside those of whole signatures that are remembered; past that all are forgotten. What
clients may ask for is any subset of the outputs, and in a session any tensors at all."""


class StartableProgram(Protocol):
    """A program the loop can start; see `batching.runner.MeasuredProgram.start`."""

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]":
        """Run inline and return the outputs, or return a future of them."""
        ...


class SignatureCall:
    """One signature of one version, ready to run.

    Attributes:
        name: of the signature.
        signature: what it takes and gives.
        output_names: aliases in the order of the outputs a run returns.
        start: see `StartableProgram.start`; feeds are in the order of `signature.inputs`.
    """

    __slots__ = ("name", "output_names", "signature", "start")

    def __init__(self, name: str, signature: Signature, program: StartableProgram) -> None:
        self.name = name
        self.signature = signature
        self.output_names = tuple(signature.outputs)
        self.start = program.start


class Servable:
    """What the serving map holds for one version. Thread-safe but for `close`."""

    def __init__(self, model: Model, runner: Callable[[Program], StartableProgram]) -> None:
        """Wrap a loaded model.

        Args:
            model: closed by `close`.
            runner: decides where the runs of one program happen.
        """
        self.model = model
        self._runner = runner
        self._calls: dict[str, SignatureCall] = {}
        self._programs: dict[tuple[tuple[str, ...], ...], StartableProgram] = {}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Signature name → what it takes and gives."""
        return self.model.signatures

    def call(self, signature_name: str) -> SignatureCall | None:
        """The call of a signature; None when the model has no such signature.

        Raises:
            ServingError: the signature names a tensor that the graph does not have.
        """
        call = self._calls.get(signature_name)
        if call is None:
            signature = self.model.signatures.get(signature_name)
            if signature is None:
                return None
            program = self.model.program(
                [spec.tensor_name for spec in signature.inputs.values()],
                [spec.tensor_name for spec in signature.outputs.values()],
            )
            made = SignatureCall(signature_name, signature, self._runner(program))
            call = self._calls.setdefault(signature_name, made)  # another thread may be first
        return call

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> StartableProgram:
        """What runs from some tensors to others; see `Model.program`.

        Raises:
            ServingError: the graph has no such tensor or node.
        """
        names = (tuple(feeds), tuple(fetches), tuple(targets))
        program = self._programs.get(names)
        if program is None:
            if len(self._programs) >= MOST_PROGRAMS:
                self._programs.clear()
            made = self._runner(self.model.program(feeds, fetches, targets))
            program = self._programs.setdefault(names, made)
        return program

    def close(self) -> None:
        """Unload."""
        self._calls.clear()
        self._programs.clear()
        self.model.close()
