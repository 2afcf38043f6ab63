"""A loaded model made ready to be asked: one call per signature, resolved once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from salver.errors import Unimplemented
from salver.vocabulary.dtypes import QUANTIZED, DataType
from salver.vocabulary.model import Graph, Merging, Model, ModelInfo, Program
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

__all__ = [
    "Meter",
    "MeterFactory",
    "ProgramNames",
    "Runner",
    "Servable",
    "SignatureCall",
    "Start",
    "StartableProgram",
    "Stream",
    "StreamedRun",
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


class Start(Protocol):
    """See `StartableProgram.start`."""

    def __call__(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]": ...


class StreamedRun(Protocol):
    """A run that answers any number of times; of the loop."""

    async def next(self) -> list[Array] | None:
        """The next answer; None after the last.

        Raises:
            ServingError: the run has failed.
        """
        ...

    @property
    def is_over(self) -> bool:
        """Whether the answer that was taken last is known to be the last one."""
        ...

    def close(self) -> None:
        """Take no more answers; where the run goes on, it is stopped. May be called again."""
        ...


class Stream(Protocol):
    """Begins runs that answer more than once; see `StartableProgram.start`."""

    def __call__(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> StreamedRun: ...


class ProgramNames(NamedTuple):
    """Which program of a model it is; programs with the same names do the same.

    Attributes:
        feeds: in the order in which a run takes them.
        fetches: in the order in which it gives them.
        targets: nodes of the graph that are run to, without an output.
        signature_name: whose inputs and outputs these are; empty where they are tensors of the
            model's graph.
    """

    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    targets: tuple[str, ...] = ()
    signature_name: str = ""


class _Part(NamedTuple):
    """Some outputs of a signature."""

    signature_name: str
    outputs: tuple[str, ...]


Runner = Callable[[Program, ProgramNames], StartableProgram]
"""Decides where the runs of one program happen. Called from any thread."""


class Meter(Protocol):
    """Counts the answers to one method of one signature, over one entrypoint."""

    def succeeded(self, begun_s: float, ended_s: float, run_s: float) -> None:
        """Count an answer. Called in the loop.

        Args:
            begun_s: when the decoding of the request began, by `time.perf_counter`.
            ended_s: when the encoding of the answer had ended.
            run_s: seconds between these of the run, with all it waited for.
        """
        ...

    def exemplify(self, trace_id: int, total_s: float, run_s: float) -> None:
        """Name the trace of such an answer, as an example of those that take as long in all."""
        ...


MeterFactory = Callable[[str, str, str], Meter | None]
"""Makes the meter of (signature name, method, entrypoint), such as `("serving_default", "predict",
"REST")`; None where nobody counts."""


class _Meters(dict[tuple[str, str], Meter | None]):
    """(method, entrypoint) → meter, made when it is first asked for."""

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
        names: of the program that is run; its feeds are in the order of `signature.inputs`.
        output_names: aliases in the order of the outputs a run returns.
        start: see `StartableProgram.start`; feeds are in the order of `signature.inputs`.
        only_input: the dtype of the one input, where there is just one.
        quantized: the dtypes of the outputs whose arrays cannot tell them.
        stream: in the place of `start`, for those who want each answer of a run that may have
            several, and not the last one; None where all have one.
        meters: (method, entrypoint) → its meter, or None. `meters["predict", "REST"]`.
    """

    __slots__ = (
        "meters",
        "name",
        "names",
        "only_input",
        "output_names",
        "quantized",
        "signature",
        "start",
        "stream",
    )

    def __init__(
        self,
        name: str,
        signature: Signature,
        names: ProgramNames,
        program: StartableProgram,
        meters: MeterFactory,
        stream: Stream | None = None,
    ) -> None:
        self.name = name
        self.names = names
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
        self.stream = stream
        self.meters = _Meters(name, meters)


