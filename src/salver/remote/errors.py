"""What stores say, as errors of ours: the one table, and what of their words a person may read.

A store's answer may repeat what was signed, and a URL may be signed itself, so of an answer only
its code and its sentence are kept, and of a URL nothing behind its path.
"""

import re
from dataclasses import dataclass
from typing import Final

from salver.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServingError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)

__all__ = [
    "Answer",
    "RangesIgnored",
    "StoreBusy",
    "error_of_answer",
    "error_of_status",
    "is_transient",
    "read_answer",
]


class StoreBusy(Unavailable):
    """A store has too much to do.

    Attributes:
        retry_after_s: when it wants to be asked again, in seconds; 0 where it does not say.
    """

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = 0.0


class RangesIgnored(Exception):
    """A store answers the whole file where a part of it was asked for."""


_OF_STATUS: Final[dict[int, type[ServingError]]] = {
    400: InvalidArgument,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    409: Aborted,
    410: NotFound,
    412: Aborted,
    416: Aborted,
    429: StoreBusy,
    501: Unimplemented,
    503: StoreBusy,
}
_OF_CLASS: Final[dict[str, type[ServingError]]] = {
    "AlreadyExistsError": Aborted,
    "FileNotFoundError": NotFound,
    "InvalidPathError": InvalidArgument,
    "JoinError": Unavailable,
    "NotFoundError": NotFound,
    "NotImplementedError": Unimplemented,
    "NotModifiedError": Aborted,
    "NotSupportedError": Unimplemented,
    "PermissionDeniedError": PermissionDenied,
    "PreconditionError": Aborted,
    "UnauthenticatedError": Unauthenticated,
    "UnknownConfigurationKeyError": FailedPrecondition,
    "ValueError": InvalidArgument,
}
# What the library says at the end of a chain of causes → what a person is told.
_CAUSES: Final = (
    ("ProxyAuthRequired", "the proxy wants another login, or one"),
    ("TunnelUn", "the proxy does not reach it"),
    ("ConnectionRefused", "nobody listens there"),
    ("ConnectionReset", "the connection was reset"),
    ("IncompleteMessage", "the connection was closed before an answer"),
    ("UnexpectedEof", "the connection was closed in the middle of an answer"),
    ("end of file before message", "the connection was closed in the middle of an answer"),
    ("IncompleteBody", "the connection was closed in the middle of an answer"),
    ("failed to lookup address", "its name cannot be resolved"),
    ("dns error", "its name cannot be resolved"),
    ("UnknownIssuer", "its certificate is of an unknown authority"),
    ("NotValidForName", "its certificate is for another name"),
    ("invalid peer certificate", "its certificate is not valid"),
    ("InvalidContentType", "it does not speak TLS"),
    ("TimedOut", "no answer in time"),
    ("NetworkUnreachable", "the network cannot be reached"),
    ("HostUnreachable", "the host cannot be reached"),
)
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([\w.\-]{1,80})</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<\n]{1,300})")
_JSON_MESSAGE: Final = re.compile(r'"message"\s*:\s*"([^"\\]{1,300})"')
_TO_PROXY: Final = "ConnectFailed("  # around the cause, where a tunnel was wanted
_LOGIN: Final = re.compile(r"(?<=://)[^/\s]*@")
_URL: Final = re.compile(r"https?://[^\s\"'<>]+")
_CREDENTIALS: Final = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal")


@dataclass(frozen=True, slots=True)
class Answer:
    """Why a request failed.

    Attributes:
        status: of HTTP; 0 where there was no answer.
        kind: which error of ours it is.
        reason: for a person.
        label: for the metrics page: the status, or a word.
        url: of the request, without what may be secret; empty where that is not known.
    """

    status: int
    kind: type[ServingError]
    reason: str
    label: str
    url: str = ""


def read_answer(error: Exception) -> Answer:
    """What an error of the library says."""
    text = str(error)
    said = text.partition("\n\nDebug source")[0]
    found = _STATUS.search(said)
    url = _URL.search(said)
    shown_url = url[0].partition("?")[0].rstrip(",") if url else ""
    kind = _OF_CLASS.get(type(error).__name__)
    if _CREDENTIALS.search(said):
        reason = "no credentials were found, not from the instance's metadata either"
        return Answer(0, Unauthenticated, reason, "no_credentials", shown_url)
    if found is not None:
        return _with_status(int(found[1]), said[found.end() :], kind, shown_url)
    if "redirect" in said and "region" in said:
        reason = "the bucket is in another region: set AWS_REGION"
        return Answer(301, FailedPrecondition, reason, "301", shown_url)
    if kind is not None:
        return Answer(0, kind, _plain(said), type(error).__name__.removesuffix("Error").lower(), "")
    for sign, reason in _CAUSES:
        if sign in text:
            by = "the proxy cannot be reached: " if _TO_PROXY in text else ""
            return Answer(0, Unavailable, f"{by}{reason}{_at(shown_url)}", "unreachable", shown_url)
    if "HTTP error" in said or "error sending request" in said or "timed out" in text:
        return Answer(0, Unavailable, f"no answer{_at(shown_url)}", "unreachable", shown_url)
    return Answer(0, Unknown, _plain(said), "error", shown_url)


def error_of_status(what: str, status: int, body: str) -> ServingError:
    """The error of a request that was answered so.

    Args:
        what: see `error_of_answer`.
        status: of HTTP.
        body: the beginning of what came with it.
    """
    return error_of_answer(what, _with_status(status, body, None, ""))


def _with_status(status: int, body: str, kind: type[ServingError] | None, url: str) -> Answer:
    code, message = _CODE.search(body), _MESSAGE.search(body) or _JSON_MESSAGE.search(body)
    words = [str(status), *([code[1]] if code else ())]
    reason = " ".join(words) + (f": {message[1].strip()}" if message else "")
    if status not in _OF_STATUS and status >= 500:
        kind = Unavailable
    return Answer(status, _OF_STATUS.get(status, kind or Unknown), reason, str(status), url)


def _at(url: str) -> str:
    host = "/".join(url.split("/")[:3])
    return f" ({host})" if host else ""


def _plain(said: str) -> str:
    """The first line, without what may be secret."""
    line = _LOGIN.sub("", said.strip().partition("\n")[0])
    line = _URL.sub(lambda url: url[0].partition("?")[0], line)
    return line[:300]


def error_of_answer(what: str, answer: Answer, tried: str = "") -> ServingError:
    """The error of a request.

    Args:
        what: could not be done, such as `s3://bucket/models cannot be listed`.
        answer: why.
        tried: the credentials that were, in words; told where they may be the reason.
    """
    is_about_credentials = answer.kind in (Unauthenticated, PermissionDenied)
    by = f" (tried {tried})" if tried and is_about_credentials else ""
    return answer.kind(f"{what}: {answer.reason}{by}")


def is_transient(error: ServingError) -> bool:
    """Whether another try may mend it soon."""
    return isinstance(error, (Unavailable, DeadlineExceeded)) and not error.is_final
