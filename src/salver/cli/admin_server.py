"""The server that `salver admin` talks to: `/admin/v1/` over HTTP, by TCP or a Unix socket."""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import httpx

from salver.client.address import Tls, parse_address
from salver.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServingError,
    Unauthenticated,
    Unavailable,
    Unknown,
)
from salver.instruments.files import OsErrorsOf
from salver.instruments.redaction import redacted

__all__ = ["AdminServer", "Place", "model_path", "read_key"]

KEY_VARIABLE: Final = "SALVER_API_KEY"
_ROOT: Final = "/admin/v1"
_TIMEOUT_S: Final = 600.0  # a load may take long
_CONNECT_S: Final = 10.0
_MOST_TRIES: Final = 20
_ERRORS: Final[Mapping[int, type[ServingError]]] = {
    400: InvalidArgument,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Aborted,
    412: FailedPrecondition,
    429: ResourceExhausted,
    503: Unavailable,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, and how to get in.

    Attributes:
        url: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`.
        key: an API key, or a token; empty for none. It is shown nowhere.
        tls: how `https` is checked.
    """

    url: str
    key: str = field(default="", repr=False)
    tls: Tls = field(default_factory=Tls)


def read_key(path: str, environment: Mapping[str, str]) -> str:
    """The key of a file, or without one that of the environment; empty for none.

    Raises:
        ServingError: the file cannot be read, or holds no key.
    """
    if not path:
        return environment.get(KEY_VARIABLE, "").strip()
    with OsErrorsOf(redacted(path)):  # a key in its place
        key = Path(path).read_text(encoding="utf-8", errors="replace").strip()
    if not key or len(key.split()) != 1 or not key.isascii():
        raise InvalidArgument(f"{path} holds no key")
    return key


def model_path(name: str, more: str = "") -> str:
    """The path of a model, and what follows it."""
    return f"/models/{quote(name, safe='')}{more}"


class AdminServer:
    """Asks a server. To be used with `with`."""

    def __init__(self, place: Place) -> None:
        """Connect to nothing yet.

        Raises:
            InvalidArgument: the URL is none.
        """
        self._place = place
        self._client = _client(place)

    def __enter__(self) -> "AdminServer":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def read(self, path: str) -> dict[str, Any]:
        """What a path answers.

        Raises:
            ServingError: the server refuses, or cannot be reached.
        """
        return self._ask("GET", path)[0]

    def do(self, path: str) -> dict[str, Any]:
        """Act on a model; see `read`."""
        return self._ask("POST", path)[0]

    def change(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        is_dry_run: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Change something; see `read`.

        Args:
            method: PUT or DELETE.
            path: below `/admin/v1`.
            body: of bytes, or what is sent as JSON.
            is_dry_run: only find out whether it could be done.
            headers: such as `If-Match`.
        """
        query = "?validate=true" if is_dry_run else ""
        return self._ask(method, f"{path}{query}", body, headers)[0]

    def edit(
        self,
        path: str,
        edit: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        is_dry_run: bool = False,
    ) -> dict[str, Any]:
        """Read something and send it back changed, again where others were quicker; see `read`."""
        for tries in range(_MOST_TRIES):
            document, tag = self._ask("GET", path)
            body = edit(document["config"])
            try:
                return self.change(
                    "PUT", path, body, is_dry_run=is_dry_run, headers={"If-Match": tag}
                )
            except FailedPrecondition:
                if tries == _MOST_TRIES - 1:
                    raise
        raise AssertionError("the last try has an outcome")

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], str]:
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            answer = self._client.request(
                method, f"{_ROOT}{path}", content=content, headers=headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"{self._place.url} cannot be asked: {error}",
                hint="--server=URL is that of the port that administers the server: the gRPC port, "
                "or the one of --admin_port.",
            ) from None
        try:
            document = json.loads(answer.content)
        except ValueError:
            document = None
        if answer.status_code != 200 or not isinstance(document, dict):
            raise _error(answer.status_code, document)
        return document, answer.headers.get("ETag", "")


def _client(place: Place) -> httpx.Client:
    headers = {"Content-Type": "application/json"}
    if place.key:
        headers["Authorization"] = f"Bearer {place.key}"
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_S)
    if place.url.startswith("unix:"):
        path = "/" + place.url.removeprefix("unix:").lstrip("/")
        transport = httpx.HTTPTransport(uds=path)
        return httpx.Client(
            base_url="http://localhost", transport=transport, headers=headers, timeout=timeout
        )
    if not place.url.startswith(("http://", "https://")):
        raise InvalidArgument(
            f"{place.url!r} is no URL of a server",
            hint="http://HOST:PORT, https://HOST:PORT or unix:/PATH",
        )
    verify: ssl.SSLContext | bool = True
    if place.url.startswith("https://"):
        with OsErrorsOf(str(place.tls.ca or place.tls.certificate or "")):
            verify = place.tls.context()
    # No proxy can reach this machine.
    trust_env = not parse_address(place.url).is_loopback
    return httpx.Client(
        base_url=place.url.rstrip("/"),
        headers=headers,
        timeout=timeout,
        verify=verify,
        trust_env=trust_env,
    )


def _error(status: int, document: Any) -> ServingError:
    said = document if isinstance(document, dict) else {}
    text, hint = said.get("error"), said.get("hint")
    if not isinstance(text, str):
        text = f"The server answers {status}, and does not say why"
        hint = "Is it the port that administers a Salver server?"
    return _ERRORS.get(status, Unknown)(text, hint=hint if isinstance(hint, str) else None)
