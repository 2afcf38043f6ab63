"""Calls as lines of JSON: who, when, and request and response as REST writes them."""

from datetime import datetime, timezone

import orjson

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.prediction_log import LogKind
from salver.inference.logged import Bodies, LoggedCall, Messages, Tensors
from salver.request_log.json_forms import request_json, response_json
from salver.request_log.messages import messages_of
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["line_of"]


def line_of(call: LoggedCall, time_s: float) -> bytes:
    """A call as one line. NaN and infinity are written as REST writes them.

    `version` answered; `asked_version` or `asked_label` is there where the request named one, and
    `principal` where it is known.

    Args:
        call: with bodies, or with messages that JSON has a form for.
        time_s: when it was answered.

    Raises:
        ServingError: JSON has no form for what is in it.
    """
    request, response = _bodies(call)
    time = datetime.fromtimestamp(time_s, timezone.utc)
    head: dict[str, str | int | list[str]] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "model": call.servable.name,
        "version": call.version,
        "signature": call.signature_name or DEFAULT_SIGNATURE,
        "method": call.method,
    }
    if call.servable.version is not None:
        head["asked_version"] = call.servable.version
    if call.servable.label is not None:
        head["asked_label"] = call.servable.label
    if call.principal is not None:
        head["principal"] = call.principal
    wanted = _output_filter(call)
    if wanted:
        head["output_filter"] = list(wanted)
    return b'%s,"request":%s,"response":%s}\n' % (orjson.dumps(head)[:-1], request, response)


def _bodies(call: LoggedCall) -> tuple[bytes, bytes]:
    content = call.content
    match content:
        case Bodies():
            return _one_line(content.request), _one_line(content.response)
        case Messages():
            kind = LogKind[call.method.upper()]
            return request_json(kind, content.request), response_json(kind, content.response)
        case _:
            kind = LogKind[call.method.upper()]
            name = call.signature_name or DEFAULT_SIGNATURE
            answered = ModelSpec(call.servable.name, call.version, None, name)
            request, response = messages_of(call, answered)
            return request_json(kind, request), response_json(kind, response)


def _output_filter(call: LoggedCall) -> tuple[str, ...]:
    """The outputs that a request names; REST has no word for it."""
    match call.content:
        case Tensors(output_filter=wanted):
            return wanted
        case Messages(request=request) if call.method == "predict":
            return decode_predict_request(request).output_filter
        case _:
            return ()


def _one_line(body: bytes) -> bytes:
    """A body without line breaks, which in JSON stand between tokens only, and as UTF-8."""
    flat = body.strip().replace(b"\r", b" ").replace(b"\n", b" ")
    return flat if flat.isascii() else flat.decode(errors="replace").encode()
