import json
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from tests.issuers import algorithm_of, jwk, key_set, private_key

from salver.access.key_sets import KeySet, SigningKey, is_signed, parse_key_set
from salver.config.auth import ALGORITHMS
from salver.errors import InvalidArgument, NotInstalled

RSA = jwk("RS256", private_key("RS256"), kid="1")
P256 = jwk("ES256", private_key("ES256"), kid="2")
OF_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def read(*entries: dict[str, object]) -> list[tuple[str, tuple[str, ...]]]:
    return [(key.id, key.algorithms) for key in parse_key_set(key_set(*entries), "set").keys]


def test_a_key_is_for_the_algorithms_of_its_kind_alone() -> None:
    found = read(
        RSA,
        P256,
        jwk("ES384", private_key("ES384")),
        jwk("ES512", private_key("ES512")),
        jwk("EdDSA", private_key("EdDSA"), kid="5"),
    )
    assert found == [
        ("1", OF_RSA),
        ("2", ("ES256",)),
        ("", ("ES384",)),
        ("", ("ES512",)),
        ("5", ("EdDSA",)),
    ]


def test_a_key_may_name_the_one_algorithm_that_it_is_for() -> None:
    ed25519 = jwk("EdDSA", private_key("EdDSA"), kid="5")
    found = read({**RSA, "alg": "PS256"}, {**ed25519, "alg": "Ed25519"}, {**P256, "alg": "ES256"})
    assert [algorithms for _, algorithms in found] == [("PS256",), ("EdDSA",), ("ES256",)]


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"},
        {**RSA, "use": "enc"},
        {**RSA, "key_ops": ["encrypt"]},
        {**RSA, "alg": "RS1"},
        {**RSA, "alg": "none"},
        {**RSA, "alg": ["RS256"]},
        {**RSA, "n": "!!"},
        {**RSA, "n": 5},
        {**P256, "x": P256["y"], "y": P256["x"]},
        {**P256, "crv": "P-384"},
        {**P256, "crv": ["P-256"]},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {"kty": ["RSA"]},
        {"kty": "ML-DSA"},
        {},
        jwk("RS256", private_key("RS256", bits=1024)),
        jwk("EdDSA", ed448.Ed448PrivateKey.generate()) | {"crv": "X448"},
    ],
)
def test_what_cannot_check_a_signature_is_passed_over(other: dict[str, object]) -> None:
    assert read(other, RSA, other) == [("1", OF_RSA)]
    assert read(other) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [1]}', b'"keys"', b"[" * 100_000],
)
def test_what_is_no_key_set_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgument, match="set is no JSON Web Key Set"):
        parse_key_set(content, "set")


def test_a_key_set_without_keys_is_one() -> None:
    assert read() == []


def test_a_key_set_of_very_many_keys_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="more than 200 keys"):
        read(*[RSA] * 201)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_private_key_is_refused_loudly_and_not_quoted(algorithm: str) -> None:
    entry = json.loads(algorithm_of(algorithm).to_jwk(private_key(algorithm)))
    with pytest.raises(InvalidArgument, match="set has a private key") as caught:
        read(RSA, entry)
    assert entry["d"] not in str(caught.value)


def test_a_token_is_tried_with_the_keys_of_its_name_or_of_none() -> None:
    one, two, bare = (SigningKey(id, ("ES256",), None) for id in ("1", "2", ""))
    keys = KeySet([one, two, bare, SigningKey("1", ("RS256",), None)])
    assert keys.candidates("1", "ES256") == [one, bare]
    assert keys.candidates("3", "ES256") == [bare]
    assert keys.candidates("", "ES256") == [one, two, bare]
    assert keys.candidates("1", "ES384") == []


def test_a_token_is_tried_with_a_few_keys_at_most() -> None:
    assert len(KeySet([SigningKey("", ("ES256",), None)] * 200).candidates("", "ES256")) == 8


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_tells_right_from_wrong(algorithm: str) -> None:
    private = private_key(algorithm)
    (key,) = parse_key_set(key_set(jwk(algorithm, private)), "set").keys
    signature = algorithm_of(algorithm).sign(b"content", private)
    assert algorithm in key.algorithms
    assert is_signed(key, algorithm, b"content", signature)
    for content, wrong in [
        (b"other", signature),
        (b"content", signature[:-1]),
        (b"content", b"\0" * len(signature)),
        (b"content", b""),
        (b"content", b"x" * 10_000),
    ]:
        assert not is_signed(key, algorithm, content, wrong)


def test_a_curve_that_is_no_longer_on_its_curve_is_passed_over() -> None:
    other = jwk("ES256", ec.generate_private_key(ec.SECP256K1()))
    assert read(RSA, {**other, "crv": "P-256"}) == [("1", OF_RSA)]


@pytest.mark.parametrize("package", ["jwt", "cryptography"])
def test_a_missing_package_is_named_with_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotInstalled, match=r"Tokens need the package PyJWT: .*auth"):
        parse_key_set(key_set(RSA), "set")
