import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.issuers import ISSUER, NOW_S, claims, encoded, jwk, key_set, private_key, signed, token

from salver.access.key_sets import parse_key_set
from salver.access.tokens import NO_ROLE, KeysAwaited, NoKeys, Trusted, UnknownKey, Verified, verify
from salver.config.auth import ALGORITHMS, JwtIssuer
from salver.errors import Unauthenticated, Unavailable
from salver.vocabulary.access import Principal, Role, Verb

SCORER = Role("scorer", verbs=frozenset({Verb.PREDICT}))
ROLES = {"scorer": SCORER, "root": Role("root")}
URL = "https://issuer.example/jwks"


def issuer(**changes: Any) -> JwtIssuer:
    given: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": "salver",
        "jwks_file": "",
        "jwks_url": URL,
        "algorithms": ("RS256", "ES256"),
    }
    return JwtIssuer(**{**given, **changes})


KEYS = parse_key_set(
    key_set(
        jwk("RS256", private_key("RS256"), kid="1"), jwk("ES256", private_key("ES256"), kid="2")
    ),
    "set",
)
TRUSTED = (Trusted(issuer(), KEYS),)


def found(shown: bytes, *trusted: Trusted, now_s: float = NOW_S) -> Verified:
    return verify(shown, trusted or TRUSTED, ROLES, now_s)


def refusal(shown: bytes, *trusted: Trusted, now_s: float = NOW_S) -> str:
    with pytest.raises(Unauthenticated) as caught:
        found(shown, *trusted, now_s=now_s)
    assert caught.value.__cause__ is None
    return caught.value.message


def test_a_good_token_says_whose_it_is_and_until_when() -> None:
    assert found(token()) == Verified(Principal("ana", "jwt", SCORER), NOW_S + 360)
    assert found(token("ES256", "2")).principal.name == "ana"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_that_can_be_configured_works(algorithm: str) -> None:
    keys = parse_key_set(key_set(jwk(algorithm, private_key(algorithm), kid="1")), "set")
    trusted = Trusted(issuer(algorithms=(algorithm,)), keys)
    assert found(token(algorithm), trusted).principal.name == "ana"


