"""Requests to web servers: a file, or parts of it, with errors in words of ours."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import httpx

from salver.config.remote import RemoteStore, store_for
from salver.errors import (
    STOPPING,
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    ServingError,
    Unavailable,
)
from salver.instruments.files import OsErrorsOf, read_regular
from salver.remote.deadlines import obey_deadlines, within
from salver.remote.errors import RangesIgnored, StoreBusy, error_of_status
from salver.remote.parts import RemoteFile
from salver.remote.places import shown
from salver.remote.redirects import is_of_prefix, redirected
from salver.remote.retry_after import seconds_of
from salver.sources.settings import SourceSettings

__all__ = ["HttpReader", "Web", "open_web"]

_MOST_REDIRECTS: Final = 5
_ERROR_BYTES: Final = 4096
_SECRET_BYTES: Final = 1 << 16
_AS_IT_IS: Final = "identity"
_PLAIN: Final = {"accept-encoding": _AS_IT_IS}


def open_web(
    store: RemoteStore,
    settings: SourceSettings,
    scheme: str,
    own_headers: Mapping[str, str] | None = None,
    stores: Sequence[RemoteStore] = (),
) -> "Web":
    """Make a client for what is below a prefix. Sends nothing.

    Args:
        store: says how it is reached.
        settings: are told of each request.
        scheme: under which they are counted.
        own_headers: of each request; in place of those that the credential file makes.
        stores: say how the places are reached that it redirects to.

    Raises:
        ServingError: a file that it takes cannot be read.
    """
    client = _opened(store, settings, scheme, own_headers)
    return Web(client, settings, scheme, store, stores)


def _opened(
    store: RemoteStore,
    settings: SourceSettings,
    scheme: str,
    own_headers: Mapping[str, str] | None = None,
) -> httpx.Client:
    verify: Any = True
    if store.ca_file:
        with OsErrorsOf(store.ca_file):
            authorities = read_regular(store.ca_file, 1 << 24)
        verify = ssl.create_default_context()
        try:
            verify.load_verify_locations(cadata=authorities.decode())
        except (ssl.SSLError, ValueError) as error:
            raise FailedPrecondition(f"{store.ca_file} holds no certificates") from error
    headers = {**(own_headers or {}), **_PLAIN}
    if own_headers is None and store.credential_file and not store.anonymous:
        with OsErrorsOf(store.credential_file):
            token = read_regular(store.credential_file, _SECRET_BYTES).decode(errors="replace")
        headers["authorization"] = f"Bearer {token.strip()}"
    try:
        client = httpx.Client(
            verify=verify,
            proxy=store.proxy or None,
            timeout=httpx.Timeout(settings.byte_timeout_s, connect=settings.connect_timeout_s),
            headers=headers,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=8),
        )
    except (httpx.InvalidURL, ValueError, ImportError):
        where = "the proxy in --remote_config_file" if store.proxy else "HTTP_PROXY or HTTPS_PROXY"
        raise FailedPrecondition(
            f"{store.prefix or f'{scheme}://'} cannot be opened: {where} is no URL of a proxy",
            hint="http://USER:PASSWORD@HOST:PORT is one; signs in the password as %40 for @.",
        ) from None  # whose text may hold the password
    return obey_deadlines(client)


class Web:
    """Requests to web servers. Safe to use from any thread."""

    def __init__(
        self,
        client: httpx.Client,
        settings: SourceSettings,
        scheme: str,
        store: RemoteStore,
        stores: Sequence[RemoteStore],
    ) -> None:
        """Only `open_web` makes them."""
        self._client = client
        self._settings = settings
        self._count = settings.count
        self._scheme = scheme
        self._store = store
        self._stores = stores
        self._allowed = () if scheme == "hf" else settings.allowed_base_paths
        self._opening = threading.Lock()  # guards what follows
        self._others: dict[RemoteStore, httpx.Client] = {}
        self._is_closed = False

    def close(self) -> None:
        """Close all connections."""
        with self._opening:
            self._is_closed = True
            others = tuple(self._others.values())
        for client in (self._client, *others):
            client.close()

    @contextmanager
    def answer(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] = _PLAIN,
        *,
        counted_as: str = "",
    ) -> Iterator[httpx.Response]:
        """The answer to a request, its body not read yet. Redirects are followed, to safe places.

        Args:
            method: of HTTP.
            url: see there.
            headers: of the request.
            counted_as: the operation that is counted; empty for the method.

        Raises:
            ServingError: there is no answer, or one that is an error.
        """
        operation = counted_as or method.lower()
        try:
            with ExitStack() as opened:
                with within(self._settings.timeout_s):
                    found = opened.enter_context(self._sent(method, url, headers))
                    if found.status_code >= 400:
                        raise self._error(found, url, operation)
                yield found
        except httpx.HTTPError as error:
            self._count(self._scheme, operation, "unreachable")
            raise Unavailable(f"{shown(url)} cannot be read: {_reason(error)}") from None
        except httpx.InvalidURL:
            raise InvalidArgument(f"{shown(url)} is no URL of a web server") from None
        except RuntimeError:  # of a client that was closed meanwhile
            if not self._is_closed:
                raise
            raise Unavailable(STOPPING) from None
        self._count(self._scheme, operation, "ok")

    def read_small(self, url: str, most_bytes: int, *, counted_as: str = "") -> bytes:
        """All of a small file, as it was sent: it is never unpacked.

        Args:
            url: of it.
            most_bytes: it may have.
            counted_as: see `answer`.

        Raises:
            ServingError: it cannot be read, is larger, or was packed on the way.
        """
        content = bytearray()
        with (
            within(self._settings.timeout_s),
            self.answer("GET", url, counted_as=counted_as) as found,
        ):
            if (coding := found.headers.get("content-encoding", _AS_IT_IS)) != _AS_IT_IS:
                raise FailedPrecondition(
                    f"{shown(url)} is sent compressed ({coding[:40]}), which was not asked for"
                )
            for chunk in found.iter_raw():
                content += chunk
                if len(content) > most_bytes:
                    raise FailedPrecondition(f"{shown(url)} is larger than {most_bytes} bytes")
        return bytes(content)

    @contextmanager
    def _sent(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        client, first = self._client, url
        for _ in range(_MOST_REDIRECTS + 1):
            with client.stream(method, url, headers=dict(headers)) as found:
                if not found.has_redirect_location:
                    yield found
                    return
                target = redirected(first, url, found.headers["location"], self._allowed)
            if client is not self._client or not is_of_prefix(self._store.prefix, url, target):
                client = self._other(target)
            url = target
        raise FailedPrecondition(f"{shown(first)} redirects without end")

    def _other(self, url: str) -> httpx.Client:
        """A client for another place: without credentials, and with certificates of that place."""
        its_own = store_for(self._stores, url)
        store = RemoteStore(proxy=its_own.proxy or self._store.proxy, ca_file=its_own.ca_file)
        with self._opening:
            if self._is_closed:
                raise Unavailable(STOPPING)
            if store not in self._others:
                self._others[store] = _opened(store, self._settings, self._scheme)
            return self._others[store]

    def _error(self, found: httpx.Response, url: str, operation: str) -> ServingError:
        self._count(self._scheme, operation, str(found.status_code))
        body = bytearray()
        for chunk in found.iter_raw():
            body += chunk
            if len(body) > _ERROR_BYTES:
                break
        text = bytes(body[:_ERROR_BYTES]).decode(errors="replace")
        error = error_of_status(f"{shown(url)} cannot be read", found.status_code, text)
        if isinstance(error, StoreBusy):
            error.retry_after_s = seconds_of(found.headers.get("retry-after", ""))
        return error


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy answers {error}"[:200]
    return str(error).partition("\n")[0][:200] or type(error).__name__


class HttpReader:
    """A `Reader` of files behind URLs."""

    def __init__(self, web: Web, url_of: Callable[[RemoteFile], str]) -> None:
        """Send nothing yet.

        Args:
            web: sends requests.
            url_of: where a file is.
        """
        self.has_ranges = True
        self._web = web
        self._url_of = url_of

    def read(self, file: RemoteFile, start: int, stop: int, chunk_bytes: int) -> Iterator[bytes]:
        """See `Reader`."""
        url, headers = self._url_of(file), dict(_PLAIN)
        is_part = start > 0 or stop < file.size
        if is_part:
            headers["range"] = f"bytes={start}-{stop - 1}"
            if file.etag and not file.etag.startswith("W/"):
                headers["if-range"] = file.etag
        with self._web.answer("GET", url, headers) as found:
            etag = found.headers.get("etag", "")
            if file.etag and etag and etag != file.etag:
                raise Aborted(f"{shown(url)} has changed since it was looked at")
            if is_part and found.status_code != 206:
                self.has_ranges = False
                raise RangesIgnored
            if is_part and not _is_range(found.headers.get("content-range", ""), start, stop):
                raise Unavailable(f"{shown(url)} answered another part than was asked for")
            yield from _gathered(found.iter_raw(), chunk_bytes)


def _gathered(pieces: Iterator[bytes], least_bytes: int) -> Iterator[bytes]:
    """The same in larger pieces."""
    gathered, count = [], 0
    for piece in pieces:
        gathered.append(piece)
        count += len(piece)
        if count >= least_bytes:
            yield b"".join(gathered)
            gathered, count = [], 0
    if gathered:
        yield b"".join(gathered)


def _is_range(header: str, start: int, stop: int) -> bool:
    unit, _, rest = header.partition(" ")
    return unit == "bytes" and rest.partition("/")[0] == f"{start}-{stop - 1}"