class Servable:
    """What the serving map holds for one version. Thread-safe but for `close`.

    Attributes:
        model: that is served.
        info: what it says of itself, but for the merging of its requests; see `report`.
    """

    def __init__(
        self,
        model: Model,
        runner: Runner,
        *,
        meters: MeterFactory = lambda *_key: None,
        on_close: Callable[[], None] = lambda: None,
        backend: str = "",
        merging: Callable[[], Merging | None] = lambda: None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: closed by `close`.
            runner: decides where the runs of one program happen.
            meters: makes what counts the answers of a signature.
            on_close: called by `close` before the model is closed.
            backend: see `ModelInfo`.
            merging: tells what it is now; see there.
        """
        self.model = model
        self.info = ModelInfo(model.signatures, model.definitions, backend=backend)
        self._reported = self.info
        self._merging = merging
        self._runner = runner
        self._meters = meters
        self._on_close = on_close
        self._calls: dict[str, SignatureCall] = {}
        self._programs: dict[_Part | ProgramNames, StartableProgram] = {}

    def report(self) -> ModelInfo:
        """What the model says of itself, and how its requests are merged now.

        As long as that does not change it is the same object.
        """
        merging = self._merging()
        if self._reported.merging != merging:
            self._reported = replace(self.info, merging=merging)
        return self._reported

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
            names = self._names(signature_name, tuple(signature.outputs))
            program = self._runner(self.model.program(signature_name), names)
            stream = self._stream(signature_name, None)
            made = SignatureCall(signature_name, signature, names, program, self._meters, stream)
            call = self._calls.setdefault(signature_name, made)  # another thread may be first
        return call

    def require_call(self, signature_name: str) -> SignatureCall:
        """The call of a signature that the model is known to have; see `call`."""
        call = self.call(signature_name)
        assert call is not None
        return call

    def part(self, signature_name: str, outputs: Sequence[str]) -> StartableProgram:
        """What runs a signature that the model has, for some of its outputs; see `Model.program`.

        Raises:
            ServingError: the model cannot run it.
        """
        part = _Part(signature_name, tuple(outputs))
        program = self._programs.get(part)
        if program is None:
            names = self._names(*part)
            program = self._remember(part, self.model.program(*part), names)
        return program

    def program_in_graph(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> StartableProgram:
        """What runs from some tensors of the graph to others; see `Graph.program`.

        Raises:
            Unimplemented: the model has no graph.
            ServingError: the graph has no such tensor or node.
        """
        names = ProgramNames(tuple(feeds), tuple(fetches), tuple(targets))
        program = self._programs.get(names)
        if program is None:
            made = self.graph.program(names.feeds, names.fetches, names.targets)
            program = self._remember(names, made, names)
        return program

    @property
    def graph(self) -> Graph:
        """The tensors of the model by their own names.

        Raises:
            Unimplemented: it has none.
        """
        graph = self.model.graph
        if graph is None:
            raise Unimplemented("This model has no graph whose tensors could be asked for by name")
        return graph

    def signature_of(self, start: object) -> Signature | None:
        """The signature that a run was begun with; None where it is of none. For what has failed.

        Args:
            start: the `start` of one of the calls or programs.
        """
        for call in list(self._calls.values()):
            if call.start == start:
                return call.signature
        for key, program in list(self._programs.items()):
            if program.start == start:
                return self.signatures.get(self._signature_name(key))
        return None

    def stream_of(self, start: object) -> Stream | None:
        """What begins runs in the place of a `start`, with all their answers; see `SignatureCall`.

        Args:
            start: of one of the calls, or of the parts of one.
        """
        for call in list(self._calls.values()):
            if call.start == start:
                return call.stream
        for key, program in list(self._programs.items()):
            if isinstance(key, _Part) and program.start == start:
                return self._stream(key.signature_name, key.outputs)
        return None

    def _stream(self, signature_name: str, outputs: Sequence[str] | None) -> Stream | None:
        # Models need not know of it.
        make: Callable[..., Stream | None] | None = getattr(self.model, "stream", None)
        return None if make is None else make(signature_name, outputs)

    def _signature_name(self, key: "_Part | ProgramNames") -> str:
        if isinstance(key, _Part):
            return key.signature_name
        of_feeds = (
            name for name, of in self.graph.names.items() if tuple(of.inputs.values()) == key.feeds
        )
        return next(of_feeds, "")

    def _names(self, signature_name: str, outputs: tuple[str, ...]) -> ProgramNames:
        graph = self.model.graph
        if graph is None:
            inputs = tuple(self.signatures[signature_name].inputs)
            return ProgramNames(inputs, outputs, (), signature_name)
        names = graph.names[signature_name]
        fetches = tuple([names.outputs[alias] for alias in outputs])
        return ProgramNames(tuple(names.inputs.values()), fetches)

    def _remember(
        self, key: "_Part | ProgramNames", program: Program, names: ProgramNames
    ) -> StartableProgram:
        if len(self._programs) >= MOST_PROGRAMS:
            self._programs.clear()
        return self._programs.setdefault(key, self._runner(program, names))

    def meter(self, signature_name: str, method: str, entrypoint: str) -> Meter | None:
        """What counts answers; see `MeterFactory`. For calls that no signature runs as a whole."""
        return self._meters(signature_name, method, entrypoint)

    def close(self) -> None:
        """Unload."""
        self._calls.clear()
        self._programs.clear()
        self._on_close()
        self.model.close()
