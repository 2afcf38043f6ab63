from typing import Any

import pytest

from salver.access.guard import Guard
from salver.access.limits import Limits
from salver.config.auth import parse_auth_config
from salver.errors import LimitExceeded, PermissionDenied, Unauthenticated
from salver.peers.guard import PeerGuard, Vouched, counted_where_it_came_in
from salver.peers.hops import Hops
from salver.transport.messages import Headers, HttpRequest
from salver.vocabulary.access import ANONYMOUS, Principal, Role, Verb
from salver.vocabulary.requests import ServableRequest

SECRET = b"a-secret-of-16-bytes"
CONFIG = b"""
schema: 1
anonymous: {verbs: [health]}
roles:
  scorer: {models: [m], verbs: [predict], requests_per_second: 1, burst: 1}
"""
CONFIGURED = parse_auth_config(CONFIG, "auth.yaml")
M, OTHER = ServableRequest("m"), ServableRequest("other")


def guarded(**more: Any) -> PeerGuard:
    return PeerGuard(Guard(CONFIGURED), Hops("n2", [SECRET], **more))


def handed_on(principal: Principal | None, *tokens: bytes) -> HttpRequest:
    fields = Hops("n1", tokens or [SECRET]).fields(principal)
    raw = b"".join(b"%b: %b\r\n" % field for field in fields)
    return HttpRequest("POST", "/", Headers(raw))


def ada(role: str = "scorer") -> Principal:
    return Principal("ada", "jwt", Role(role, ("*",), frozenset(Verb)))


def test_a_peer_says_whom_a_request_is_from_and_the_role_is_that_of_this_server() -> None:
    guard = guarded()
    found = guard.identify(handed_on(ada()))
    assert (found.name, found.kind, found.role.name) == ("ada", "jwt", "scorer")
    guard.permit(found, Verb.PREDICT, M)
    with pytest.raises(PermissionDenied):
        guard.permit(found, Verb.PREDICT, OTHER)
    with pytest.raises(PermissionDenied):
        guard.permit(found, Verb.ADMIN, M)


def test_a_role_that_there_is_not_here_may_do_what_anybody_may() -> None:
    guard = guarded()
    found = guard.identify(handed_on(ada("root")))
    assert guard.may(found, Verb.HEALTH, None)
    assert not guard.may(found, Verb.PREDICT, "m")


def test_nobody_in_particular_stays_that() -> None:
    guard = guarded()
    found = guard.identify(handed_on(Principal(ANONYMOUS, ANONYMOUS, Role("scorer"))))
    assert not guard.may(found, Verb.PREDICT, "m")


def test_a_stranger_who_says_the_same_is_nobody() -> None:
    raw = b'salver-forwarded: n1\r\nsalver-principal: ["ada", "jwt", "scorer"]\r\n'
    request = HttpRequest("POST", "/", Headers(raw))
    assert guarded().identify(request).kind == ANONYMOUS


def test_a_request_without_a_principal_shows_credentials_of_its_own() -> None:
    assert guarded().identify(handed_on(None)).kind == ANONYMOUS


def test_another_secret_is_refused_and_counted() -> None:
    guard = guarded()
    with pytest.raises(Unauthenticated):
        guard.identify(handed_on(ada(), b"another-secret-here"))
    inner: Any = guard._guard
    assert (("no_credentials",), 1) in inner.families()[0].cells


def test_limits_are_counted_where_a_request_came_in() -> None:
    limits = Limits()
    enter = counted_where_it_came_in(limits.enter)
    role = CONFIGURED.roles["scorer"]
    vouched = Vouched("ada", "jwt", role)
    for _ in range(10):
        assert enter(vouched) is None
    direct = Principal("ada", "jwt", role)
    enter(direct)  # the one that it may
    with pytest.raises(LimitExceeded):
        enter(direct)
