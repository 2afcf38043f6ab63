"""What clouds post, as a call of TensorFlow Serving's REST API. Pure: bytes in, bytes out.

Source: the container for TensorFlow Serving of SageMaker, for what it takes; what it answers with
an error, such as text with quotes or mixed columns, is taken here where it can mean one thing only.
"""

import csv
import re
from collections.abc import Iterator
from typing import Final

import orjson

from salver.errors import InvalidArgument

__all__ = [
    "JSON",
    "JSON_LINES",
    "UnknownForm",
    "attributes_of",
    "is_call",
    "media_type",
    "sagemaker_body",
    "vertex_body",
    "wanted_type",
]

JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
_JSONS: Final = "application/jsons"
_CSV: Final = "text/csv"
_FORMS: Final = (JSON, JSON_LINES, _JSONS, _CSV)

_LOOKED_AT: Final = 4096  # of a body, for a key that stands at its beginning
_KEY: Final = re.compile(rb'"(?:instances|inputs|examples)"\s*:')
_LINES: Final = re.compile(rb"[}\]]\s*[\[{]")  # values with no comma between them
_ROWS: Final = re.compile(rb"\s*\[\s*[\[{]")
_NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)


class UnknownForm(InvalidArgument):
    """The body is of a media type that is not taken: HTTP's status 415."""


def attributes_of(header: bytes | None) -> dict[str, str]:
    """What `X-Amzn-SageMaker-Custom-Attributes` says for TensorFlow Serving."""
    if not header:
        return {}
    pairs = (each.strip().partition("=") for each in header.decode("latin-1").split(","))
    return {key: value for key, _, value in pairs if key.startswith("tfs-") and value}


def media_type(header: bytes | None) -> str:
    """The media type of a body for SageMaker; JSON where none is given.

    Raises:
        UnknownForm: it is not taken.
    """
    if not header:
        return JSON
    found = header.decode("latin-1").partition(";")[0].strip().lower()
    if found not in _FORMS:
        raise UnknownForm(f"Unsupported Media Type: {found}", hint=f"Take {', '.join(_FORMS)}.")
    return found


def wanted_type(header: bytes | None) -> str:
    """The media type of an answer: what `Accept` begins with, where it is one of JSON."""
    first = (header or b"").decode("latin-1").partition(",")[0].partition(";")[0].strip().lower()
    return JSON_LINES if first == JSON_LINES else JSON


def is_call(body: bytes) -> bool:
    """Whether a body is seen at once to be a call already."""
    return _KEY.search(body, 0, _LOOKED_AT) is not None


def sagemaker_body(kind: str, body: bytes) -> bytes:
    """The call that a body for SageMaker stands for.

    Args:
        kind: its media type, one that `media_type` gives.
        body: a call, any JSON, lines of JSON or of values with commas.

    Raises:
        InvalidArgument: it is no text.
    """
    if kind == _CSV:
        return _instances(_csv_rows(body))
    if _KEY.search(body):
        return body
    if _LINES.search(body) or (kind != JSON and _is_lines(body)):
        return _instances(_json_values(body))
    if _ROWS.match(body):
        return b'{"instances":' + body + b"}"
    return b'{"instances":[' + body + b"]}"


def vertex_body(body: bytes) -> bytes:
    """The call that a body for Vertex AI stands for: parameters may name the signature."""
    if b'"parameters"' not in body or b'"signature_name"' not in body:
        return body
    try:
        call = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body  # whoever reads it next says what is wrong
    parameters = call.pop("parameters", None) if isinstance(call, dict) else None
    if not isinstance(parameters, dict) or "signature_name" not in parameters:
        return body
    call.setdefault("signature_name", parameters["signature_name"])
    return orjson.dumps(call)


def _instances(values: Iterator[bytes]) -> bytes:
    return b'{"instances":[' + b",".join(values) + b"]}"


def _is_lines(body: bytes) -> bool:
    """Whether a body of several lines is no value as a whole."""
    if b"\n" not in body.strip():
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return True
    return False


def _json_values(body: bytes) -> Iterator[bytes]:
    return (line for each in body.split(b"\n") if (line := each.strip()))


def _csv_rows(body: bytes) -> Iterator[bytes]:
    """Each line as JSON: a list of its columns, or the one value that it is."""
    try:
        lines = body.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InvalidArgument("text/csv has to be UTF-8") from None
    for line in filter(str.strip, lines):
        row = _row_of_json(line)
        if row is None:
            cells = next(csv.reader([line], skipinitialspace=True))
            row = orjson.dumps(
                [_cell(cell) for cell in cells] if len(cells) > 1 else _cell(cells[0])
            )
        yield row


def _row_of_json(line: str) -> bytes | None:
    """A line whose columns are JSON as they stand: numbers, and text in quotes."""
    row = f"[{line}]" if "," in line else line
    try:
        orjson.loads(row)
    except orjson.JSONDecodeError:
        return None
    return row.encode()


def _cell(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text
