"""Request targets: what of one is matched against the routes, and which are no URI at all.

Source: RFC 3986 as libevent 2.1 reads it (`evhttp_uri_parse` without flags), then TensorFlow
Serving `net_http/server/internal/evhttp_request.cc`, which joins path, query and fragment again.
"""

import re

__all__ = ["authority_of", "routed_part"]


def _run(characters: bytes) -> bytes:
    """A pattern for any number of these or of %XX; one way to match only, hence linear."""
    return rb"[%b]* (?: %%[0-9A-Fa-f]{2} [%b]* )*" % (characters, characters)


_NAME = rb"A-Za-z0-9\-._~!$&'()*+,;="
_URI = re.compile(
    rb"""
    (?: (?P<scheme> [A-Za-z][A-Za-z0-9+.\-]* ) : )?
    (?: // (?: USERINFO @ )?
        (?P<authority> (?: \[ [0-9A-Za-z:.]+ \] | HOST ) (?: : [0-9]* )? ) (?= [/?\#] | \Z )
      | (?! // ) )
    (?P<routed> (?P<path> PATH ) (?: \? QUERY )? (?: \# QUERY )? )
    """.replace(b"USERINFO", _run(_NAME + b":"))
    .replace(b"HOST", _run(_NAME))
    .replace(b"PATH", _run(_NAME + b":@/"))
    .replace(b"QUERY", _run(_NAME + b":@/?")),
    re.VERBOSE,
)


def routed_part(target: bytes) -> str | None:
    """Path, query and fragment of a request target, undecoded; None when it is no URI reference.

    The path of `http://host` is `/`, as RFC 9112 §3.2.2 has it.
    """
    found = _URI.fullmatch(target)
    if found is None:
        return None
    if found["scheme"] is None and b":" in found["path"].split(b"/", 1)[0]:
        return None
    routed = found["routed"].decode("ascii")
    return routed if found["path"] else "/" + routed


def authority_of(target: bytes) -> bytes | None:
    """`host[:port]` of a target in absolute form, which counts in place of the `Host` field.

    None for another form, and for what is no URI reference.
    """
    found = _URI.fullmatch(target)
    return None if found is None or found["scheme"] is None else found["authority"]
