"""Who the other end of a connection is: its address, and whom its certificate names."""

import asyncio
from typing import Any, Final, NamedTuple

__all__ = ["TlsIdentity", "address_of", "identity_of"]

_IPV4_IN_IPV6: Final = "::ffff:"
_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""RFC 4514 §3; other types keep their long names."""


class TlsIdentity(NamedTuple):
    """Whom a client's certificate names, which was checked in the handshake.

    Attributes:
        subject: the distinguished name, as RFC 4514 writes it; empty for none.
        names: the alternative names: host names, addresses, URIs.
    """

    subject: str
    names: tuple[str, ...]


def address_of(transport: asyncio.BaseTransport) -> str | None:
    """The address of the other end, without its port; None when it has none."""
    name = transport.get_extra_info("peername")
    return str(name[0]).removeprefix(_IPV4_IN_IPV6) if isinstance(name, tuple) else None


def identity_of(transport: asyncio.BaseTransport) -> TlsIdentity | None:
    """Whom the certificate of the other end names; None when it has shown none."""
    certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
    if not certificate:
        return None
    # The last part is written first.
    parts = [
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in reversed(certificate.get("subject", ()))
    ]
    names = tuple(value for _kind, value in certificate.get("subjectAltName", ()))
    return TlsIdentity(",".join(parts), names)


def _escaped(value: str) -> str:
    """RFC 4514 §2.4."""
    written = "".join(f"\\{each}" if each in '"+,;<>\\' else each for each in value)
    written = written.replace("\0", "\\00")
    if written.startswith((" ", "#")):
        written = f"\\{written}"
    return f"{written[:-1]}\\ " if len(value) > 1 and value.endswith(" ") else written
