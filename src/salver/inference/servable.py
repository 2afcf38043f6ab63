"""A loaded model made ready to be asked: one call per signature, resolved once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from salver.dtypes import QUANTIZED, DataType
from salver.model import Model, Program
from salver.requests import Array
from salver.signature import Signature

__all__ = [
    "Meter",
    "MeterFactory",
    "ProgramNames",
    "Runner",
    "Servable",
    "SignatureCall",
    "StartableProgram",
]

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


class ProgramNames(NamedTuple):
    """What a program feeds, fetches and runs to, by the names of the graph."""

    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    targets: tuple[str, ...] = ()


Runner = Callable[[Program, ProgramNames], StartableProgram]
"""Decides where the runs of one program happen. Called from any thread."""


class Meter(Protocol):
    """Counts the answers to one method of one signature, over one entrance."""

    def succeeded(self, total_s: float, run_s: float) -> None:
        """Count an answer. Called in the loop.

        Args:
            total_s: from the decoding of the request to the end of the encoding, in seconds.
            run_s: of that the run, with all it waited for.
        """
        ...


MeterFactory = Callable[[str, str, str], Meter | None]
"""Makes the meter of (signature name, method, entrance), such as `("serving_default", "predict",
"REST")`; None where nobody counts."""


class _Meters(dict[tuple[str, str], Meter | None]):
    """(method, entrance) → meter, made when it is first asked for."""

    __slots__ = ("_make", "_signature_name")

    def __init__(self, signature_name: str, make: MeterFactory) -> None:
        super().__init__()
        self._signature_name = signature_name
        self._make = make

    def __missing__(self, key: tuple[str, str]) -> Meter | None:
        return self.setdefault(key, self._make(self._signature_name, *key))


class SignatureCall:
    """One signature of one version, ready to run.

    Attributes:
        name: of the signature.
        signature: what it takes and gives.
        output_names: aliases in the order of the outputs a run returns.
        start: see `StartableProgram.start`; feeds are in the order of `signature.inputs`.
        only_input: the dtype of the one input, where there is just one.
        quantized: the dtypes of the outputs whose arrays cannot tell them.
        meters: (method, entrance) → its meter, or None. `meters["predict", "REST"]`.
    """

    __slots__ = (
        "meters",
        "name",
        "only_input",
        "output_names",
        "quantized",
        "signature",
        "start",
    )

    def __init__(
        self, name: str, signature: Signature, program: StartableProgram, meters: MeterFactory
    ) -> None:
        self.name = name
        self.signature = signature
        self.output_names = tuple(signature.outputs)
        dtypes = [spec.dtype for spec in signature.inputs.values()]
        self.only_input: DataType | None = dtypes[0] if len(dtypes) == 1 else None
        self.quantized = {
            alias: output.dtype
            for alias, output in signature.outputs.items()
            if output.dtype in QUANTIZED
        }
        self.start = program.start
        self.meters = _Meters(name, meters)


class Servable:
    """What the serving map holds for one version. Thread-safe but for `close`."""

    def __init__(
        self,
        model: Model,
        runner: Runner,
        *,
        meters: MeterFactory = lambda *_key: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: closed by `close`.
            runner: decides where the runs of one program happen.
            meters: makes what counts the answers of a signature.
            on_close: called by `close` before the model is closed.
        """
        self.model = model
        self._runner = runner
        self._meters = meters
        self._on_close = on_close
        self._calls: dict[str, SignatureCall] = {}
        self._programs: dict[ProgramNames, StartableProgram] = {}

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
            names = ProgramNames(
                _feeds(signature),
                tuple([spec.tensor_name for spec in signature.outputs.values()]),
            )
            program = self._runner(self.model.program(names.feeds, names.fetches), names)
            made = SignatureCall(signature_name, signature, program, self._meters)
            call = self._calls.setdefault(signature_name, made)  # another thread may be first
        return call

    def signature_of(self, start: object) -> Signature | None:
        """The signature that a run was begun with; None where it is of none. For what has failed.

        Args:
            start: the `start` of one of the calls or programs.
        """
        for call in list(self._calls.values()):
            if call.start == start:
                return call.signature
        for names, program in list(self._programs.items()):
            if program.start == start:
                of_feeds = (of for of in self.signatures.values() if _feeds(of) == names.feeds)
                return next(of_feeds, None)
        return None

    def meter(self, signature_name: str, method: str, entrance: str) -> Meter | None:
        """What counts answers; see `MeterFactory`. For calls that no signature runs as a whole."""
        return self._meters(signature_name, method, entrance)

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> StartableProgram:
        """What runs from some tensors to others; see `Model.program`.

        Raises:
            ServingError: the graph has no such tensor or node.
        """
        names = ProgramNames(tuple(feeds), tuple(fetches), tuple(targets))
        program = self._programs.get(names)
        if program is None:
            if len(self._programs) >= MOST_PROGRAMS:
                self._programs.clear()
            made = self._runner(self.model.program(feeds, fetches, targets), names)
            program = self._programs.setdefault(names, made)
        return program

    def close(self) -> None:
        """Unload."""
        self._calls.clear()
        self._programs.clear()
        self._on_close()
        self.model.close()


def _feeds(signature: Signature) -> tuple[str, ...]:
    return tuple([spec.tensor_name for spec in signature.inputs.values()])
