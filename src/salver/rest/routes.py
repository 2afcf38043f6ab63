"""Which API call a REST path names. Pure text: knows no servable and no socket.

The grammar is TensorFlow Serving's, `model_servers/http_rest_api_util.cc`: the whole target, with
its query, is matched undecoded and without regard to case.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from salver.errors import InvalidArgument
from salver.requests import ServableRequest

__all__ = ["API_PREFIX", "Call", "Route", "UnreadableName", "named_model", "parse_route"]

API_PREFIX: Final = re.compile(r"/v1/.*", re.IGNORECASE | re.ASCII)

_NAME: Final = r"/(?P<name>[^/:]+)"
_WHICH: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS: Final = re.IGNORECASE | re.ASCII
_POST: Final = re.compile(rf"/v1/models{_NAME}{_WHICH}:(?P<call>classify|regress|predict)", _FLAGS)
_GET: Final = re.compile(rf"/v1/models(?:{_NAME})?{_WHICH}(?:/(?P<call>metadata))?", _FLAGS)
_LIST: Final = re.compile(r"/v1/models", _FLAGS)
_GREATEST_VERSION: Final = 2**63 - 1
_MOST_DIGITS: Final = len(str(_GREATEST_VERSION))

Call = Literal["classify", "regress", "predict", "metadata", "status", "list"]


@dataclass(frozen=True, slots=True)
class Route:
    """A call on one servable stream; `servable` is None for `list` alone."""

    call: Call
    servable: ServableRequest | None


class UnreadableName(InvalidArgument):
    """The path is well formed, but its version is no number: answered without a body."""


def parse_route(method: str, target: str) -> Route:
    """Read a request line.

    Args:
        method: the HTTP method, upper case.
        target: path and query under `/v1/`, still percent-encoded.

    Raises:
        UnreadableName: the version does not fit 64 bits.
        InvalidArgument: method and target name no call, or no servable; the hint says what would.
    """
    match = _matched(method, target)
    if match is None:
        raise _malformed(method, target)
    version = _version(match["version"]) if match["version"] else None
    if not match["name"]:
        if _LIST.fullmatch(target):
            return Route("list", None)
        raise InvalidArgument("Missing model name in request.", hint=_GOOD_FORMS)
    servable = ServableRequest(
        name=unquote(match["name"], errors="surrogateescape"),
        version=version,
        label=unquote(match["label"], errors="surrogateescape") if match["label"] else None,
    )
    return Route(_call(match, method, target), servable)


def named_model(method: str, target: str) -> str:
    """The model that a request line names, also one that is no call otherwise; empty for none."""
    match = _matched(method, target)
    return unquote(match["name"], errors="surrogateescape") if match and match["name"] else ""


def _matched(method: str, target: str) -> "re.Match[str] | None":
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    return pattern.fullmatch(target) if pattern else None


def _version(digits: str) -> int:
    # Counted first: Python reads no number of more than a few thousand digits.
    significant = digits.lstrip("0") or "0"
    if len(significant) > _MOST_DIGITS or int(significant) > _GREATEST_VERSION:
        raise UnreadableName(f"Failed to convert version: {digits} to numeric.")
    return int(significant)


def _call(match: "re.Match[str]", method: str, target: str) -> Call:
    # The path is matched without regard to case, the call by its exact letters: TF Serving does
    # both, so `:PREDICT` is malformed while `/V1/Models/m:predict` is not.
    match match["call"]:
        case "predict" | "classify" | "regress" | "metadata" as call:
            return call
        case _ if method == "GET":
            return "status"
        case _:
            raise _malformed(method, target)


_CALL_IN_PATH: Final = re.compile(
    r"(?P<model>/v1/models/[^:]*?)[/:]+(?P<call>predict|classify|regress)/?", _FLAGS
)
_LONGEST_ADVISED: Final = 512  # the pattern above takes time with the square of the length
_GOOD_FORMS: Final = (
    "Calls are GET /v1/models/NAME[/versions/N|/labels/L][/metadata] "
    "and POST /v1/models/NAME[/versions/N|/labels/L]:predict|:classify|:regress"
)


def _malformed(method: str, target: str) -> InvalidArgument:
    return InvalidArgument(f"Malformed request: {method} {target}", hint=_advice(method, target))


def _advice(method: str, target: str) -> str:
    if len(target) > _LONGEST_ADVISED:
        return _GOOD_FORMS
    path, query, _ = target.partition("?")
    call = _CALL_IN_PATH.fullmatch(path)
    if call is not None and _POST.fullmatch(right := f"{call['model']}:{call['call'].lower()}"):
        return f"Did you mean POST {right}?"
    if query and method == "POST":
        return "The URL of a POST takes no query"
    if path.endswith("/") and _GET.fullmatch(path.rstrip("/")):
        return f"Did you mean GET {path.rstrip('/')}?"
    if method == "POST" and _POST.fullmatch(right := f"{path}:predict"):
        return f"Did you mean POST {right}?"
    if method != "GET" and _GET.fullmatch(path):
        return f"Did you mean GET {path}?"
    return _GOOD_FORMS
