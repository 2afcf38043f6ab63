"""Calls as lines of JSON: who, when, and request and response as REST writes them."""

from datetime import datetime, timezone

import orjson

from salver.codecs.prediction_log import LogKind
from salver.errors import Unimplemented
from salver.inference.logged import Bodies, LoggedCall, Messages
from salver.request_log.json_forms import request_json, response_json
from salver.signature import DEFAULT_SIGNATURE

__all__ = ["line_of"]


def line_of(call: LoggedCall, time_s: float) -> bytes:
    """A call as one line. NaN and infinity are written as REST writes them.

    `version` answered; `asked_version` or `asked_label` is there where the request named one.

    Args:
        call: with bodies, or with messages that JSON has a form for.
        time_s: when it was answered.

    Raises:
        ServingError: JSON has no form for what is in it.
    """
    request, response = _bodies(call)
    time = datetime.fromtimestamp(time_s, timezone.utc)
    head: dict[str, str | int] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "model": call.asked.name,
        "version": call.version,
        "signature": call.signature_name or DEFAULT_SIGNATURE,
        "method": call.method,
    }
    if call.asked.version is not None:
        head["asked_version"] = call.asked.version
    if call.asked.label is not None:
        head["asked_label"] = call.asked.label
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
            raise Unimplemented("Arrays have no form in a line of JSON")


def _one_line(body: bytes) -> bytes:
    """A body without line breaks, which in JSON stand between tokens only, and as UTF-8."""
    flat = body.strip().replace(b"\r", b" ").replace(b"\n", b" ")
    return flat if flat.isascii() else flat.decode(errors="replace").encode()
