"""Nodes that tell what a model means: ONNX's classifiers and regressors of classical models."""

from dataclasses import dataclass
from typing import Final

from salver.backends.onnxruntime.wire import LENGTH_DELIMITED, VARINT, MessageFile
from salver.codecs.protobuf.wire import read_varint

__all__ = ["CLASSIFIERS", "REGRESSORS", "ZIP_MAP", "Node", "read_node"]

ZIP_MAP: Final = "ZipMap"
CLASSIFIERS: Final = frozenset({"TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier"})
REGRESSORS: Final = frozenset({"TreeEnsembleRegressor", "LinearRegressor", "SVMRegressor"})
_TELLING: Final = frozenset({ZIP_MAP, *CLASSIFIERS, *REGRESSORS})
_LONGEST_KIND: Final = 64
_UNSIGNED: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Node:
    """A node.

    Attributes:
        kind: its `op_type`.
        inputs: names of values.
        outputs: names of values.
        labels: of the classes, of a classifier and of a map of them.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    labels: tuple[bytes, ...]


def read_node(messages: MessageFile, begin: int, end: int) -> Node | None:
    """Read a `NodeProto`; None for one of another kind.

    Raises:
        InvalidArgument: it is none.
    """
    kind = ""
    parts: dict[int, list[tuple[int, int]]] = {1: [], 2: [], 5: []}
    for number, of, first, stop in messages.fields(begin, end):
        if of != LENGTH_DELIMITED:
            continue
        if number == 4 and stop - first < _LONGEST_KIND:
            kind = messages.text(first, stop)
        elif number in parts:
            parts[number].append((first, stop))
    if kind not in _TELLING:
        return None
    return Node(
        kind,
        tuple(messages.text(*each) for each in parts[1]),
        tuple(messages.text(*each) for each in parts[2]),
        tuple(label for each in parts[5] for label in _labels(messages, *each)),
    )


def _labels(messages: MessageFile, begin: int, end: int) -> list[bytes]:
    """What an `AttributeProto` lists, if its name is that of the labels."""
    name = ""
    labels: list[bytes] = []
    for number, kind, first, stop in messages.fields(begin, end):
        if number == 1 and kind == LENGTH_DELIMITED:
            name = messages.text(first, stop)
            if not name.startswith("classlabels_"):
                return []
        elif number == 9 and kind == LENGTH_DELIMITED:  # strings
            labels.append(messages.read(first, stop))
        elif number == 8 and kind == LENGTH_DELIMITED:  # ints, packed
            labels += _packed(messages, first, stop)
        elif number == 8 and kind == VARINT:
            labels.append(_number(first))
    return labels if name else []


def _packed(messages: MessageFile, begin: int, end: int) -> list[bytes]:
    data, at = messages.read(begin, end), 0
    numbers = []
    try:
        while at < len(data):
            number, at = read_varint(data, at)
            numbers.append(_number(number))
    except IndexError:
        raise messages.malformed() from None
    return numbers


def _number(value: int) -> bytes:
    return b"%d" % (value if value < _UNSIGNED else value - 2 * _UNSIGNED)
