"""`tensorflow.serving.PredictionLog`: what stands in request logs and in warmup files.

A record holds one request, and its response where it comes from a log. Their bytes are kept as they
are: the request is decoded by whoever runs it, the others are only passed on.

Source: TensorFlow Serving, `apis/prediction_log.proto`.
"""

import enum
from dataclasses import dataclass
from typing import Final

from salver.codecs.protobuf.wire import length_delimited, parse_message, read_length

__all__ = ["LogKind", "LoggedRequest", "decode_prediction_log", "encode_prediction_log"]

_FULL_NAME: Final = "tensorflow.serving.PredictionLog"
_METADATA: Final = 1
_REQUEST: Final = 1
_RESPONSE: Final = 2


class LogKind(enum.IntEnum):
    """The method that was called; the values are the field numbers of `log_type`."""

    CLASSIFY = 2
    REGRESS = 3
    MULTI_INFERENCE = 4
    SESSION_RUN = 5
    PREDICT = 6
    PREDICT_STREAMED = 7


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request, and what was answered.

    Attributes:
        kind: the method.
        request: serialized request of that method; of a stream its first one.
        response: serialized response; None where none was logged. Of a stream its first one.
        metadata: serialized `tensorflow.serving.LogMetadata`; empty where there is none.
    """

    kind: LogKind
    request: bytes
    response: bytes | None
    metadata: bytes


def decode_prediction_log(data: bytes) -> LoggedRequest | None:
    """Read a record; None where it has no `log_type`.

    The messages in it are not looked into.

    Raises:
        Internal: it is malformed.
    """
    try:
        fields = _fields(data)
        metadata = fields.pop(_METADATA, b"")
        if len(fields) != 1:
            return _decode_unusual(data)
        ((number, body),) = fields.items()
        kind = LogKind(number)
        parts = _fields(body)
        if parts.keys() - {_REQUEST, _RESPONSE}:
            return _decode_unusual(data)
    except (IndexError, ValueError):
        return _decode_unusual(data)
    return LoggedRequest(kind, parts.get(_REQUEST, b""), parts.get(_RESPONSE), metadata)


def _fields(data: bytes) -> dict[int, bytes]:
    """Field number → payload, for a message whose fields all hold bytes and are there once.

    Raises:
        ValueError: it has others.
        IndexError: it is cut off.
    """
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        number, wire_type = divmod(data[at], 8)
        size, at = read_length(data, at + 1)
        stop = at + size
        if wire_type != 2 or number in fields or not 0 < number < 16 or stop > len(data):
            raise ValueError("not the usual message")
        fields[number] = data[at:stop]
        at = stop
    return fields


# Field name of `log_type` → kind.
_KIND_OF: Final = {f"{kind.name.lower()}_log": kind for kind in LogKind}


def _decode_unusual(data: bytes) -> LoggedRequest | None:
    message = parse_message(_FULL_NAME, data)
    choice = message.WhichOneof("log_type")
    if choice is None:
        return None
    kind = _KIND_OF[choice]
    log = getattr(message, choice)
    if kind is LogKind.PREDICT_STREAMED:
        request, response = next(iter(log.request), None), next(iter(log.response), None)
    else:
        request = log.request
        response = log.response if log.HasField("response") else None
    return LoggedRequest(
        kind,
        b"" if request is None else request.SerializeToString(),
        None if response is None else response.SerializeToString(),
        message.log_metadata.SerializeToString(),
    )


def encode_prediction_log(
    kind: LogKind, request: bytes, response: bytes | None = None, metadata: bytes = b""
) -> bytes:
    """Serialize a record; see `LoggedRequest`."""
    body = length_delimited(_REQUEST, request)
    if response is not None:
        body += length_delimited(_RESPONSE, response)
    head = length_delimited(_METADATA, metadata) if metadata else b""
    return head + length_delimited(kind, body)
