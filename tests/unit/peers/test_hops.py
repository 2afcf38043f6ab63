from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from salver.errors import InvalidArgument, Unauthenticated, WrongPeerToken
from salver.peers.hops import FORWARDED, PRINCIPAL, TOKEN, Hops, Said, parse_tokens
from salver.transport.identity import TlsIdentity
from salver.transport.messages import Headers, HttpRequest
from salver.vocabulary.access import Principal, Role

SECRET = b"a-secret-of-16-bytes"
OTHER = b"another-secret-here"
ADA = Principal("ada ä\r\n", "api_key", Role("scorer"))


@dataclass
class Shown:
    """A client with a certificate, or without."""

    identity: TlsIdentity | None = None
    peer: str | None = None
    principal: Principal | None = None
    more: dict[str, Any] = field(default_factory=dict)


def request(fields: Mapping[bytes, bytes], *names: str) -> HttpRequest:
    raw = b"".join(b"%b: %b\r\n" % each for each in fields.items())
    identity = TlsIdentity("", names) if names else None
    return HttpRequest("POST", "/", Headers(raw), client=Shown(identity))


def handed_on(hops: Hops, principal: Principal | None = None) -> HttpRequest:
    return request(dict(hops.fields(principal)))


def test_a_request_of_a_peer_is_known_by_the_secret_and_never_handed_on_again() -> None:
    one, other = Hops("n1", [SECRET]), Hops("n2", [OTHER, SECRET])
    assert dict(one.fields(None)) == {FORWARDED: b"n1", TOKEN: SECRET}
    assert other.is_handed_on(handed_on(one))
    assert other.is_of_peer(handed_on(one))
    assert not other.is_handed_on(request({}))


def test_a_mark_without_the_secret_is_a_field_of_an_ordinary_client() -> None:
    hops = Hops("n1", [SECRET])
    assert not hops.is_handed_on(request({FORWARDED: b"n2"}))
    assert (
        hops.said_of(request({FORWARDED: b"n2", PRINCIPAL: b'["root", "mtls", "admin"]'})) is None
    )


def test_without_any_secret_the_mark_ends_the_way_and_nothing_else_is_believed() -> None:
    hops = Hops("n1")
    marked = request({FORWARDED: b"n2", PRINCIPAL: b'["root", "mtls", "admin"]'})
    assert hops.is_handed_on(marked)
    assert hops.said_of(marked) is None
    assert dict(hops.fields(ADA)) == {FORWARDED: b"n1"}


@pytest.mark.parametrize("shown", [OTHER, SECRET[:-1], SECRET + b"x", b"", b"\xff" * 2000])
def test_another_secret_is_refused_so_that_nothing_goes_round(shown: bytes) -> None:
    hops = Hops("n1", [SECRET])
    with pytest.raises(WrongPeerToken):
        hops.is_handed_on(request({FORWARDED: b"n2", TOKEN: shown}))
    with pytest.raises(WrongPeerToken):
        hops.said_of(request({FORWARDED: b"n2", TOKEN: shown}))


@pytest.mark.parametrize(
    "secrets", [((), ()), ((SECRET,), ()), ((), (SECRET,)), ((SECRET,), (OTHER,))]
)
def test_no_request_goes_round_whatever_secrets_two_servers_have(
    secrets: tuple[tuple[bytes, ...], tuple[bytes, ...]],
) -> None:
    one, other = Hops("n1", secrets[0]), Hops("n2", secrets[1])
    hops = 0
    for sender, receiver in ((one, other), (other, one)) * 5:
        hops += 1
        try:
            if receiver.is_handed_on(handed_on(sender)):
                break
        except WrongPeerToken:
            break
    assert hops <= 2


def test_who_a_request_is_from_is_told_to_peers() -> None:
    one, other = Hops("n1", [SECRET]), Hops("n2", [SECRET])
    assert other.said_of(handed_on(one, ADA)) == Said("ada ä\r\n", "api_key", "scorer")
    assert other.said_of(handed_on(one)) is None
    assert all(value.isascii() for _, value in one.fields(ADA))
    assert b"\r" not in dict(one.fields(ADA))[PRINCIPAL]


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b'["a", "b"]', b'["a", "b", 1]', b"[" * 99_999])
def test_what_a_peer_says_in_another_form_is_refused(said: bytes) -> None:
    hops = Hops("n1", [SECRET])
    with pytest.raises(Unauthenticated, match="a form that is not known"):
        hops.said_of(request({FORWARDED: b"n2", TOKEN: SECRET, PRINCIPAL: said}))


def test_a_certificate_may_stand_for_the_secret() -> None:
    hops = Hops("n1", certificate_names=frozenset({"node.cluster"}))
    marked = {FORWARDED: b"n2", PRINCIPAL: b'["ada", "jwt", "r"]'}
    assert hops.said_of(request(marked, "node.cluster")) == Said("ada", "jwt", "r")
    assert hops.said_of(request(marked, "shop.example")) is None
    assert hops.said_of(request(marked)) is None
    assert PRINCIPAL in dict(hops.fields(ADA))


def test_another_secret_counts_from_the_next_request_on() -> None:
    hops, peer = Hops("n1", [SECRET]), Hops("n2", [SECRET])
    hops.fields(ADA)
    hops.put_tokens([OTHER])
    assert dict(hops.fields(ADA))[TOKEN] == OTHER
    with pytest.raises(WrongPeerToken):
        hops.is_of_peer(handed_on(peer))


def test_a_file_has_a_secret_a_line() -> None:
    assert parse_tokens(b"# ours\n\n  a-secret-of-16-bytes \r\nanother-secret-here", "f") == (
        SECRET,
        OTHER,
    )


@pytest.mark.parametrize(
    "content", [b"", b"# none\n", b"short\n", b"a secret with blanks\n", b"\xff" * 20, b"x" * 2000]
)
def test_what_is_no_secret_is_refused_and_not_quoted(content: bytes) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_tokens(content, "f")
    assert content.strip().decode("latin-1") not in error.value.message or not content.strip()
