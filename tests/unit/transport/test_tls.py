import ssl
from pathlib import Path

import pytest
import trustme

from salver.errors import InvalidArgument
from salver.transport.tls import server_context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost")


def key_of(cert: trustme.LeafCert) -> str:
    return str(cert.private_key_pem.bytes().decode())


def chain_of(cert: trustme.LeafCert) -> str:
    return "".join(pem.bytes().decode() for pem in cert.cert_chain_pems)


def pem_of(authority: trustme.CA) -> str:
    return str(authority.cert_pem.bytes().decode())


def shake_hands(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> ssl.SSLObject:
    """Connect both in memory; returns the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    pending = [client, server]
    for _ in range(10):
        for end in tuple(pending):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            pending.remove(end)
    assert not pending
    return client


def test_a_client_that_trusts_the_authority_connects(
    authority: trustme.CA, server: trustme.LeafCert
) -> None:
    context = server_context(server_key=key_of(server), server_cert=chain_of(server))
    client = ssl.create_default_context(cadata=pem_of(authority))
    client.set_alpn_protocols(["h2", "http/1.1"])
    connected = shake_hands(context, client)
    assert connected.selected_alpn_protocol() == "http/1.1"
    both = server_context(
        server_key=key_of(server), server_cert=chain_of(server), protocols=("h2", "http/1.1")
    )
    assert shake_hands(both, client).selected_alpn_protocol() == "h2"


def test_no_certificate_is_refused_when_one_is_required(
    authority: trustme.CA, server: trustme.LeafCert
) -> None:
    context = server_context(
        server_key=key_of(server),
        server_cert=chain_of(server),
        custom_ca=pem_of(authority),
        client_verify=True,
    )
    client = ssl.create_default_context(cadata=pem_of(authority))
    with pytest.raises(ssl.SSLError):
        shake_hands(context, client)
    authority.issue_cert("client").configure_cert(client)
    shake_hands(context, client)


def test_the_system_s_authorities_are_the_default(server: trustme.LeafCert) -> None:
    context = server_context(
        server_key=key_of(server), server_cert=chain_of(server), client_verify=True
    )
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_key_and_certificate_are_both_needed(server: trustme.LeafCert) -> None:
    with pytest.raises(InvalidArgument, match="needs both server_key and server_cert"):
        server_context(server_key="", server_cert=chain_of(server))


ENCRYPTED = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
    "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n"
    "-----END RSA PRIVATE KEY-----\n"
)


@pytest.mark.parametrize("key", ["no PEM", "kéy", ENCRYPTED])
def test_a_pair_that_cannot_be_read_is_refused(key: str, server: trustme.LeafCert) -> None:
    with pytest.raises(InvalidArgument, match="no matching PEM pair"):
        server_context(server_key=key, server_cert=chain_of(server))


def test_a_key_of_another_certificate_is_refused(
    authority: trustme.CA, server: trustme.LeafCert
) -> None:
    other = key_of(authority.issue_cert("other"))
    with pytest.raises(InvalidArgument, match="no matching PEM pair"):
        server_context(server_key=other, server_cert=chain_of(server))


@pytest.mark.parametrize("custom_ca", ["no PEM", "é"])
def test_an_authority_that_cannot_be_read_is_refused(
    custom_ca: str, server: trustme.LeafCert
) -> None:
    with pytest.raises(InvalidArgument, match="custom_ca is not PEM"):
        server_context(
            server_key=key_of(server),
            server_cert=chain_of(server),
            custom_ca=custom_ca,
            client_verify=True,
        )


@pytest.mark.parametrize("is_good", [True, False])
def test_the_key_does_not_stay_on_the_disk(
    is_good: bool, server: trustme.LeafCert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if is_good:
        server_context(server_key=key_of(server), server_cert=chain_of(server))
    else:
        with pytest.raises(InvalidArgument):
            server_context(server_key=key_of(server), server_cert="no PEM")
    assert list(tmp_path.iterdir()) == []
