"""A loaded model made ready to be asked: one call per signature, resolved once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from salver.model import Model, Program
from salver.requests import Array
from salver.signature import Signature

__all__ = ["Servable", "SignatureCall", "StartableProgram"]


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
            call = SignatureCall(signature_name, signature, self._runner(program))
            self._calls[signature_name] = call
        return call

    def close(self) -> None:
        """Unload."""
        self._calls.clear()
        self.model.close()
