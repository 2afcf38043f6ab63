"""What a backend's loaded model can do. The floors above know a model only by this."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "Answers",
    "Graph",
    "InternalBatching",
    "Model",
    "ModelInfo",
    "Program",
    "StartableModel",
    "StreamableModel",
    "TensorNames",
    "signature_program",
    "with_programs",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """How the requests of a model are run together.

    Attributes:
        max_batch_size: rows that a batch may have.
        delay_micros: how long a batch waits for company.
        preferred_batch_sizes: rows at which it waits no longer; empty where nobody says.
    """

    max_batch_size: int
    delay_micros: int = 0
    preferred_batch_sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model, loaded or not.

    Attributes:
        signatures: name → what it takes and gives.
        definitions: the same verbatim, a serialized `tensorflow.serving.SignatureDefMap`, of a
            model that brings one; None: `codecs.signature_def` makes it of the signatures.
        footprint_bytes: memory that the loaded model will take; None where nobody can tell.
        backend: name of what serves it; empty where nobody says.
        merging: of its requests; None where each is run alone, or it is not loaded.
    """

    signatures: Mapping[str, Signature]
    definitions: bytes | None = None
    footprint_bytes: int | None = None
    backend: str = ""
    merging: Merging | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalBatching:
    """How a model wants its requests batched where no flag says it; `batching.plan.Parameters`.

    Attributes:
        num_batch_threads: how many batches run at once.
        max_batch_size: rows that one request may have.
        max_execution_batch_size: rows that are run at most in one piece; what is larger is split.
        max_enqueued_batches: more than these waiting, and requests are turned away.
        batch_timeout_micros: how long a batch waits for company while a thread is free.
        allowed_batch_sizes: none: a batch has as many rows as it has.
        pad_variable_length_inputs: no.
        enable_large_batch_splitting: yes.

    Source: TensorFlow Serving, `servables/tensorflow/tflite_session.cc`, Create.
    """

    num_batch_threads: int
    max_batch_size: int
    max_execution_batch_size: int
    max_enqueued_batches: int
    batch_timeout_micros: int = 0
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = True


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


@dataclass(frozen=True, slots=True)
class TensorNames:
    """What a graph calls the tensors of one signature.

    Attributes:
        inputs: alias → tensor, in the order of the signature.
        outputs: likewise.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class Graph(Protocol):
    """A model whose signatures are views of one graph, in which tensors have names. Thread-safe.

    Programs of it may take tensors of several signatures, or of none. Runs of two programs that
    feed the same tensors and fetch the same can be merged.
    """

    @property
    def names(self) -> Mapping[str, TensorNames]:
        """Signature name → what its inputs and outputs are called here."""
        ...

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> Program:
        """Resolve names.

        Args:
            feeds: tensors (`x:0`).
            fetches: tensors.
            targets: nodes that are run to, without an output.

        Raises:
            ServingError: the graph has no such tensor or node.
        """
        ...


def signature_program(
    graph: Graph, signature_name: str, outputs: Sequence[str] | None = None
) -> Program:
    """The program of a signature, for a model that has a graph; see `Model.program`."""
    names = graph.names[signature_name]
    wanted = names.outputs if outputs is None else outputs
    return graph.program(tuple(names.inputs.values()), [names.outputs[alias] for alias in wanted])


class StartableModel(Protocol):
    """A model whose runs need no thread that waits for them, such as one that is `async def`.

    Where it has an attribute `asynchronous`, these are signatures of which `start` runs nothing.
    """

    def start(self, signature_name: str, feeds: Sequence[Array]) -> "Future[list[Array]]":
        """Begin a run, which gives all outputs of a signature, in its order.

        What cannot be done otherwise is done before this returns.

        Args:
            signature_name: one of `signatures`.
            feeds: one array per input; not kept once the future is done. To cancel the future
                cancels the run, as far as it can be.
        """
        ...


class Answers(Protocol):
    """Takes the answers of a run that may have several. Thread-safe.

    Whoever makes them asks after each whether there is room for more, so that it is never far ahead
    of a client that reads slowly.
    """

    @property
    def is_stopped(self) -> bool:
        """Whether nobody waits for more: what is sent is dropped."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether the next answer may be made; not, once nobody waits for it."""
        ...

    def send(self, outputs: list[Array], *, is_last: bool = False) -> None:
        """Send an answer: all outputs of the signature, in its order.

        Args:
            outputs: of it.
            is_last: whether it is known that no other follows.
        """
        ...

    def wait(self, times: int = 1) -> bool:
        """Wait for room; whether anybody waits for more.

        Args:
            times: as many answers as usual may be ahead, for who waits in an event loop.
        """
        ...

    def when_room(self, call: Callable[[], None]) -> None:
        """Have something called, from any thread, once there is room."""
        ...


class StreamableModel(StartableModel, Protocol):
    """A model of which one run may answer more than once."""

    @property
    def streamable(self) -> Sequence[str]:
        """The signatures whose runs may; where it is known of one, it says so."""
        ...

    def stream(
        self, signature_name: str, feeds: Sequence[Array], answers: Answers
    ) -> "Future[None]":
        """Begin a run, whose answers are sent as they are made; see `StartableModel.start`."""
        ...


class Model(Protocol):
    """One loaded version. Thread-safe but for `close`, which comes last and once."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Signature name → what it takes and gives."""
        ...

    @property
    def definitions(self) -> bytes | None:
        """See `ModelInfo`."""
        ...

    @property
    def batching(self) -> InternalBatching | None:
        """How it wants its requests batched where no flag says it; None: not at all."""
        ...

    @property
    def graph(self) -> Graph | None:
        """Its tensors by name; None for a model that is called by its signatures alone."""
        ...

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        """Make a signature ready to run.

        Args:
            signature_name: one of `signatures`. All its inputs are fed, in its order.
            outputs: the aliases of those wanted, in the order in which a run gives them; None for
                all, in the order of the signature.

        Raises:
            ServingError: the model cannot run it.
        """
        ...

    def close(self) -> None:
        """Give back what the model holds. Nothing may run in it any more."""
        ...


def with_programs(model: Model, change: Callable[[Program], Program]) -> Model:
    """The same model, each of whose programs is what `change` makes of it."""
    return _ChangedModel(model, change)


class _ChangedGraph:
    """See `Graph`."""

    def __init__(self, graph: Graph, change: Callable[[Program], Program]) -> None:
        self.names = graph.names
        self._graph = graph
        self._change = change

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> Program:
        return self._change(self._graph.program(feeds, fetches, targets))


class _ChangedModel:
    """See `Model`."""

    def __init__(self, model: Model, change: Callable[[Program], Program]) -> None:
        self.signatures = model.signatures
        self.definitions = model.definitions
        self.batching = model.batching
        self.graph = None if model.graph is None else _ChangedGraph(model.graph, change)
        self._model = model
        self._change = change

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        return self._change(self._model.program(signature_name, outputs))

    def close(self) -> None:
        self._model.close()
