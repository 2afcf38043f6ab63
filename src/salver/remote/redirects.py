"""Where a web server may redirect to, and whether that is a place of which the same is known. Pure.

A server decides where it redirects to, and so may whoever writes to it. What is told to a server
that has been named, such as a token, is told to no other one.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx

from salver.errors import InvalidArgument, PermissionDenied
from salver.instruments.uris import CanonicalUri, canonical_uri
from salver.remote.places import shown

__all__ = ["is_of_prefix", "redirected"]

_WEB: Final = ("http", "https")
_ANY: Final = "*"


def redirected(first: str, url: str, location: str, allowed: Iterable[str] = ()) -> str:
    """Where a URL redirects to.

    Args:
        first: the URL that was asked for, before any redirect.
        url: the one that redirects.
        location: what it says.
        allowed: of `--allowed_base_paths`. What stands below one of these is redirected to what
            does as well, since a request may have named it.

    Raises:
        InvalidArgument: no web server, or one that is less safe.
        PermissionDenied: out of what is allowed.
    """
    try:
        target = urljoin(url, location)
        before, after = urlsplit(url).scheme, urlsplit(target).scheme
        httpx.URL(target)
    except (ValueError, httpx.InvalidURL):
        raise InvalidArgument(f"{shown(url)} redirects to what is no URL") from None
    if after not in _WEB or (before, after) == ("https", "http"):
        raise InvalidArgument(f"{shown(url)} redirects to {after}://, which is refused")
    if not _is_allowed(first, target, allowed):
        raise PermissionDenied(
            f"{shown(url)} redirects to {shown(target)}, which is below none of the places of "
            "--allowed_base_paths",
            hint="Name that place there too, if models may come from it.",
        )
    return target


def is_of_prefix(prefix: str, url: str, target: str) -> bool:
    """Whether what is known of a URL is meant for where it redirects to: that host, that prefix.

    Args:
        prefix: of `--remote_config_file`, for which the URL is reached as it is; may be empty, or
            of a hub.
        url: redirects.
        target: to this.
    """
    before, after = canonical_uri(url), _place(target)
    if (before.scheme, before.parts[:1]) != (after.scheme, after.parts[:1]):
        return False
    above = canonical_uri(prefix)
    return above.scheme not in _WEB or (after.is_definite and after.is_within(above))


def _is_allowed(first: str, target: str, allowed: Iterable[str]) -> bool:
    texts = [text.strip() for text in allowed]
    if _ANY in texts:
        return True
    places = [place for place in map(canonical_uri, texts) if place.scheme in _WEB]
    asked, found = canonical_uri(first), _place(target)
    if not any(asked.is_within(place) for place in places):
        return True
    return found.is_definite and any(found.is_within(place) for place in places)


def _place(target: str) -> CanonicalUri:
    """Without what is behind the path, which signed URLs have."""
    return canonical_uri(target.partition("#")[0].partition("?")[0])
