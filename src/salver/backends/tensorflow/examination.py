"""A look at a SavedModel before TensorFlow reads it: what would end the process is refused.

The graph's own text is read, linearly and once, and the index of its variables. It takes a few
hundredths of the time of the load that follows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.backends.tensorflow.call_graph import check_calls, reachable
from salver.backends.tensorflow.checkpoint_index import check_index
from salver.backends.tensorflow.graph_reader import (
    FunctionPart,
    GraphPart,
    GraphReader,
    Parts,
    TooLarge,
)
from salver.backends.tensorflow.graph_scopes import Fault, Scope
from salver.backends.tensorflow.node_faults import LOOPS, WATCHED
from salver.backends.tensorflow.saved_model import BINARY_NAME, TEXT_NAME, MetaGraph, check_files
from salver.errors import DataLoss, FailedPrecondition, InvalidArgument, ServingError
from salver.instruments.files import error_of_os, open_regular
from salver.instruments.machine import memory_bytes

__all__ = ["Examination", "examine"]

_MOST_HANDED_ON: Final = 15_000  # nodes in a row; 50,000 take the process
_HINT: Final = (
    "TensorFlow would end the server's process on this model, so it was not given to it. It is "
    "looked at again when its files change."
)
_INDEX: Final = "variables/variables.index"
_SMALL_BYTES: Final = 1 << 28  # less is not worth a question how much memory there is


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out.

    Attributes:
        operations: of the graph and its functions.
    """

    operations: frozenset[str]

    @property
    def can_loop(self) -> bool:
        """Whether there are loops.

        How long a graph without loops runs depends, but for a few operations, on the sizes of what
        is fed; with a loop it may depend on the values, so that measuring earlier runs says nothing
        of the next.
        """
        return not LOOPS.isdisjoint(self.operations)


def examine(
    directory: str,
    variant: MetaGraph,
    *,
    breathe: Callable[[], None] = lambda: None,
    memory: Callable[[], int] = memory_bytes,
) -> Examination:
    """Look at one variant of a SavedModel.

    Args:
        directory: of the version.
        variant: the one that is to be loaded.
        breathe: called again and again, for other threads to get the GIL; see `Breather`.
        memory: how many bytes there may be in use.

    Raises:
        InvalidArgument: TensorFlow would not survive it.
        FailedPrecondition: nor this, on this machine; or a function calls itself, or a file that
            would be read is none.
        DataLoss: it cannot be parsed.
        ServingError: it cannot be read.
    """
    try:
        check_files(directory)
        check_index(Path(directory, _INDEX), breathe)
        with _opened(directory, variant, breathe) as parts:
            graph, functions = _scopes(parts)
        _check_faults(graph, functions, memory)
        check_calls(graph, functions)
        scopes = (graph, *functions.values())
        return Examination(frozenset().union(*(each.ops for each in scopes)))
    except ServingError as error:
        if isinstance(error, (InvalidArgument, FailedPrecondition)):
            error.hint, error.is_final = error.hint or _HINT, True
        raise


@contextmanager
def _opened(directory: str, variant: MetaGraph, breathe: Callable[[], None]) -> Iterator[Parts]:
    path = Path(directory, BINARY_NAME if variant.graph_spans is not None else TEXT_NAME)
    try:
        with open_regular(path) as file:
            if variant.graph_spans is None:
                text = file.read().decode()
                yield _parts_of_text(text, variant.index)
            else:
                reader = GraphReader(file, breathe)
                yield chain.from_iterable(reader.parts(*span) for span in variant.graph_spans)
    except OSError as error:
        raise error_of_os(str(path), error) from error
    except TooLarge as error:
        raise InvalidArgument(f"The graph has {error}") from error
    except DecodeError as error:
        raise DataLoss(f"Can't parse {path} as binary proto") from error
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise DataLoss(f"Can't parse {path} as text proto") from error


def _parts_of_text(text: str, index: int) -> Parts:
    saved_model = message_class("salver.graph.SavedModel")()
    text_format.Parse(text, saved_model, allow_unknown_field=True)
    graph = saved_model.meta_graphs[index].graph_def
    yield GraphPart(graph.node)
    for function in graph.library.function:
        yield FunctionPart(function.node_def, function.signature.name, True)


def _scopes(parts: Parts) -> tuple[Scope, dict[str, Scope]]:
    """The graph, and the functions by their names."""
    graph = Scope()
    functions: list[Scope] = []
    for part in parts:
        scope = graph
        if isinstance(part, FunctionPart):
            if part.is_first:
                functions.append(Scope(is_function=True))
            scope = functions[-1]
            scope.name = part.name or scope.name
        scope.add(part.nodes, WATCHED, part.unread_bytes)
    for scope in (graph, *functions):
        scope.judge()
    return graph, {scope.name: scope for scope in functions if scope.name}


def _check_faults(graph: Scope, functions: dict[str, Scope], memory: Callable[[], int]) -> None:
    """Raise for the first fault that TensorFlow would meet."""
    met = reachable(graph, functions)
    for scope in (graph, *functions.values()):
        is_met = scope in met
        for fault in scope.faults:
            if is_met or fault.is_met_anyway:
                _check_fault(fault, memory)
    for scope in met:
        if scope.most_handed_on() > _MOST_HANDED_ON:
            raise InvalidArgument(
                f"More than {_MOST_HANDED_ON} nodes in a row hand on what they get; TensorFlow "
                "does not survive that"
            )
    excess = sum(scope.excess_bytes for scope in met)
    if excess > _SMALL_BYTES and excess > memory():
        raise FailedPrecondition(
            f"The constants of the graph claim {excess} bytes more than the file has of them, and "
            f"there is memory for {memory()}"
        )


def _check_fault(fault: Fault, memory: Callable[[], int]) -> None:
    if fault.claimed_bytes is None:
        raise InvalidArgument(fault.text)
    if fault.claimed_bytes > memory():
        raise FailedPrecondition(
            f"{fault.text}: {fault.claimed_bytes} bytes, and there is memory for {memory()}"
        )
