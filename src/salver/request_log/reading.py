"""Request logs as they are read again: TFRecord of PredictionLog, or lines of JSON."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, TypeVar

from salver.codecs.protobuf.model_spec import ModelSpec, model_spec_of
from salver.codecs.protobuf.prediction_log import LogKind, decode_prediction_log
from salver.codecs.protobuf.tfrecord import read_records
from salver.codecs.protobuf.wire import parse_message
from salver.errors import DataLoss, ServingError, Unimplemented
from salver.request_log.answers import Answer, answer_of_json, answer_of_message
from salver.request_log.json_forms import MESSAGE_NAMES

__all__ = ["LoggedRecord", "Unreadable", "asked_by", "read_log"]

R = TypeVar("R")

_NO_SPEC: Final = ModelSpec("")
_PEEKED_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """One call of a log.

    Attributes:
        where: file and number of the record.
        kind: what was called.
        spec: which servable and signature the request named.
        request: a serialized request, or its JSON.
        response: what was answered; None where that was not logged.
        output_filter: the outputs that a Predict names; none for all.
    """

    where: str
    kind: LogKind
    spec: ModelSpec
    request: bytes | dict[str, Any]
    response: Answer | None
    output_filter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that cannot be read; where a file is damaged, nothing of it comes behind.

    Attributes:
        where: file and number of the record.
        problem: in words.
    """

    where: str
    problem: str


def read_log(file: BinaryIO, name: str) -> Iterator[LoggedRecord | Unreadable]:
    """The calls of a log, in order. Which of the two forms it has is told by its first bytes.

    What is appended from now on is not read: replayed to the server that writes it, a log would
    never end.

    Args:
        file: can be sought in.
        name: of the file.

    Raises:
        OSError: out of `file`.
    """
    head = file.read(_PEEKED_BYTES)
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    # The length that a TFRecord begins with has zeros among its eight bytes, and text has none.
    is_text = head.lstrip().startswith(b"{") and 0 not in head
    return _read_lines(file, name, end) if is_text else _read_tfrecord(file, name, end)


def _read_tfrecord(file: BinaryIO, name: str, end: int) -> Iterator[LoggedRecord | Unreadable]:
    number = 0
    try:
        for number, data in enumerate(read_records(file), 1):
            record = _tried(data, f"{name}, record {number}", _record_of_message)
            if record is not None:
                yield record
            if file.tell() >= end:
                return
    except DataLoss as error:
        yield Unreadable(f"{name}, record {number + 1}", error.message)


def _read_lines(file: BinaryIO, name: str, end: int) -> Iterator[LoggedRecord | Unreadable]:
    for number, line in enumerate(file, 1):  # pragma: no branch - it ends at `end`
        if line.strip():
            yield _tried(line, f"{name}:{number}", _record_of_line)
        if file.tell() >= end:
            return


def _tried(data: bytes, where: str, read: Callable[[bytes, str], R]) -> R | Unreadable:
    try:
        return read(data, where)
    except ServingError as error:
        return Unreadable(where, error.message)


def _record_of_message(data: bytes, where: str) -> LoggedRecord | None:
    logged = decode_prediction_log(data)
    if logged is None:
        return None
    if logged.kind not in MESSAGE_NAMES:
        raise Unimplemented(f"A call of the kind {logged.kind.name} cannot be replayed")
    message = parse_message(MESSAGE_NAMES[logged.kind][0], logged.request)
    spec = asked_by(logged.kind, message)
    wanted = tuple(message.output_filter) if logged.kind is LogKind.PREDICT else ()
    response = None
    if logged.response is not None:
        response = answer_of_message(logged.kind, logged.response)
    return LoggedRecord(where, logged.kind, spec, logged.request, response, wanted)


def asked_by(kind: LogKind, request: Any) -> ModelSpec:
    """Which servable a request names; of several tasks the first."""
    if kind is not LogKind.MULTI_INFERENCE:
        return model_spec_of(request.model_spec)
    return model_spec_of(request.tasks[0].model_spec) if request.tasks else _NO_SPEC


def _record_of_line(line: bytes, where: str) -> LoggedRecord:
    try:
        value = json.loads(line)
        kind = LogKind[value["method"].upper()]
        request, response = value["request"], value.get("response")
        if kind not in MESSAGE_NAMES or type(request) is not dict:
            raise DataLoss("This is no call that can be replayed")
        spec = ModelSpec(
            _typed(value["model"], str),
            _typed(value.get("asked_version"), int, type(None)),
            _typed(value.get("asked_label"), str, type(None)),
            _typed(request.get("signature_name", ""), str),
        )
        wanted = tuple([_typed(of, str) for of in value.get("output_filter", ())])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataLoss(f"This is no line of a request log: {error!r}") from error
    answer = None if response is None else answer_of_json(kind, response)
    return LoggedRecord(where, kind, spec, request, answer, wanted)


def _typed(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:  # True is no number
        raise TypeError(value)
    return value
