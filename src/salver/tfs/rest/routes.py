"""Which API call a REST path names. Pure text: knows no servable and no socket.

The grammar is TensorFlow Serving's, `model_servers/http_rest_api_util.cc`: the whole target, with
its query, is matched undecoded and without regard to case.
"""

import re
from typing import Final, Literal
from urllib.parse import unquote

from salver.errors import InvalidArgument
from salver.protocols.rest_errors import UnreadableName
from salver.vocabulary.requests import ServableRequest

__all__ = ["ANY", "CALLS", "Call", "named_model", "refusal", "servable_of"]

Call = Literal["classify", "regress", "predict", "metadata", "status", "list"]

_NAME: Final = r"/(?P<name>[^/:]+)"
_WHICH: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_MODELS: Final = r"(?ia)/v1/models"

# The path is matched without regard to case, the call by its exact letters: TF Serving does both,
# so `:PREDICT` is malformed while `/V1/Models/m:predict` is not.
CALLS: Final[tuple[tuple[Call, str, str], ...]] = (
    ("predict", "POST", f"{_MODELS}{_NAME}{_WHICH}:(?-i:predict)"),
    ("classify", "POST", f"{_MODELS}{_NAME}{_WHICH}:(?-i:classify)"),
    ("regress", "POST", f"{_MODELS}{_NAME}{_WHICH}:(?-i:regress)"),
    ("metadata", "GET", f"{_MODELS}{_NAME}{_WHICH}/(?-i:metadata)"),
    ("status", "GET", f"{_MODELS}{_NAME}{_WHICH}(?:/metadata)?"),
    ("list", "GET", _MODELS),
)
"""Call, method, and what the whole target has to match; the first one counts."""

ANY: Final = r"(?ia)/v1/.*"
"""Every target of the API; what is none of its calls is refused."""

_POST: Final = re.compile(f"{_MODELS}{_NAME}{_WHICH}:(?:classify|regress|predict)")
_GET: Final = re.compile(f"{_MODELS}(?:{_NAME})?{_WHICH}(?:/metadata)?")
_GREATEST_VERSION: Final = 2**63 - 1
_MOST_DIGITS: Final = len(str(_GREATEST_VERSION))


def servable_of(match: "re.Match[str]") -> ServableRequest | None:
    """The model that a path names, still percent-encoded there; None for the list.

    Raises:
        UnreadableName: the version does not fit 64 bits.
    """
    groups = match.groupdict()
    if "name" not in groups:
        return None
    version, label = groups["version"], groups["label"]
    return ServableRequest(
        name=unquote(groups["name"], errors="surrogateescape"),
        version=_version(version) if version else None,
        label=unquote(label, errors="surrogateescape") if label else None,
    )


def refusal(method: str, target: str) -> InvalidArgument:
    """What is wrong with a method and a target under `/v1/` that are no call; the hint helps."""
    match = _matched(method, target)
    if match is None:
        return _malformed(method, target)
    if match["version"]:
        try:
            _version(match["version"])
        except UnreadableName as error:
            return error
    if not match["name"]:
        return InvalidArgument("Missing model name in request.", hint=_GOOD_FORMS)
    return _malformed(method, target)


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


_CALL_IN_PATH: Final = re.compile(
    r"(?ia)(?P<model>/v1/models/[^:]*?)[/:]+(?P<call>predict|classify|regress)/?"
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
