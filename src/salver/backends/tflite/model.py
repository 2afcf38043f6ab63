"""A TFLite model loaded into interpreters, and the programs that run in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from salver.backends.tflite.interpreters import InterpreterPool, Layout
from salver.backends.tflite.model_file import ModelFile, read
from salver.backends.tflite.signatures import Place, Signatures, read_signatures
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import dtype_of_array, numpy_dtype
from salver.vocabulary.model import InternalBatching, ModelInfo, Program, signature_program
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import short_text

__all__ = ["TFLiteGraph", "TFLiteModel", "TFLiteProgram", "inspect", "load_model"]

_LARGEST_BATCH: Final = 500  # kInitialBatchSize of the reference
_BATCHES_QUEUED_PER_POOL: Final = 100
# XNNPACK copies the sizes of a tensor to an array of six, and looks how many they are afterwards:
# of seven some are an error, and eleven end the process.
_MOST_AXES: Final = 6
_GREATEST_SIZE: Final = 2**31 - 1


class TFLiteProgram:
    """Some inputs and outputs of one subgraph. Thread-safe: each run has an interpreter."""

    def __init__(
        self,
        pool: InterpreterPool,
        subgraph: int,
        inputs: Sequence[Place],
        outputs: Sequence[Place],
        *,
        can_loop: bool,
    ) -> None:
        self.can_loop = can_loop
        self._pool = pool
        self._subgraph = subgraph
        self._inputs = inputs
        self._indices = tuple(place.tensor.index for place in inputs)
        self._dtypes = [numpy_dtype(place.tensor.dtype) for place in inputs]
        self._most_axes = [max(_MOST_AXES, len(place.tensor.shape)) for place in inputs]
        self._fetches = [place.tensor.index for place in outputs]

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Run in this thread, without the GIL; waits for a free interpreter."""
        layout = self._layout(feeds)
        return self._pool.run(self._subgraph, layout, feeds, self._fetches)

    run_in_caller = run

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """The same, without waiting.

        LiteRT gives up the GIL while it computes, however short that is, so another thread may get
        in: 1 µs with none, about 300 µs beside a busy one (measured).
        """
        layout = self._layout(feeds)
        return self._pool.run_now(self._subgraph, layout, feeds, self._fetches)

    def _layout(self, feeds: Sequence[Array]) -> Layout:
        for array, dtype, most_axes in zip(feeds, self._dtypes, self._most_axes, strict=True):
            if array.dtype != dtype:
                self._refuse_dtype(feeds)
            if array.ndim > most_axes or not array.size:
                self._check_shapes(feeds)
        return self._indices, tuple([array.shape for array in feeds])

    def _check_shapes(self, feeds: Sequence[Array]) -> None:
        """Refuse what LiteRT would not survive, or has no number for."""
        for place, array, most_axes in zip(self._inputs, feeds, self._most_axes, strict=True):
            name = place.tensor.name
            if array.ndim > most_axes:
                raise InvalidArgument(
                    f"TFLite tensor {name} has {array.ndim} dimensions, more than {most_axes}"
                )
            if max(array.shape, default=0) > _GREATEST_SIZE:
                raise InvalidArgument(f"TFLite tensor {name} has a dimension over {_GREATEST_SIZE}")

    def _refuse_dtype(self, feeds: Sequence[Array]) -> None:
        """TFLite would take the bytes as they are; TensorFlow has a text for it."""
        number = next(n for n, each in enumerate(feeds) if each.dtype != self._dtypes[n])
        tensor = self._inputs[number].tensor
        given = dtype_of_array(feeds[number].dtype)
        raise InvalidArgument(
            f"Expects arg[{number}] to be {short_text(tensor.dtype)} but {short_text(given)} "
            "is provided",
            hint=f"arg[{number}] is the tensor {tensor.name}.",
        )


