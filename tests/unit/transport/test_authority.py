from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.authority import address_of, host_and_port, host_fault


@pytest.mark.parametrize(
    ("authority", "found"),
    [
        (b"a", ("a", "")),
        (b"Example.COM:80", ("example.com", "80")),
        (b"localhost.:8501", ("localhost", "8501")),
        (b"tf_serving:8501", ("tf_serving", "8501")),
        (b"[::1]:8501", ("::1", "8501")),
        (b"[2001:DB8::1]", ("2001:db8::1", "")),
        (b"a:", ("a", "")),
        (b":80", ("", "80")),
        (b"", ("", "")),
        (b"a%20b", ("a%20b", "")),
        (b"a b", None),
        (b"me@a", None),
        (b"a/b", None),
        (b"a:80:80", None),
        (b"::1", None),
        (b"[::1", None),
        (b"a%2", None),
        (b"\xe9", None),
    ],
)
def test_an_authority_is_a_host_and_perhaps_a_port(
    authority: bytes, found: tuple[str, str] | None
) -> None:
    assert host_and_port(authority) == found
    assert (host_fault([authority], is_needed=True) is None) is (found is not None)


def test_a_request_says_once_whom_it_is_for() -> None:
    assert host_fault([], is_needed=False) is None
    assert host_fault([], is_needed=True) == "the request has no Host field"
    for is_needed in (False, True):
        assert host_fault([b"a", b"a"], is_needed=is_needed) == (
            "the request has more than one Host field"
        )


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("localhost", None),
        ("127.1", None),
        ("", None),
    ],
)
def test_a_host_is_an_address_or_a_name(host: str, address: str | None) -> None:
    assert address_of(host) == (None if address is None else ip_address(address))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_authority_or_not(authority: bytes) -> None:
    found = host_and_port(authority)
    assert found is None or found[0] == found[0].lower()
