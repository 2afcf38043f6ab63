import asyncio
from typing import Any

import pytest

from salver.transport.identity import TlsIdentity, address_of, identity_of


class Transport(asyncio.BaseTransport):
    """Knows what it is given."""

    def __init__(self, **known: Any) -> None:
        super().__init__(known)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8::1", 1, 0, 0), "2001:db8::1"),
        ("/a/socket", None),
        (None, None),
    ],
)
def test_the_address_is_that_of_the_other_end_without_its_port(
    name: object, address: str | None
) -> None:
    assert address_of(Transport(peername=name)) == address


@pytest.mark.parametrize("certificate", [None, {}])
def test_without_a_certificate_there_is_no_identity(certificate: object) -> None:
    assert identity_of(Transport(peercert=certificate)) is None


def test_the_subject_is_written_as_rfc_4514_has_it() -> None:
    certificate = {
        "subject": (
            (("countryName", "DE"),),
            (("organizationName", 'A, "B" + C; \\'),),
            (("commonName", " #a "), ("userId", "#u")),
            (("odd", "x"),),
        ),
        "subjectAltName": (("DNS", "a.example"), ("URI", "spiffe://a/b")),
    }
    assert identity_of(Transport(peercert=certificate)) == TlsIdentity(
        r"odd=x,CN=\ #a\ +UID=\#u,O=A\, \"B\" \+ C\; \\,C=DE", ("a.example", "spiffe://a/b")
    )


def test_a_certificate_may_have_alternative_names_alone() -> None:
    certificate = {"subjectAltName": (("URI", "spiffe://a/b"),)}
    assert identity_of(Transport(peercert=certificate)) == TlsIdentity("", ("spiffe://a/b",))