def none_token(name: str = "none", signature: str = "") -> bytes:
    header = encoded(json.dumps({"alg": name, "kid": "1"}).encode())
    return f"{header}.{encoded(json.dumps(claims()).encode())}.{signature}".encode()


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AA", encoded(b"\0" * 256)])
def test_a_token_without_a_signature_is_refused(name: str, signature: str) -> None:
    assert refusal(none_token(name, signature)) == "The token is not valid"


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """Algorithm confusion: HS256 with the public key as the secret (CVE-2015-9235)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from jwt.algorithms import HMACAlgorithm

    public = private_key("RS256").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    content = none_token("HS256").rpartition(b".")[0]
    mac = HMACAlgorithm(HMACAlgorithm.SHA256).sign(content, pem)
    assert refusal(content + b"." + encoded(mac).encode()) == "The token is not valid"


def test_an_algorithm_that_is_not_pinned_is_refused_though_the_key_could_check_it() -> None:
    assert refusal(token("RS512", key=private_key("RS256"))) == "The token is not valid"


def test_a_key_that_the_token_brings_along_is_not_used() -> None:
    other = private_key("RS256", 1)
    for header in (
        {"jwk": jwk("RS256", other)},
        {"jku": "http://127.0.0.1:1/jwks"},
        {"x5u": "http://127.0.0.1:1/x"},
        {"x5c": ["AAAA"]},
    ):
        shown = signed({"alg": "RS256", "kid": "1", **header}, claims(), other)
        assert refusal(shown) == "The token is not valid"


def test_a_header_that_must_be_understood_is_refused() -> None:
    shown = signed({"alg": "RS256", "kid": "1", "crit": ["b64"]}, claims(), private_key("RS256"))
    assert refusal(shown) == "The token is not valid"


def test_a_token_signed_by_another_key_is_refused() -> None:
    other = private_key("RS256", 1)
    assert refusal(token(key=other)) == "The token is not valid"
    assert refusal(token(kid="", key=other)) == "The token is not valid"


def test_a_token_without_a_key_name_is_tried_with_all_keys() -> None:
    assert found(token(kid="")).principal.name == "ana"


def test_each_changed_byte_makes_a_token_wrong() -> None:
    good = token()
    for at in range(0, len(good), 7):
        changed = bytearray(good)
        changed[at] ^= 0x04
        with pytest.raises(Unauthenticated):
            found(bytes(changed))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_token_in_another_spelling_is_refused(at: int) -> None:
    """Base64 that decodes to the same: a token has one form."""
    parts = token().split(b".")
    for other in (parts[at] + b"=", parts[at] + b"\n", b" " + parts[at], parts[at] + b"!", b""):
        shown = b".".join([*parts[:at], other, *parts[at + 1 :]])
        assert refusal(shown) == "The token is not valid"


def test_bits_that_say_nothing_must_not_be_set() -> None:
    good = token()  # 256 bytes of a signature leave four bits of the last character
    assert found(good).principal.name == "ana"
    assert good[-1:] in b"AQgw"
    assert refusal(good[:-1] + bytes([good[-1] + 1])) == "The token is not valid"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"exp": NOW_S - 60}, "The token has expired"),
        ({"exp": 0}, "The token has expired"),
        ({"exp": None}, "The token has no end (exp)"),
        ({"exp": "never"}, "The token has a wrong time (exp)"),
        ({"exp": True}, "The token has a wrong time (exp)"),
        ({"exp": [NOW_S + 5]}, "The token has a wrong time (exp)"),
        ({"exp": 1e300}, "The token has a wrong time (exp)"),
        ({"exp": -1}, "The token has a wrong time (exp)"),
        ({"exp": 10**30}, "The token has a wrong time (exp)"),
        ({"nbf": NOW_S + 61}, "The token is not good yet (nbf)"),
        ({"iat": NOW_S + 61}, "The token is not good yet (iat)"),
        ({"iat": "x"}, "The token has a wrong time (iat)"),
        ({"aud": "other"}, "The token is for another audience"),
        ({"aud": None}, "The token is for another audience"),
        ({"aud": ["a", "b"]}, "The token is for another audience"),
        ({"aud": {"salver": 1}}, "The token is for another audience"),
        ({"aud": "salver2"}, "The token is for another audience"),
        ({"iss": "https://evil.example"}, "The token is not valid"),
        ({"iss": ISSUER + "/"}, "The token is not valid"),
        ({"iss": None}, "The token is not valid"),
        ({"iss": [ISSUER]}, "The token is not valid"),
        ({"sub": None}, "The token names no subject"),
        ({"sub": ""}, "The token names no subject"),
        ({"sub": 7}, "The token names no subject"),
        ({"sub": "a" * 257}, "The token names no subject"),
        ({"sub": "a\nGET /"}, "The subject of the token has characters that cannot be printed"),
        ({"sub": "a\u202eb"}, "The subject of the token has characters that cannot be printed"),
    ],
)
def test_a_claim_that_is_wrong_is_named(changes: dict[str, Any], text: str) -> None:
    assert refusal(token(**changes)) == text


def test_clocks_may_differ_by_the_leeway_and_no_more() -> None:
    assert found(token(exp=NOW_S - 59)).until_s == NOW_S + 1
    assert found(token(nbf=NOW_S + 60, iat=NOW_S + 60)).principal.name == "ana"
    exact = Trusted(issuer(leeway_s=0), KEYS)
    assert found(token(exp=NOW_S + 1), exact).until_s == NOW_S + 1
    assert refusal(token(exp=NOW_S), exact) == "The token has expired"
    assert refusal(token(iat=NOW_S + 1), exact) == "The token is not good yet (iat)"


def test_a_token_may_be_for_several_audiences() -> None:
    assert found(token(aud=["other", "salver"])).principal.name == "ana"


def test_one_issuer_may_have_an_entry_for_each_audience() -> None:
    others = [Trusted(issuer(audience=name), KEYS) for name in ("one", "two")]
    assert found(token(aud="two"), *others).principal.name == "ana"
    assert refusal(token(aud="three"), *others) == "The token is for another audience"


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (["scorer"], "scorer"),
        ("scorer", "scorer"),
        (["other", "root", "scorer"], "root"),
        ("other scorer root", "scorer"),
        (["other"], ""),
        ([], ""),
        (None, ""),
        ([["scorer"], {"scorer": 1}, 7], ""),
        ({"scorer": True}, ""),
        (["Scorer", "scorer "], ""),
    ],
)
def test_the_first_role_that_is_configured_counts(roles: Any, role: str) -> None:
    principal = found(token(roles=roles)).principal
    assert principal.role.name == role
    assert role or not principal.role.verbs


def test_claims_may_have_other_names_and_be_within_others() -> None:
    nested = Trusted(issuer(subject_claim="email", role_claim="realm_access.roles"), KEYS)
    shown = token(email="ana@x", realm_access={"roles": ["root"]}, roles=None)
    assert found(shown, nested).principal == Principal("ana@x", "jwt", ROLES["root"])
    url = Trusted(issuer(role_claim="https://x.example/roles"), KEYS)
    dotted = token(**{"https://x.example/roles": "root"})
    assert found(dotted, url).principal.role.name == "root"
    assert found(token(email="ana@x", realm_access="root"), nested).principal.role.name == ""


def test_two_issuers_cannot_take_each_other_s_names() -> None:
    other_key = private_key("RS256", 1)
    other_keys = parse_key_set(key_set(jwk("RS256", other_key, kid="1")), "set")
    both = (*TRUSTED, Trusted(issuer(issuer="other"), other_keys))
    assert found(token(), *both).principal.name == f"ana ({ISSUER})"
    assert found(token(iss="other", key=other_key), *both).principal.name == "ana (other)"
    assert refusal(token(key=other_key), *both) == "The token is not valid"
    assert refusal(token(iss="other"), *both) == "The token is not valid"


def test_a_token_cannot_take_the_name_of_a_key() -> None:
    full_name = f"ana ({ISSUER})"
    assert verify(token(), TRUSTED, ROLES, NOW_S, taken={"ana"}).principal.name == full_name
    assert verify(token(), TRUSTED, ROLES, NOW_S, taken={"ben"}).principal.name == "ana"


def test_a_token_of_a_key_that_is_not_known_may_be_of_a_new_key() -> None:
    with pytest.raises(UnknownKey, match="The key of the token is not known") as caught:
        found(token(kid="3"))
    assert isinstance(caught.value, KeysAwaited)
    assert caught.value.url == URL


def test_without_keys_nobody_can_tell() -> None:
    with pytest.raises(NoKeys) as caught:
        found(token(), Trusted(issuer(), None))
    assert isinstance(caught.value, Unavailable)
    assert caught.value.url == URL


DEEP = b"[" * 3000 + b"]" * 3000


@pytest.mark.parametrize(
    "shown",
    [
        b"",
        b".",
        b"..",
        b"a.b.c",
        b"a.b.c.d",
        b"e30.e30.e30",
        b"\xff.\xff.\xff",
        b"x" * 10_000,
        b"." * 10_000,
        b".".join([base64.urlsafe_b64encode(b"[1]").rstrip(b"=")] * 3),
        encoded(DEEP).encode() + b"." + encoded(b"{}").encode() + b".AA",
        encoded(b'{"alg": "RS256", "kid": {}}').encode() + b".e30.AA",
        encoded(b'{"alg": ["RS256"]}').encode() + b".e30.AA",
        encoded(b'{"alg": "RS256", "kid": 1e999}').encode() + b".e30.AA",
        encoded(b'{"alg": "RS256"}').encode() + b"." + encoded(b"\xff").encode() + b".AA",
    ],
)
def test_bytes_of_a_stranger_are_refused_as_any_other_token(shown: bytes) -> None:
    assert refusal(shown) == "The token is not valid"


def test_a_token_of_huge_claims_is_not_even_read() -> None:
    assert refusal(token(note="x" * 9000)) == "The token is not valid"
    assert refusal(token(note="x" * 10_000_000)) == "The token is not valid"
    assert found(token(note="x" * 5000)).principal.name == "ana"


def test_very_many_roles_are_not_all_looked_at() -> None:
    assert found(token(roles="a " * 1500 + "scorer")).principal.role.name == ""


def test_no_refusal_quotes_the_token() -> None:
    for changes in ({"exp": 0}, {"aud": "evil"}, {"sub": "se\ncret"}, {"iss": "secret"}):
        text = refusal(token(**changes))
        assert "evil" not in text
        assert "secret" not in text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "roles", "realm_access"]), _JSON
    )
)
def test_whatever_an_issuer_signs_is_taken_or_refused(changes: dict[str, Any]) -> None:
    payload = json.dumps(claims() | changes).encode()
    shown = signed({"alg": "ES256", "kid": "2"}, payload, private_key("ES256"))
    try:
        principal = found(shown).principal
    except Unauthenticated:
        return
    assert principal.name == changes.get("sub", "ana")
    assert principal.role in (*ROLES.values(), NO_ROLE)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "b64"]), _JSON))
def test_whatever_a_header_says_is_taken_or_refused(changes: dict[str, Any]) -> None:
    header = json.dumps({"alg": "RS256", "kid": "1"} | changes).encode()
    shown = signed(header, claims(), private_key("RS256"))
    with suppress(Unauthenticated):
        assert found(shown).principal.name == "ana"


@given(st.binary(max_size=200), st.integers(0, 600), st.integers(0, 600))
def test_a_token_with_other_bytes_in_it_is_refused(part: bytes, at: int, end: int) -> None:
    good = token()
    other = good[:at] + part + good[max(at, end) :]
    if other != good:
        with pytest.raises(Unauthenticated):
            found(other)
