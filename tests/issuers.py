"""Issuers of tokens for tests: keys, key sets, tokens of any kind, good and bad."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW_S = 1_800_000_000
ISSUER = "https://issuer.example"

CURVES: dict[str, Any] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


@cache
def private_key(kind: str, number: int = 0, bits: int = 2048) -> Any:
    """The key number so-and-so for an algorithm, the same in all tests."""
    del number
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind]())
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def algorithm_of(name: str) -> Any:
    from jwt.algorithms import get_default_algorithms

    return get_default_algorithms()[name]


def jwk(algorithm: str, key: Any, **members: Any) -> dict[str, Any]:
    """The public half of a key, as a key set has it."""
    kind = algorithm_of(algorithm)
    entry: dict[str, Any] = json.loads(kind.to_jwk(key.public_key()))
    entry.pop("key_ops", None)
    return {**entry, **members}


def key_set(*entries: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Of a good token, with changes; None takes a claim away."""
    good = {
        "iss": ISSUER,
        "aud": "salver",
        "sub": "ana",
        "roles": ["scorer"],
        "iat": NOW_S - 10,
        "exp": NOW_S + 300,
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def signed(
    header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, key: Any
) -> bytes:
    """A token whose signature is right for its algorithm and a key, whatever else is wrong."""
    first = header if isinstance(header, bytes) else json.dumps(header).encode()
    second = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    content = f"{encoded(first)}.{encoded(second)}".encode()
    algorithm = "RS256" if isinstance(header, bytes) else header["alg"]
    return content + b"." + encoded(algorithm_of(algorithm).sign(content, key)).encode()


def token(algorithm: str = "RS256", kid: str = "1", key: Any = None, **changes: Any) -> bytes:
    """A good token, with changed claims."""
    header = {"alg": algorithm, "typ": "JWT", **({"kid": kid} if kid else {})}
    return signed(header, claims(**changes), key or private_key(algorithm))
