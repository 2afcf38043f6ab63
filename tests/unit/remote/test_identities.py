"""Identities that clouds hand out, and proxies of the environment."""

import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from tests.dripping import HEADERS, dripping

pytest.importorskip("obstore")

from salver.config.remote import RemoteStore
from salver.errors import FailedPrecondition, ServingError, Unauthenticated
from salver.remote.container import credentials_of_container
from salver.remote.http import open_web
from salver.remote.places import place_of
from salver.remote.stores import open_bucket
from salver.sources.settings import SourceSettings

UNTIL = "2099-01-01T00:00:00Z"
KEYS = json.dumps(
    {"AccessKeyId": "AKCLOUD", "SecretAccessKey": "s3cret", "Token": "tok", "Expiration": UNTIL}
)
LISTING = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
BLOBS = "<EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>"
STS = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
    "<AccessKeyId>AKCLOUD</AccessKeyId><SecretAccessKey>s3cret</SecretAccessKey>"
    f"<SessionToken>tok</SessionToken><Expiration>{UNTIL}</Expiration></Credentials>"
    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
BEARER = json.dumps({"access_token": "cloud-token", "expires_in": 3600, "expires_on": "4000000000"})


@dataclass
class Cloud:
    """Answers by beginnings of paths, and remembers what it was asked."""

    url: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    def headers(self, part: str) -> Mapping[str, str]:
        """Of the request for a path that contains this."""
        return next(headers for path, headers, _ in self.asked if part in path)


@contextmanager
def running(cloud: Cloud, certificate: trustme.LeafCert | None = None) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            cloud.asked.append((self.path, headers, body))
            begins = (text for begin, text in cloud.answers.items() if begin in self.path + body)
            content = next(begins, LISTING).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    cloud.url = f"http{'' if certificate is None else 's'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    with running(made):
        yield made


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Cloud]:
    """The same over TLS; `ca.pem` is its authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made = Cloud()
    with running(made, authority.issue_cert("127.0.0.1")):
        yield made


@pytest.fixture
def look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str, dict[str, str], RemoteStore], None]:
    """Lists a bucket with an environment of nothing but what is given."""
    for name in tuple(os.environ):
        if name.lower().startswith(("aws_", "google_", "gce_", "azure_", "s3_", "identity_")) or (
            name.lower().endswith("_proxy")
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))

    def look(uri: str, environment: dict[str, str], store: RemoteStore) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        bucket = open_bucket(place_of(uri), store, SourceSettings())
        assert [len(page) for page in bucket.pages("m")] in ([], [0])

    return look


Look = Callable[[str, dict[str, str], RemoteStore], None]


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a request bears the credentials that the cloud has handed out."""
    is_theirs = "Credential=AKCLOUD/" in headers["authorization"]
    return is_theirs and headers["x-amz-security-token"] == "tok"


@pytest.mark.parametrize("how", ["none", "text", "file"])
def test_the_host_of_a_container_hands_out_credentials(
    cloud: Cloud, look: Look, tmp_path: Path, how: str
) -> None:
    cloud.answers = {"/creds": KEYS}
    (tmp_path / "token").write_text("shown\n")
    more = {
        "none": {},
        "text": {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "shown"},
        "file": {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token")},
    }[how]
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/creds", **more}
    look("s3://b/m", environment, RemoteStore(endpoint=cloud.url, region="r"))
    assert cloud.headers("/creds").get("authorization", "") == ("" if how == "none" else "shown")
    assert is_signed(cloud.headers("list-type"))


def test_credentials_of_a_container_are_not_asked_for_in_plain_text_elsewhere(look: Look) -> None:
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://other.example/creds"}
    with pytest.raises(FailedPrecondition, match="must be https"):
        look("s3://b/m", environment, RemoteStore(endpoint="http://127.0.0.1:1"))


def test_a_container_whose_host_has_no_credentials_is_not_replaced_by_the_instance(
    cloud: Cloud, look: Look
) -> None:
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/creds"}
    with pytest.raises(ServingError, match="the credentials of the container"):
        look("s3://b/m", environment, RemoteStore(endpoint=cloud.url, region="r"))
    assert [path for path, _, _ in cloud.asked] == ["/creds"]


@pytest.mark.parametrize(
    ("headers", "drip", "reason"),
    [(HEADERS, b"x", "ReadTimeout"), (ENDLESS, b"[" * 10_000, "ValueError")],
    ids=["drips", "never ends"],
)
def test_credentials_of_a_container_are_there_in_time_and_small_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, headers: bytes, drip: bytes, reason: str
) -> None:
    monkeypatch.setattr("salver.remote.container._TIMEOUT_S", 1.0)
    begun_s = time.monotonic()
    with dripping(headers, drip) as url:
        ask = credentials_of_container(url, {})
        with pytest.raises(Unauthenticated, match=f"gives no credentials: {reason}"):
            ask()
    assert time.monotonic() - begun_s < 5.0


def test_the_instance_hands_out_credentials(cloud: Cloud, look: Look) -> None:
    base = "/latest/meta-data/iam/security-credentials/"
    cloud.answers = {f"{base}role": KEYS, base: "role", "/latest/api/token": "session"}
    environment = {"AWS_METADATA_ENDPOINT": cloud.url}
    look("s3://b/m", environment, RemoteStore(endpoint=cloud.url, region="r"))
    assert is_signed(cloud.headers("list-type"))


def test_an_answer_at_which_the_library_panics_is_an_error_as_any_other(
    cloud: Cloud, look: Look
) -> None:
    cloud.answers = {"/latest/meta-data/": "<html>\n<body>not a role</body></html>"}
    environment = {"AWS_METADATA_ENDPOINT": cloud.url}
    with pytest.raises(ServingError, match="cannot be listed"):
        look("s3://b/m", environment, RemoteStore(endpoint=cloud.url, region="r"))


def test_a_web_identity_is_changed_for_credentials(
    secure: Cloud, cloud: Cloud, look: Look, tmp_path: Path
) -> None:
    secure.answers = {"WebIdentity": STS}
    (tmp_path / "jwt").write_text("my-jwt")
    environment = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "jwt"),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/models",
        "AWS_ENDPOINT_URL_STS": secure.url,
    }
    store = RemoteStore(endpoint=cloud.url, region="r", ca_file=str(tmp_path / "ca.pem"))
    look("s3://b/m", environment, store)
    assert "my-jwt" in "".join(path + body for path, _, body in secure.asked)
    assert is_signed(cloud.headers("list-type"))


def test_a_store_with_a_certificate_of_its_own_is_reached_as_is_said(
    secure: Cloud, look: Look, tmp_path: Path
) -> None:
    plain, ca_file = RemoteStore(region="r", anonymous=True), str(tmp_path / "ca.pem")
    host = {"S3_ENDPOINT": secure.url.removeprefix("https://")}
    with pytest.raises(ServingError, match="its certificate is of an unknown authority"):
        look("s3://b/m", host, plain)
    assert secure.asked == []
    look("s3://b/m", {}, replace(plain, ca_file=ca_file))
    look("s3://b/m", {"AWS_CA_BUNDLE": ca_file}, plain)
    look("s3://b/m", {"AWS_CA_BUNDLE": "", "S3_VERIFY_SSL": "0"}, plain)
    assert len(secure.asked) == 3


def test_the_metadata_of_google_hands_out_a_token(cloud: Cloud, look: Look) -> None:
    cloud.answers = {"/computeMetadata": BEARER}
    environment = {"GCE_METADATA_HOST": cloud.url.removeprefix("http://")}
    look("gs://b/m", environment, RemoteStore(endpoint=cloud.url))
    assert cloud.headers("/computeMetadata")["metadata-flavor"] == "Google"
    assert cloud.headers("list-type")["authorization"] == "Bearer cloud-token"


def test_the_managed_identity_of_azure_hands_out_a_token(cloud: Cloud, look: Look) -> None:
    cloud.answers = {"/token": BEARER, "restype": BLOBS}
    environment = {
        "AZURE_STORAGE_ACCOUNT": "account",
        "IDENTITY_ENDPOINT": f"{cloud.url}/token",
        "IDENTITY_HEADER": "shown",
    }
    look("az://b/m", environment, RemoteStore(endpoint=cloud.url))
    assert cloud.headers("/token")["x-identity-header"] == "shown"
    assert cloud.headers("restype")["authorization"] == "Bearer cloud-token"


def test_a_federated_token_of_azure_is_changed_for_another(
    secure: Cloud, cloud: Cloud, look: Look, tmp_path: Path
) -> None:
    secure.answers, cloud.answers = {"/oauth2": BEARER}, {"restype": BLOBS}
    (tmp_path / "jwt").write_text("my-jwt")
    environment = {
        "AZURE_STORAGE_ACCOUNT": "account",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "jwt"),
        "AZURE_CLIENT_ID": "client",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_AUTHORITY_HOST": secure.url,
    }
    look("az://b/m", environment, RemoteStore(endpoint=cloud.url, ca_file=str(tmp_path / "ca.pem")))
    assert "my-jwt" in "".join(body for _, _, body in secure.asked)
    assert cloud.headers("restype")["authorization"] == "Bearer cloud-token"


def test_requests_go_by_the_proxy_of_the_environment(cloud: Cloud, look: Look) -> None:
    environment = {"HTTP_PROXY": cloud.url}
    store = RemoteStore(endpoint="http://store.example:9000", region="r", anonymous=True)
    look("s3://b/m", environment, store)
    assert cloud.asked[0][0].startswith("http://store.example:9000/b?")


def test_requests_to_hosts_that_are_excepted_go_by_no_proxy(cloud: Cloud, look: Look) -> None:
    environment = {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
    look("s3://b/m", environment, RemoteStore(endpoint=cloud.url, region="r", anonymous=True))
    assert cloud.asked[0][0].startswith("/b?")


def test_web_servers_are_reached_by_the_proxy_of_the_environment(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", cloud.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    web = open_web(RemoteStore(), SourceSettings(), "http")
    assert web.read_small("http://models.example/index.json", 1000) == LISTING.encode()
    web.close()
    assert cloud.asked[0][0] == "http://models.example/index.json"
