"""What an ONNX file says of itself, read without ONNX Runtime and without its weights.

The fields and their numbers are those of ONNX's `onnx.proto`; names there are those here.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from salver.backends.onnxruntime.functions import CallGraph, TooDeep, function_name
from salver.backends.onnxruntime.nodes import Node, read_node
from salver.backends.onnxruntime.value_types import Value, read_value
from salver.backends.onnxruntime.wire import LENGTH_DELIMITED, VARINT, MessageFile
from salver.errors import InvalidArgument, NotFound, ResourceExhausted
from salver.instruments.files import error_of_os, open_regular

__all__ = ["ExternalData", "ModelFile", "Span", "read"]

_GRAPH, _FUNCTION, _TRAINING = 7, 25, 20  # of ModelProto
_NODE, _NAME, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 2, 5, 11, 12, 15  # of GraphProto
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # of TensorProto
_LOOP, _LOCATION = b"Loop", b"location"
_TELLING: Final = (b"ZipMap", b"Classifier", b"Regressor")
_LARGE_NODE_BYTES: Final = 2048  # may hold graphs of its own
_DEEPEST: Final = 100  # messages in messages, as protobuf has it

Span = tuple[int, int, int]
"""Of a field: where it begins, where its payload begins, where it ends."""


@dataclass(slots=True)
class ExternalData:
    """A piece of weights in another file.

    Attributes:
        tensor: whose.
        location: the path as the model has it.
    """

    tensor: str
    location: str


@dataclass(slots=True)
class ModelFile:
    """A model, but for its weights.

    Attributes:
        path: of the file.
        size: of the file.
        inputs: those that have no initializer.
        outputs: all.
        output_spans: where they are declared.
        graph_spans: of the fields of the file that make up its graph.
        nodes: those whose kind tells what the model means, see `nodes`.
        external: what lies in other files.
        can_loop: whether some operation repeats others.
    """

    path: Path
    size: int
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    output_spans: list[Span] = field(default_factory=list)
    graph_spans: list[Span] = field(default_factory=list)
    nodes: list[tuple[Span, Node]] = field(default_factory=list)
    external: list[ExternalData] = field(default_factory=list)
    can_loop: bool = False


def _go_on() -> None:
    """Rest never."""


def read(path: Path, *, max_nodes: int, breathe: Callable[[], None] = _go_on) -> ModelFile:
    """Read a file.

    Args:
        path: of it.
        max_nodes: a graph of more is refused, and so is one of more weights.
        breathe: called between fields.

    Raises:
        NotFound: there is none.
        InvalidArgument: it is no ONNX model.
        ResourceExhausted: its graph is too large.
        ServingError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            messages = MessageFile(file, size, str(path), breathe)
            found = _Reading(messages, ModelFile(path, size), max_nodes)
            found.model()
    except FileNotFoundError:
        raise NotFound(f"{path} not found") from None
    except OSError as error:
        raise error_of_os(str(path), error) from error
    return found.found


