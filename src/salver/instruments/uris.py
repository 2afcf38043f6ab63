"""URIs in the one form by which they are compared: whatever spells one place has one form. Pure.

Whether a place may be named, whether it is trusted, how it is reached and who else is served from
it is all judged by this form, so that no spelling is one place for one of these and another for the
next.

Source: RFC 3986 §6.2.2 and §6.2.3, what is equal in any URI, and in one of a web server.
"""

import re
import string
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

__all__ = ["CanonicalUri", "canonical_uri", "first_name", "has_dots"]

_FIRST_NAMES: Final = {"gcs": "gs", "abfss": "abfs"}
_STORES: Final = frozenset({"s3", "gs", "az", "abfs", "http", "https", "hf"})
"""Their URIs begin with a host or a bucket; those of plug-ins may have an empty one."""

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_DOTS: Final = frozenset({".", ".."})
_MOST_ENCODED: Final = 3  # times; whoever does it more often has something to hide
_ODD: Final = re.compile(r"[\x00-\x20\x7f\\?#]")  # by which readers of URIs take them differently
_ENCODED: Final = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")


@dataclass(frozen=True, slots=True)
class CanonicalUri:
    """A URI as it is compared.

    Attributes:
        scheme: in small letters, and that of several names which counts: `gs` for `gcs`.
        parts: the host or bucket, which only a plug-in may have empty, and the names in the path,
            of which none is empty.
        is_definite: whether every reader takes it for the same place. No: one with `.` or `..`, be
            they encoded, or with a character by which readers differ, or of a store without a host
            or bucket.
    """

    scheme: str
    parts: tuple[str, ...]
    is_definite: bool

    def is_within(self, other: "CanonicalUri") -> bool:
        """Whether it names what another one does, or something below that."""
        return self.scheme == other.scheme and self.parts[: len(other.parts)] == other.parts


def first_name(scheme: str) -> str:
    """A scheme in small letters, and by that of several names which counts."""
    lower = scheme.lower()
    return _FIRST_NAMES.get(lower, lower)


@lru_cache(maxsize=4096)  # a few prefixes are compared with each of many base paths
def canonical_uri(uri: str) -> CanonicalUri:
    """Bring a URI into the form by which it is compared. Nothing is reached by that form.

    Args:
        uri: with a scheme, as `scheme_of` finds one.
    """
    named, _, rest = uri.partition("://")
    scheme = first_name(named)
    authority, _, path = rest.partition("/")
    names = path.split("/")
    if scheme in _DEFAULT_PORTS:
        names = [_ENCODED.sub(_as_equal, name) for name in names]
    place = _authority(scheme, authority)
    parts = tuple(filter(None, names))
    if place or (path and scheme not in _STORES):
        parts = (place, *parts)
    has_place = bool(place) or scheme not in _STORES
    return CanonicalUri(scheme, parts, has_place and _is_definite(rest))


def _authority(scheme: str, authority: str) -> str:
    """The host or bucket: in small letters and without the usual port where it is a host."""
    if scheme in _DEFAULT_PORTS:
        host = authority.lower().removesuffix(_DEFAULT_PORTS[scheme])
        return host.removesuffix(":").removesuffix(".")
    return authority


def _as_equal(encoded: re.Match[str]) -> str:
    """A character that need not be encoded as itself; another one in capital letters."""
    character = chr(int(encoded[0][1:], 16))
    return character if character in _UNRESERVED else encoded[0].upper()


def has_dots(uri: str) -> bool:
    """Whether a URI has `.` or `..` among its names, be they encoded, or split by backslashes.

    What is encoded more than twice counts as if it had.
    """
    plain = _plain(uri)
    return plain is None or not _DOTS.isdisjoint(plain.replace("\\", "/").split("/"))


def _plain(text: str) -> str | None:
    """Without encoded characters; None where they are encoded again and again."""
    for _ in range(_MOST_ENCODED):  # a store may decode what was encoded twice
        plain = unquote(text)
        if plain == text:
            return plain
        text = plain
    return text if unquote(text) == text else None


def _is_definite(rest: str) -> bool:
    plain = _plain(rest)
    return plain is not None and _ODD.search(plain) is None and not has_dots(rest)
