"""The public keys of an issuer of tokens: a JSON Web Key Set (RFC 7517), read whole.

What cannot check a signature that we take is passed over, since issuers publish keys for other ends
beside it. A set without any other key is a good one: its issuer has withdrawn all. `PyJWT` and
`cryptography` are imported here alone, when an issuer is configured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson

from salver.errors import InvalidArgument, NotInstalled

__all__ = ["MOST_BYTES", "KeySet", "SigningKey", "is_signed", "no_keys", "parse_key_set", "require"]

MOST_BYTES: Final = 1 << 20
"""Of a key set."""

_EXTRA: Final = "auth"
_MOST_KEYS: Final = 200
_MOST_TRIES: Final = 8  # of keys for one token; a signature takes 0.1 ms
_LEAST_RSA_BITS: Final = 2048  # NIST SP 800-131A
_OF_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVE: Final = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
}
_SAME: Final = {"Ed25519": "EdDSA", "Ed448": "EdDSA"}  # names of RFC 9864
_SECRET_PARTS: Final = ("d", "p", "q", "k")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key.

    Attributes:
        id: the `kid`, by which tokens name it; empty for none.
        algorithms: of signatures that it may check.
        key: of `cryptography`.
    """

    id: str
    algorithms: tuple[str, ...]
    key: Any


class KeySet:
    """The keys of an issuer. Immutable."""

    def __init__(self, keys: Sequence[SigningKey] = ()) -> None:
        """Take the keys."""
        self.keys = tuple(keys)

    def candidates(self, id: str, algorithm: str) -> Sequence[SigningKey]:
        """The keys that may have signed a token.

        Args:
            id: that the token names; empty when it names none.
            algorithm: of its signature.
        """
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if id:
            fitting = [key for key in fitting if key.id in (id, "")]
        return fitting[:_MOST_TRIES]


def parse_key_set(content: bytes, place: str) -> KeySet:
    """Read a key set.

    Args:
        content: JSON.
        place: where it is from, for errors.

    Raises:
        InvalidArgument: it is none, or has secrets.
        NotInstalled: `PyJWT` or `cryptography` is not.
    """
    require()
    try:
        document = orjson.loads(content)
    except ValueError:
        document = None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InvalidArgument(f"{place} is no JSON Web Key Set")
    if len(entries) > _MOST_KEYS:
        raise InvalidArgument(f"{place} has more than {_MOST_KEYS} keys")
    if any(part in each for each in entries for part in _SECRET_PARTS if _is_public_kind(each)):
        raise InvalidArgument(f"{place} has a private key: whoever has read it can make tokens")
    return KeySet([key for each in entries if (key := _signing_key(each)) is not None])


def no_keys(place: str) -> str:
    """What to tell of a key set without any key that is of use.

    Args:
        place: where it is from.
    """
    return (
        f"{place} has no public key that can check tokens: RSA of {_LEAST_RSA_BITS} bits at "
        "least, P-256, P-384, P-521 or Ed25519"
    )


def _is_public_kind(entry: Mapping[str, Any]) -> bool:
    return entry.get("kty") in ("RSA", "EC", "OKP")


def _signing_key(entry: Mapping[str, Any]) -> SigningKey | None:
    """The key of an entry; None for one that is of no use here."""
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

    kind, curve, operations = str(entry.get("kty")), entry.get("crv"), entry.get("key_ops")
    readers = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
    if kind not in readers or entry.get("use", "sig") != "sig":
        return None
    if isinstance(operations, list) and "verify" not in operations:
        return None
    algorithms: tuple[str, ...] = _OF_RSA if kind == "RSA" else _OF_CURVE.get(str(curve), ())
    if (only := entry.get("alg")) is not None:
        only = _SAME.get(str(only), only)
        algorithms = tuple(each for each in algorithms if each == only)
    try:
        key: Any = readers[kind].from_jwk(dict(entry))
    except Exception:  # noqa: BLE001 - whatever a library finds wrong with one key of many
        return None
    if not algorithms or (kind == "RSA" and key.key_size < _LEAST_RSA_BITS):
        return None
    id = entry.get("kid", "")
    return SigningKey(id if isinstance(id, str) else "", algorithms, key)


def is_signed(key: SigningKey, algorithm: str, content: bytes, signature: bytes) -> bool:
    """Whether a key has made a signature.

    Args:
        key: one of `KeySet.candidates`.
        algorithm: that was asked for there.
        content: what was signed.
        signature: as the token has it.
    """
    try:
        return bool(_algorithms()[algorithm].verify(content, key.key, signature))
    except Exception:  # noqa: BLE001 - bytes from outside: whatever a library finds wrong
        return False


@cache
def _algorithms() -> Mapping[str, Any]:
    from jwt.algorithms import get_default_algorithms

    algorithms: Mapping[str, Any] = get_default_algorithms()
    return algorithms


def require() -> None:
    """Find the packages that tokens need.

    Raises:
        NotInstalled: one is missing.
    """
    try:
        import cryptography  # noqa: F401 - to see whether it is there
        import jwt  # noqa: F401
    except ImportError as error:
        from salver.instruments.installing import install_command

        raise NotInstalled(f"Tokens need the package PyJWT: {install_command(_EXTRA)}") from error