class TFLiteGraph:
    """The tensors of a loaded TFLite file: see `salver.vocabulary.model.Graph`."""

    def __init__(self, file: ModelFile, signatures: Signatures, pool: InterpreterPool) -> None:
        self.names = signatures.names
        self._has_loops = file.has_loops
        self._subgraphs = file.subgraphs
        self._tensors = signatures
        self._pool = pool

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> TFLiteProgram:
        """See `Graph.program`. Targets mean nothing here: all of a subgraph always runs."""
        inputs = [self._tensors.input(name) for name in feeds]
        outputs = [self._tensors.output(name) for name in fetches]
        numbers = {place.subgraph for place in (*inputs, *outputs)} or {0}
        if len(numbers) > 1:
            raise InvalidArgument(
                "Tensors of different functions of a TFLite model cannot be run together: "
                + ", ".join((*feeds, *fetches))
            )
        subgraph = numbers.pop()
        fed = {place.tensor.index for place in inputs}
        for tensor in self._subgraphs[subgraph].inputs:
            if (
                tensor.index not in fed
            ):  # the reference runs with what an earlier request left there
                raise InvalidArgument(f"Missing input TFLite tensor: {tensor.name}")
        if len(fed) < len(inputs):
            raise InvalidArgument(f"A TFLite tensor is fed twice: {', '.join(feeds)}")
        return TFLiteProgram(self._pool, subgraph, inputs, outputs, can_loop=self._has_loops)


class TFLiteModel:
    """One loaded TFLite file: see `salver.vocabulary.model.Model`."""

    def __init__(
        self,
        file: ModelFile,
        signatures: Signatures,
        pool: InterpreterPool,
        batching: InternalBatching | None,
    ) -> None:
        """Take over a pool.

        Args:
            file: what the model was read from.
            signatures: of it.
            pool: closed by `close`.
            batching: how its requests should be batched where no flag says it.
        """
        self.batching = batching
        self.signatures = signatures.signatures
        self.definitions = signatures.definitions
        self.graph = TFLiteGraph(file, signatures, pool)
        self._pool = pool

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        """See `Model.program`."""
        return signature_program(self.graph, signature_name, outputs)

    def close(self) -> None:
        """See `Model.close`."""
        self._pool.close()


def inspect(path: Path) -> ModelInfo:
    """What the model of a file says of itself, without LiteRT.

    Raises:
        ServingError: the file cannot be read, or is no TFLite model.
    """
    found = read_signatures(read(path))
    return ModelInfo(found.signatures, found.definitions)


def load_model(
    library: Any, path: Path, *, num_pools: int, interpreters_per_pool: int
) -> TFLiteModel:
    """Load a TFLite file.

    Args:
        library: LiteRT's module.
        path: of the file.
        num_pools: how many requests may run at once; at least one may.
        interpreters_per_pool: more than 1 asks for batches.

    Raises:
        ServingError: with the reference's words where it has words.
    """
    file = read(path)
    signatures = read_signatures(file)
    size = max(1, num_pools)
    subgraphs = {
        signatures.outputs[name].subgraph
        for of in signatures.names.values()
        for name in of.outputs.values()
    }
    pool = InterpreterPool(library, file, size=size, subgraphs=subgraphs)
    batching = _internal_batching(file, size, interpreters_per_pool)
    return TFLiteModel(file, signatures, pool, batching)


def _internal_batching(file: ModelFile, size: int, per_pool: int) -> InternalBatching | None:
    if per_pool <= 1:
        return None
    # The reference asks for a single input and then splits any; rows of what is exported for one
    # row go into batches of a share of the largest.
    inputs = file.subgraphs[0].inputs
    exported_rows = inputs[0].shape[0] if len(inputs) == 1 and inputs[0].shape else -1
    return InternalBatching(
        num_batch_threads=size,
        max_batch_size=_LARGEST_BATCH,
        max_execution_batch_size=exported_rows
        if exported_rows > 1
        else -(-_LARGEST_BATCH // per_pool),
        max_enqueued_batches=_BATCHES_QUEUED_PER_POOL * size,
    )
