"""Where a server is, and how it is spoken to: the URL that a client is given."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from salver.errors import InvalidArgument

__all__ = ["Address", "Tls", "headers_with_key", "parse_address"]

_REST_SCHEMES = {"http": False, "https": True}
_GRPC_SCHEMES = {"grpc": False, "grpcs": True}
_GRPC_PORT = 8500
_KEY = re.compile("[!-~]+")
_AUTHORIZATION = "authorization"
_FORMS = (
    "http://HOST:PORT or https://HOST:PORT for REST, grpc://HOST:PORT, grpcs://HOST:PORT or "
    "unix:/PATH for gRPC"
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How a secure connection proves who is who; of use with `https:` and `grpcs:`.

    Attributes:
        ca: PEM file of the authorities to trust; None for those the system trusts.
        certificate: PEM file of the client's own certificate, where the server asks for one.
        key: PEM file of its private key.
        is_verified: whether the server's certificate is checked; REST alone can do without.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    is_verified: bool = True

    def context(self) -> ssl.SSLContext:
        """For HTTP.

        Raises:
            OSError: a file cannot be read, or is no PEM.
        """
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        if not self.is_verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """A server.

    Attributes:
        is_grpc: rather than REST.
        is_secure: over TLS.
        target: of REST the URL up to `/v1`, without the slash; of gRPC what a channel takes.
        connect_s: how long it may take to connect, where another server can be asked; None: as long
            as the request.
    """

    is_grpc: bool
    is_secure: bool
    target: str
    connect_s: float | None = field(default=None, compare=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, which no proxy can reach."""
        if self.target.startswith("unix:"):
            return True
        host = urlsplit(self.target if "//" in self.target else f"//{self.target}").hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def parse_address(url: str) -> Address:
    """Read the URL of a server.

    Raises:
        InvalidArgument: it is none; the hint says what is.
    """
    if url.startswith("unix:"):
        return Address(is_grpc=True, is_secure=False, target=_socket(url))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidArgument(f"{url!r} is no URL of a server: {error}", hint=_FORMS) from None
    if not host or parts.query or parts.fragment:
        raise InvalidArgument(f"{url!r} is no URL of a server", hint=_FORMS)
    shown = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    if parts.scheme in _GRPC_SCHEMES and not path:
        return Address(True, _GRPC_SCHEMES[parts.scheme], f"{shown}:{port or _GRPC_PORT}")
    if parts.scheme in _REST_SCHEMES:
        for version in ("v1", "v2"):
            if f"/{version}/" in f"{path}/":
                raise InvalidArgument(
                    f"{url!r} names a call: give the part before /{version} and name the model in "
                    "the call"
                )
        netloc = parts.netloc
        return Address(False, _REST_SCHEMES[parts.scheme], f"{parts.scheme}://{netloc}{path}")
    raise InvalidArgument(f"{url!r} is no URL of a server", hint=_FORMS)


def _socket(url: str) -> str:
    path = url.removeprefix("unix:")
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if not path.strip("/"):
        raise InvalidArgument(f"{url!r} names no socket", hint=_FORMS)
    return f"unix:{path}"


def headers_with_key(headers: Mapping[str, str] | None, api_key: str | None) -> Mapping[str, str]:
    """What is sent with each call: header fields, and the key of who asks.

    Raises:
        InvalidArgument: the key is none, or there are two. The text does not quote it.
    """
    given = headers or {}
    if api_key is None:
        return given
    key = api_key.strip()
    if not _KEY.fullmatch(key):
        raise InvalidArgument("The api_key is empty, or has characters that no key has")
    if any(name.lower() == _AUTHORIZATION for name in given):
        raise InvalidArgument("Give a key as api_key, or a header Authorization, not both")
    return {**given, _AUTHORIZATION: f"Bearer {key}"}