class _Reading:
    """Fills a `ModelFile`."""

    def __init__(self, messages: MessageFile, found: ModelFile, max_nodes: int) -> None:
        self.found = found
        self._messages = messages
        self._most = max_nodes
        self._nodes = self._tensors = 0
        self._has_weights: set[str] = set()
        self._declared: list[Value] = []
        self._calls: CallGraph | None = None

    def model(self) -> None:
        messages, found = self._messages, self.found
        version = graphs = begun = 0
        others: list[Span] = []
        for number, kind, begin, end in messages.fields(0, messages.size):
            if number == 1 and kind == VARINT:
                version = begin
            elif number == _GRAPH and kind == LENGTH_DELIMITED:
                graphs += 1
                found.graph_spans.append((begun, begin, end))
            elif number in (_FUNCTION, _TRAINING) and kind == LENGTH_DELIMITED:
                others.append((number, begin, end))
            begun = end
        if not graphs or not version:
            raise messages.malformed()
        if any(number == _FUNCTION for number, _, _ in others):
            self._calls = CallGraph()
        for _, begin, end in found.graph_spans:
            self._main_graph(begin, end)
        for number, begin, end in others:
            self._other(number, begin, end)
        self._check_calls()
        found.inputs = [v for v in self._declared if v.name not in self._has_weights]

    def _main_graph(self, begin: int, end: int) -> None:
        messages, found = self._messages, self.found
        nodes: list[Span] = []
        begun = begin
        for number, kind, first, stop in messages.fields(begin, end):
            if kind == LENGTH_DELIMITED:
                if number == _NODE:
                    self._count_node()
                    nodes.append((begun, first, stop))
                else:
                    self._value(number, (begun, first, stop))
            begun = stop
        told: set[bytes] = set()
        for start, stop in _stretches(nodes):
            told |= messages.find_any((_LOOP, _LOCATION, *_TELLING), start, stop)
        found.can_loop |= _LOOP in told
        if told.intersection(_TELLING):
            self._find_telling(nodes)
        for _, start, stop in nodes:
            if _LOCATION in told or self._calls or stop - start > _LARGE_NODE_BYTES:
                self._node(start, stop, 0)

    def _value(self, number: int, span: Span) -> None:
        """A field of the graph that is no node."""
        messages, (_, begin, end) = self._messages, span
        if number == _INITIALIZER:
            self._tensor(begin, end, has_weights=True)
        elif number == _SPARSE:
            self._sparse(begin, end)
        elif number == _INPUT:
            self._declared.append(read_value(messages, begin, end))
        elif number == _OUTPUT:
            self.found.outputs.append(read_value(messages, begin, end))
            self.found.output_spans.append(span)

    def _find_telling(self, nodes: list[Span]) -> None:
        for span in nodes:
            node = read_node(self._messages, span[1], span[2])
            if node is not None:
                self.found.nodes.append((span, node))

    def _other(self, what: int, begin: int, end: int) -> None:
        """Look for what loops, and for names of files, in a function or in what trains."""
        self.found.can_loop |= _LOOP in self._messages.find_any((_LOOP,), begin, end)
        if what == _FUNCTION and self._calls is not None:
            self._calls.caller = self._name(begin, end, name=1, domain=10)
            self._calls.nodes[self._calls.caller] += 0
        for number, kind, first, stop in self._messages.fields(begin, end):
            if kind != LENGTH_DELIMITED:
                continue
            if what == _TRAINING and number in (1, 2):  # initialization, algorithm
                self._graph(first, stop, 1)
            elif what == _FUNCTION and number == 7:  # node
                self._count_node()
                self._node(first, stop, 1)
            elif what == _FUNCTION and number == 11:  # attribute_proto
                self._attribute(first, stop, 1)

    # -- graphs in nodes ---------------------------------------------------------------------------

    def _graph(self, begin: int, end: int, depth: int) -> None:
        for number, kind, first, stop in self._messages.fields(begin, end):
            if kind != LENGTH_DELIMITED:
                continue
            if number == _NODE:
                self._count_node()
                self._node(first, stop, depth + 1)
            elif number == _INITIALIZER:
                self._tensor(first, stop)
            elif number == _SPARSE:
                self._sparse(first, stop)

    def _node(self, begin: int, end: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise InvalidArgument(f"{self.found.path} has graphs in graphs in graphs")
        if self._calls is not None:
            self._calls.add(self._name(begin, end, name=4, domain=7))
        for number, kind, first, stop in self._messages.fields(begin, end):
            if number == 5 and kind == LENGTH_DELIMITED:
                self._attribute(first, stop, depth + 1)

    def _name(self, begin: int, end: int, *, name: int, domain: int) -> str:
        """What a function, or an operation, is called, by the numbers of the two fields."""
        texts = {name: "", domain: ""}
        for number, kind, first, stop in self._messages.fields(begin, end):
            if number in texts and kind == LENGTH_DELIMITED:
                texts[number] = self._messages.text(first, stop)
        return function_name(texts[domain], texts[name])

    def _check_calls(self) -> None:
        try:
            if self._calls is not None and self._calls.size() > self._most:
                raise self._too_large("nodes, those of its functions counted")
        except TooDeep as error:
            raise InvalidArgument(f"{self.found.path} has {error}") from error

    def _attribute(self, begin: int, end: int, depth: int) -> None:
        for number, kind, first, stop in self._messages.fields(begin, end):
            if kind != LENGTH_DELIMITED:
                continue
            if number in (5, 10):  # t, tensors
                self._tensor(first, stop)
            elif number in (6, 11):  # g, graphs
                self._graph(first, stop, depth + 1)
            elif number in (22, 23):  # sparse_tensor, sparse_tensors
                self._sparse(first, stop)

    def _sparse(self, begin: int, end: int) -> None:
        for number, kind, first, stop in self._messages.fields(begin, end):
            if number in (1, 2) and kind == LENGTH_DELIMITED:  # values, indices
                self._tensor(first, stop, has_weights=number == 1)

    def _tensor(self, begin: int, end: int, *, has_weights: bool = False) -> None:
        messages = self._messages
        self._tensors += 1
        if self._tensors > self._most:
            raise self._too_large("weights")
        name = ""
        locations: list[str] = []
        for number, kind, first, stop in messages.fields(begin, end):
            if kind != LENGTH_DELIMITED:
                continue
            if number == _TENSOR_NAME:
                name = messages.text(first, stop)
            elif number == _EXTERNAL_DATA:
                locations += self._locations(first, stop)
        if has_weights:
            self._has_weights.add(name)
        self.found.external += [ExternalData(name, each) for each in locations]

    def _locations(self, begin: int, end: int) -> list[str]:
        """Values of an entry whose key may be `location`: of several of one the last counts."""
        messages = self._messages
        is_location = False
        values: list[tuple[int, int]] = []
        for number, kind, first, stop in messages.fields(begin, end):
            if kind == LENGTH_DELIMITED and number == 1:
                is_location |= messages.read(first, stop) == _LOCATION
            elif kind == LENGTH_DELIMITED and number == 2:
                values.append((first, stop))
        return [messages.text(*each) for each in values] if is_location else []

    def _count_node(self) -> None:
        self._nodes += 1
        if self._nodes > self._most:
            raise self._too_large("nodes")

    def _too_large(self, what: str) -> ResourceExhausted:
        error = ResourceExhausted(
            f"{self.found.path} has a graph of more than {self._most} {what}",
            hint="Start the server with a larger --onnxruntime_max_nodes.",
        )
        error.is_final = True
        return error


def _stretches(spans: list[Span]) -> list[tuple[int, int]]:
    """The same stretches of a file, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for begin, _, end in spans:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined
