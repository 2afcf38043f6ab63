from pathlib import Path

import pytest
import trustme

from salver.client.address import Address, Tls, headers_with_key, parse_address
from salver.errors import InvalidArgument


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:8501", Address(False, False, "http://h:8501")),
        ("http://h:8501/", Address(False, False, "http://h:8501")),
        ("https://h/models/", Address(False, True, "https://h/models")),
        ("http://[::1]:8501", Address(False, False, "http://[::1]:8501")),
        ("grpc://h:9000", Address(True, False, "h:9000")),
        ("grpc://h", Address(True, False, "h:8500")),
        ("grpcs://[::1]:9/", Address(True, True, "[::1]:9")),
        ("unix:/run/s.sock", Address(True, False, "unix:/run/s.sock")),
        ("unix:///run/s.sock", Address(True, False, "unix:/run/s.sock")),
        ("unix:s.sock", Address(True, False, "unix:s.sock")),
    ],
)
def test_the_scheme_chooses_the_api(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8501", "h", "", "ftp://h", "http://", "http://h:port", "unix:", "unix://",
        "grpc://h/path", "http://h?x=1", "http://h#x",
    ],
)  # fmt: skip
def test_what_is_no_server_is_refused_with_the_forms_that_are(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_address(url)
    assert "grpc://HOST:PORT" in (caught.value.hint or "")


@pytest.mark.parametrize("path", ["/v1/models/m:predict", "/v1", "/proxy/v1/"])
def test_the_url_of_a_call_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="give the part before /v1"):
        parse_address(f"http://h:8501{path}")


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost:1", True),
        ("grpc://[::1]:1", True),
        ("unix:/s", True),
        ("http://10.0.0.1", False),
        ("grpc://models.example.org:1", False),
    ],
)
def test_an_address_knows_whether_it_is_this_machine(url: str, is_loopback: bool) -> None:
    assert parse_address(url).is_loopback == is_loopback


def test_tls_takes_an_authority_and_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("client")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    tls = Tls(
        ca=tmp_path / "ca.pem", certificate=tmp_path / "client.pem", key=tmp_path / "client.key"
    )
    context = tls.context()
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_tls_can_do_without_verifying() -> None:
    context = Tls(is_verified=False).context()
    assert not context.check_hostname
    assert context.verify_mode.name == "CERT_NONE"


def test_a_key_is_sent_as_bearers_send_it() -> None:
    assert headers_with_key(None, None) == {}
    assert headers_with_key({"X-A": "1"}, " k\n") == {"X-A": "1", "authorization": "Bearer k"}


@pytest.mark.parametrize("key", ["", " ", "a secret", "a\nsecret", "gehéim"])
def test_a_key_that_is_none_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        headers_with_key(None, key)
    assert "secret" not in str(caught.value)


def test_two_credentials_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="not both"):
        headers_with_key({"Authorization": "Bearer a"}, "k")
