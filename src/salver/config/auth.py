"""`--auth_config_file`: who may do what, as far as that stands in one file.

Keys and the keys of issuers of tokens stand in files of their own, which are read by
`salver.access`, again and again.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from salver._pb import message_class
from salver.config.structured import Places, fill, read_document
from salver.config.text_format import (
    Misplaced,
    ending_of,
    message_of_text,
    read_file,
    wrong_file,
)
from salver.errors import InvalidArgument
from salver.vocabulary.access import ANONYMOUS, Priority, Role, Verb

__all__ = ["ALGORITHMS", "AuthConfig", "JwtIssuer", "parse_auth_config", "read_auth_config"]

_MESSAGE: Final = "salver.AuthConfig"

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)
"""Of signatures, as RFC 7518 and RFC 8037 call them. Those with a shared secret (HS256) are not
among them: whoever can check such a token could make one."""

_NAME: Final = re.compile(r"[!-~]{1,64}")  # stands in lines of the key file, between blanks
_LEEWAY_S: Final = 60
_MOST_LEEWAY_S: Final = 600
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class JwtIssuer:
    """Whose tokens are taken.

    Attributes:
        issuer: the claim `iss`.
        audience: that has to be among the claim `aud`.
        jwks_file: its public keys, an absolute path; empty where they are at `jwks_url`.
        jwks_url: where they are fetched; empty where they are in a file.
        algorithms: that its signatures may be of.
        subject_claim: names the principal.
        role_claim: names its role.
        leeway_s: by how much its clock and ours may differ.
    """

    issuer: str
    audience: str
    jwks_file: str
    jwks_url: str
    algorithms: tuple[str, ...]
    subject_claim: str = "sub"
    role_claim: str = "roles"
    leeway_s: int = _LEEWAY_S


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """What the file says.

    Attributes:
        path: of the file itself, absolute.
        anonymous: what requests without credentials may do, and so everybody.
        key_file: of API keys, an absolute path; empty for none.
        issuers: of tokens.
        certificates: alternative name of a client's certificate → its role.
        roles: by their names.
    """

    path: str
    anonymous: Role = field(default_factory=lambda: Role(ANONYMOUS))
    key_file: str = ""
    issuers: tuple[JwtIssuer, ...] = ()
    certificates: Mapping[str, Role] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)


def read_auth_config(path: str) -> AuthConfig:
    """Read the file: text protobuf, or YAML or JSON by its ending.

    Raises:
        InvalidArgument: it is no such file, or says what makes no sense.
        ServingError: it cannot be read.
    """
    return parse_auth_config(read_file(path), path)


def parse_auth_config(content: bytes, path: str) -> AuthConfig:
    """The same of what was read.

    Raises:
        InvalidArgument: see `read_auth_config`.
    """
    try:
        message = _message(content, ending_of(path))
    except Misplaced as error:
        form = ending_of(path).lstrip(".").upper() or "text-format"
        raise wrong_file(error, path, _MESSAGE, form) from error
    try:
        return _config(message, os.path.abspath(path))
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from None


def _message(content: bytes, ending: str) -> Any:
    if not ending:
        return message_of_text(content, _MESSAGE)
    message = message_class(_MESSAGE)()
    document = read_document(content, ending)
    if document is None or document.value is None:
        return message
    if isinstance(document.value, dict):
        _, schema = document.value.pop("schema", (None, None))
        if schema is not None and (schema.value != 1 or isinstance(schema.value, bool)):
            raise schema.wrong("schema must be 1")
    places: Places = {}
    fill(message, document, places)
    for role, where in [
        (message.anonymous, ("anonymous", "models")),
        *((message.roles[name], ("roles", name, "models")) for name in message.roles),
    ]:
        # To leave it out means any model, so that no model must not be said by an empty list.
        if where in places and not role.models:
            raise Misplaced(*places[where], "models must name one at least; left out it is any")
    return message


def _config(message: Any, path: str) -> AuthConfig:
    root = os.path.dirname(path)
    if ANONYMOUS in message.roles:  # who shows no credentials would have it
        raise ValueError(f"a role cannot be named {ANONYMOUS}: that is the field beside roles")
    roles = {name: _role(name, message.roles[name]) for name in sorted(message.roles)}
    key_file = message.api_keys.file
    if message.HasField("api_keys") and not key_file:
        raise ValueError("api_keys needs a file")
    issuers = tuple(_issuer(entry, root) for entry in message.jwt)
    kinds = [(each.issuer, each.audience) for each in issuers]
    if twice := next((each for each in kinds if kinds.count(each) > 1), None):
        raise ValueError(f"the issuer {twice[0]} is there twice for the audience {twice[1]}")
    certificates: dict[str, Role] = {}
    for entry in message.mtls:
        name = entry.subject_alt_name
        if not name:
            raise ValueError("mtls needs a subject_alt_name")
        if name in certificates:
            raise ValueError(f"the subject_alt_name {name} is there twice")
        if entry.role not in roles:
            raise ValueError(f'the role "{entry.role}" of {name} is none of roles')
        certificates[name] = roles[entry.role]
    anonymous = _role(ANONYMOUS, message.anonymous)
    return AuthConfig(path, anonymous, _beside(root, key_file), issuers, certificates, roles)


def _role(name: str, entry: Any) -> Role:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a role's name has 1 to 64 visible ASCII characters, not {name!r}")
    if not all(entry.models):
        raise ValueError(f"the role {name} names a model without a name")
    rate, burst = math.inf, 1
    if entry.HasField("requests_per_second"):
        rate = entry.requests_per_second
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"requests_per_second of the role {name} must be positive, not {rate}")
        burst = max(1, math.ceil(rate))
    if entry.HasField("burst"):
        burst = entry.burst
        if burst < 1 or rate == math.inf:
            raise ValueError(
                f"burst of the role {name} must be positive, and beside requests_per_second"
            )
    if entry.max_concurrent_requests < 0:
        raise ValueError(f"max_concurrent_requests of the role {name} must be from 0 up")
    return Role(
        name,
        tuple(entry.models) or ("*",),
        frozenset(_verb(name, text) for text in entry.verbs),
        rate,
        burst,
        entry.max_concurrent_requests,
        _priority(name, entry.priority),
    )


def _verb(role: str, text: str) -> Verb:
    try:
        return Verb(text)
    except ValueError:
        known = ", ".join(verb.value for verb in Verb)
        raise ValueError(f"the role {role} has the verb {text!r}, none of {known}") from None


def _priority(role: str, text: str) -> Priority:
    try:
        return Priority(text or Priority.INTERACTIVE.value)
    except ValueError:
        known = " or ".join(each.value for each in Priority)
        raise ValueError(f"priority of the role {role} must be {known}, not {text!r}") from None


def _issuer(entry: Any, root: str) -> JwtIssuer:
    name = entry.issuer
    if not name or not entry.audience:
        raise ValueError("jwt needs an issuer and an audience")
    if bool(entry.jwks_file) == bool(entry.jwks_url):
        raise ValueError(f"the issuer {name} needs one of jwks_file and jwks_url")
    if entry.jwks_url:
        _check_url(entry.jwks_url)
    if not entry.algorithms:
        raise ValueError(f"the issuer {name} needs algorithms, such as [RS256, ES256]")
    for algorithm in entry.algorithms:
        if algorithm not in ALGORITHMS:
            known = ", ".join(ALGORITHMS)
            raise ValueError(f"the issuer {name} has the algorithm {algorithm!r}, none of {known}")
    leeway_s = entry.leeway_seconds if entry.HasField("leeway_seconds") else _LEEWAY_S
    if not 0 <= leeway_s <= _MOST_LEEWAY_S:
        raise ValueError(f"leeway_seconds of {name} must be from 0 to {_MOST_LEEWAY_S}")
    return JwtIssuer(
        name,
        entry.audience,
        _beside(root, entry.jwks_file),
        entry.jwks_url,
        tuple(entry.algorithms),
        entry.subject_claim or "sub",
        entry.role_claim or "roles",
        leeway_s,
    )


def _check_url(url: str) -> None:
    """Refuse a URL by which somebody on the way could hand us keys of theirs."""
    try:
        parts = urlsplit(url)
        scheme, host, has_user = parts.scheme, parts.hostname, "@" in parts.netloc
    except ValueError:
        scheme, host, has_user = "", None, False
    if has_user:  # which would stand in logs
        raise ValueError("jwks_url must not hold a user or a password")
    if not host or not (scheme == "https" or (scheme == "http" and host in _LOOPBACK)):
        raise ValueError(f"jwks_url must begin with https://, beyond this machine, not {url}")


def _beside(root: str, path: str) -> str:
    return os.path.join(root, os.path.expanduser(path)) if path else ""
