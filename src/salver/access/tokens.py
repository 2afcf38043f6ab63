"""JSON Web Tokens (RFC 7519, and RFC 8725 for what to beware of): whose a token is.

Nothing in a token chooses how it is checked: its issuer has to be one of the configuration, which
pins the algorithms; keys come from the issuer's key set alone, and a key checks only signatures
that are of its kind. `jku`, `jwk` and `x5u` in a token are not looked at.
"""

import base64
import binascii
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from salver.access.key_sets import KeySet, is_signed
from salver.config.auth import JwtIssuer
from salver.errors import Unauthenticated, Unavailable
from salver.vocabulary.access import Principal, Role

__all__ = ["NO_ROLE", "KeysAwaited", "NoKeys", "Trusted", "UnknownKey", "Verified", "verify"]

_MOST_TOKEN_BYTES: Final = 1 << 13  # nginx's and Tomcat's whole head
_TOKEN: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_MOST_NAME_CHARS: Final = 256
_MOST_ROLES: Final = 1000
_LAST_S: Final = 253402300799  # the end of the year 9999
NO_ROLE: Final = Role("", models=())
"""Of a token that names no role of the configuration: it may do what anybody may."""


class KeysAwaited(Exception):
    """Mixed into errors: keys of an issuer are being fetched, and may change what was decided.

    Attributes:
        url: of the key set.
    """

    url: str = ""


class UnknownKey(Unauthenticated, KeysAwaited):
    """No key of the issuer's is the one that a token names; it may be a new one."""


class NoKeys(Unavailable, KeysAwaited):
    """The key set of an issuer could not be fetched yet, or very many wait for that."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """An issuer and its keys.

    Attributes:
        issuer: as the configuration has it.
        keys: None while they could not be fetched.
    """

    issuer: JwtIssuer
    keys: KeySet | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good token says.

    Attributes:
        principal: whose it is.
        until_s: when it is no more taken, in seconds since the epoch.
    """

    principal: Principal
    until_s: float


def verify(
    token: bytes,
    trusted: Sequence[Trusted],
    roles: Mapping[str, Role],
    now_s: float,
    *,
    taken: Container[str] = (),
) -> Verified:
    """Whose a token is.

    Args:
        token: as it was shown.
        trusted: the issuers whose tokens are taken.
        roles: by their names.
        now_s: seconds since the epoch.
        taken: names of principals that are none of a token.

    Raises:
        Unauthenticated: it is no good token. The text says why as far as it was signed, and quotes
            nothing of it.
        UnknownKey: none of the keys is the one that it names.
        NoKeys: there are no keys yet.
    """
    header, claims, content, signature = _parts(token)
    algorithm, id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(id, str) or "crit" in header:
        raise _wrong()
    name = claims.get("iss")
    known = [each for each in trusted if each.issuer.issuer == name]
    fitting = [each for each in known if algorithm in each.issuer.algorithms]
    if not fitting:
        raise _wrong()
    signed = [each for each in fitting if _is_signed_by(each, algorithm, id, content, signature)]
    if not signed:
        raise _unsigned(fitting, algorithm, id)
    audiences = claims.get("aud")
    meant = audiences if isinstance(audiences, list) else [audiences]
    for each in signed:
        if each.issuer.audience in meant:
            found = _checked(claims, each.issuer, roles, now_s)
            # Two issuers, and who makes keys here, may give the same name to two people.
            if found.principal.name in taken or any(one.issuer.issuer != name for one in trusted):
                full_name = f"{found.principal.name} ({name})"
                return Verified(replace(found.principal, name=full_name), found.until_s)
            return found
    raise Unauthenticated("The token is for another audience")


def _parts(token: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header and claims, which nobody has signed yet; what was signed; the signature."""
    found = _TOKEN.fullmatch(token) if len(token) <= _MOST_TOKEN_BYTES else None
    if found is None:
        raise _wrong()
    try:
        header, claims = orjson.loads(_decoded(found[1])), orjson.loads(_decoded(found[2]))
        signature = _decoded(found[3])
    except (ValueError, binascii.Error):
        raise _wrong() from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _wrong()
    return header, claims, token[: found.end(2)], signature


def _decoded(part: bytes) -> bytes:
    content = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(content).rstrip(b"=") != part:  # bits that say nothing are set
        raise ValueError
    return content


def _is_signed_by(
    trusted: Trusted, algorithm: str, id: str, content: bytes, signature: bytes
) -> bool:
    if trusted.keys is None:
        return False
    keys = trusted.keys.candidates(id, algorithm)
    return any(is_signed(key, algorithm, content, signature) for key in keys)


def _unsigned(fitting: Sequence[Trusted], algorithm: str, id: str) -> Exception:
    """Why no key has signed it: a wrong signature, or a key that is not known (yet)."""
    for each in fitting:
        if each.keys is None:
            error: UnknownKey | NoKeys = NoKeys("The keys of the token's issuer cannot be had now")
        elif id and not each.keys.candidates(id, algorithm):
            error = UnknownKey("The key of the token is not known")
        else:
            continue
        error.url = each.issuer.jwks_url
        return error
    return _wrong()


def _checked(
    claims: Mapping[str, Any], issuer: JwtIssuer, roles: Mapping[str, Role], now_s: float
) -> Verified:
    """What the claims of a token with a good signature say."""
    expires_s = _time(claims, "exp")
    if expires_s is None:
        raise Unauthenticated("The token has no end (exp)")
    if now_s >= expires_s + issuer.leeway_s:
        raise Unauthenticated("The token has expired")
    for claim in ("nbf", "iat"):
        begins_s = _time(claims, claim)
        if begins_s is not None and begins_s > now_s + issuer.leeway_s:
            raise Unauthenticated(f"The token is not good yet ({claim})")
    subject = _claim(claims, issuer.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= _MOST_NAME_CHARS:
        raise Unauthenticated("The token names no subject")
    if not subject.isprintable():  # it stands in logs
        raise Unauthenticated("The subject of the token has characters that cannot be printed")
    role = next(
        (roles[each] for each in _names(_claim(claims, issuer.role_claim)) if each in roles),
        NO_ROLE,
    )
    return Verified(Principal(subject, "jwt", role), expires_s + issuer.leeway_s)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LAST_S:
        raise Unauthenticated(f"The token has a wrong time ({name})")
    return float(value)


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """A claim by its name; else, of `a.b`, what is `b` within `a`."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _names(value: object) -> Iterator[str]:
    """The roles that a claim names: one, a list of them, or a text of several with blanks."""
    found = value.split() if isinstance(value, str) else value
    if isinstance(found, list):
        yield from (each for each in found[:_MOST_ROLES] if isinstance(each, str))


def _wrong() -> Unauthenticated:
    return Unauthenticated("The token is not valid")
