"""Reading what a SavedModel says of itself, without TensorFlow.

The graph, which may be hundreds of megabytes of constants, is not even read: of each variant only
the two small fields are read that say something.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.codecs.protobuf.signature_def import signatures_of, tensor_names_of
from salver.codecs.protobuf.wire import LONGEST_VARINT
from salver.errors import DataLoss, NotFound, Unimplemented
from salver.instruments.files import check_regular, error_of_os, open_regular, read_regular
from salver.vocabulary.model import ModelInfo, TensorNames
from salver.vocabulary.signature import Signature

__all__ = [
    "BINARY_NAME",
    "TEXT_NAME",
    "MetaGraph",
    "check_files",
    "meta_graph_with_tags",
    "read_meta_graphs",
]

BINARY_NAME: Final = "saved_model.pb"
TEXT_NAME: Final = "saved_model.pbtxt"
_LEGACY: Final = "export.meta"
_OPENED_BY_TENSORFLOW: Final = ("variables", "assets", "fingerprint.pb")
# Tags of the fields that are read: number, and that their length is said.
_META_GRAPH: Final = 2 << 3 | 2
_META_INFO: Final = 1 << 3 | 2
_GRAPH_DEF: Final = 2 << 3 | 2
_SIGNATURE_DEF: Final = 5 << 3 | 2
_FIXED_SIZES: Final = {1: 8, 5: 4}
_Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """One variant of a SavedModel.

    Attributes:
        tags: the set it is chosen by, sorted.
        signatures: name → signature, sorted.
        names: what the graph calls their inputs and outputs.
        definitions: the same verbatim, a serialized `tensorflow.serving.SignatureDefMap`.
        index: which of the variants it is.
        graph_spans: where in the file its graph begins and ends, mostly once; None where the file
            is in text form.
    """

    tags: tuple[str, ...]
    signatures: Mapping[str, Signature]
    names: Mapping[str, TensorNames]
    definitions: bytes
    index: int = field(default=0, compare=False)
    graph_spans: tuple[tuple[int, int], ...] | None = field(default=None, compare=False)

    @property
    def info(self) -> ModelInfo:
        """What it says of itself."""
        return ModelInfo(self.signatures, self.definitions)


def read_meta_graphs(directory: str | Path) -> list[MetaGraph]:
    """Every variant in a SavedModel directory.

    Raises:
        NotFound: the directory holds no SavedModel.
        Unimplemented: it holds a session bundle of TensorFlow 0.x.
        DataLoss: the file is corrupt.
        ServingError: the file cannot be read.

    Source of the texts: TensorFlow Serving, `session_bundle/oss/session_bundle_util.cc`.
    """
    saved_model, spans = _read(Path(directory))
    return [
        _meta_graph(meta_graph, index, None if spans is None else spans[index])
        for index, meta_graph in enumerate(saved_model.meta_graphs)
    ]


def check_files(directory: str | Path) -> None:
    """Look whether TensorFlow may open what it reads by itself, since it would wait for a pipe.

    Raises:
        NotRegular: it would meet a pipe, a socket or a device.
    """
    for name in _OPENED_BY_TENSORFLOW:
        for path in _below(Path(directory, name)):
            with suppress(OSError):  # a link that leads nowhere; TensorFlow tells what it misses
                check_regular(path)


def _below(top: Path) -> Iterator[str | Path]:
    """All files below a directory; what is no directory itself."""
    if not top.is_dir():
        yield top
    for where, _, names in os.walk(top):
        for name in names:
            yield os.path.join(where, name)


def meta_graph_with_tags(
    meta_graphs: Sequence[MetaGraph], tags: Sequence[str], directory: str
) -> MetaGraph:
    """The variant whose tag set equals `tags`.

    Raises:
        NotFound: none has just these tags; the hint names the sets there are.
    """
    for meta_graph in meta_graphs:
        if set(meta_graph.tags) == set(tags):
            return meta_graph
    raise NotFound(
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. "
        "To inspect available tag-sets in the SavedModel, please use the SavedModel CLI: "
        "`saved_model_cli`",
        hint=f"{directory} has the tag sets: "
        + (", ".join("{" + ",".join(of.tags) + "}" for of in meta_graphs) or "none"),
    )


def _read(directory: Path) -> tuple[Any, list[_Spans] | None]:
    """The small fields of a SavedModel, and where in a binary file its graphs are, by variant."""
    spans: list[_Spans] | None = None
    saved_model = message_class("tensorflow.SavedModel")()
    if (directory / _LEGACY).exists():
        raise Unimplemented("Session Bundle is deprecated and removed.")
    if (path := directory / BINARY_NAME).is_file():
        try:
            with open_regular(path) as file:
                spans = _merge(saved_model, file)
        except OSError as error:
            raise error_of_os(str(path), error) from error
        except DecodeError as error:
            raise DataLoss(f"Can't parse {path} as binary proto") from error
    elif (path := directory / TEXT_NAME).is_file():
        try:
            text = read_regular(path).decode()
            text_format.Parse(text, saved_model, allow_unknown_field=True)
        except OSError as error:
            raise error_of_os(str(path), error) from error
        except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise DataLoss(f"Can't parse {path} as text proto") from error
    else:
        raise NotFound(
            "Specified file path does not appear to contain a SavedModel bundle "
            "(should have a file called `saved_model.pb`)\n"
            f"Specified file path: {directory}"
        )
    return saved_model, spans


class _Field(NamedTuple):
    """A field of a serialized message; `start` to `end` with its tag, `begin` to `end` without."""

    tag: int
    start: int
    begin: int
    end: int


def _merge(saved_model: Any, file: BinaryIO) -> list[_Spans]:
    """Read the small fields of a serialized SavedModel.

    Returns:
        Where the graphs of its variants are.

    Read, not mapped: a file that is cut while it is mapped ends the process.

    Raises:
        DecodeError: it is none.
        OSError: it cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    if not size:  # or a file that does not say it
        saved_model.MergeFromString(file.read())
    all_spans: list[_Spans] = [() for _ in saved_model.meta_graphs]
    for outer in _fields(file, 0, size):
        if outer.tag == _META_GRAPH:
            meta_graph = saved_model.meta_graphs.add()
            spans: list[tuple[int, int]] = []
            for inner in _fields(file, outer.begin, outer.end):
                if inner.tag in (_META_INFO, _SIGNATURE_DEF):
                    file.seek(inner.start)
                    meta_graph.MergeFromString(file.read(inner.end - inner.start))
                elif inner.tag == _GRAPH_DEF:
                    spans.append((inner.begin, inner.end))
            all_spans.append(tuple(spans))
    return all_spans


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[_Field]:
    while start < end:
        file.seek(start)
        tag = _varint(file)
        kind = tag & 7
        size = _FIXED_SIZES.get(kind, 0)
        if kind == 2:
            size = _varint(file)
        elif kind == 0:
            _varint(file)
        elif not size:
            raise DecodeError("a group, or no kind at all")
        begin = file.tell()
        if begin + size > end:
            raise DecodeError("a field ends behind its message")
        yield _Field(tag, start, begin, begin + size)
        start = begin + size


def _varint(file: BinaryIO) -> int:
    value = 0
    for place in range(LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            return value
    raise DecodeError("a number does not end")


def _meta_graph(meta_graph: Any, index: int, graph_spans: _Spans | None) -> MetaGraph:
    verbatim = message_class("tensorflow.serving.SignatureDefMap")()
    for name, definition in meta_graph.signature_def.items():
        verbatim.signature_def[name].CopyFrom(definition)
    return MetaGraph(
        tags=tuple(sorted(meta_graph.meta_info_def.tags)),
        signatures=signatures_of(meta_graph.signature_def),
        names=tensor_names_of(meta_graph.signature_def),
        definitions=verbatim.SerializeToString(deterministic=True),
        index=index,
        graph_spans=graph_spans,
    )
