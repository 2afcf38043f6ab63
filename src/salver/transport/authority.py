"""Whom a request says it is for: the `Host` field, or what stands in its place.

Source: RFC 9112 §3.2 and §3.3; RFC 3986 §3.2.2 for the form.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["Address", "address_of", "host_and_port", "host_fault"]

Address = IPv4Address | IPv6Address

_AUTHORITY = re.compile(
    rb"(?P<host> \[[0-9A-Za-z:.]+\] | N*(?:%[0-9A-Fa-f]{2}N*)* ) (?: : (?P<port>[0-9]*) )?".replace(
        b"N", rb"[A-Za-z0-9\-._~!$&'()*+,;=]"
    ),
    re.VERBOSE,
)


def host_fault(values: Sequence[bytes], *, is_needed: bool) -> str | None:
    """What is wrong with the `Host` of a request; None where nothing is.

    Args:
        values: of all its fields of that name.
        is_needed: whether there must be one; HTTP/1.0 does without.
    """
    if not values:
        return "the request has no Host field" if is_needed else None
    if len(values) > 1:
        return "the request has more than one Host field"
    return None if _AUTHORITY.fullmatch(values[0]) else "the Host field is not NAME[:PORT]"


def host_and_port(authority: bytes) -> tuple[str, str] | None:
    """The host, in lower case and without brackets or a dot at its end, and the port, if any.

    None for what is no `host[:port]`.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return None
    host = found["host"].decode("ascii").lower()
    port = (found["port"] or b"").decode("ascii")
    return host.removeprefix("[").removesuffix("]").removesuffix("."), port


def address_of(host: str) -> Address | None:
    """The address that a host is, IPv4 where IPv6 only wraps it; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
