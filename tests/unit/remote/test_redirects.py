import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from tests.web_server import WebServer, serving

from salver.config.remote import RemoteStore
from salver.errors import PermissionDenied, ServingError, Unavailable
from salver.remote.http import Web, open_web
from salver.remote.places import place_of
from salver.remote.redirects import is_of_prefix, redirected
from salver.sources.settings import SourceSettings

FIRST = "https://host/models/3.tar.gz"


@contextmanager
def secure(authority: trustme.CA) -> Iterator[WebServer]:
    """A web server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(tls=context) as web:
        yield web


def redirecting(web: WebServer, target: str) -> None:
    def redirect(handler: Any) -> bool:
        path = urlsplit(handler.path).path  # a proxy is asked for all of a URL
        if path == target or not path.startswith("/models/"):
            return False
        handler.answer(302, b"", {"Location": target})
        return True

    web.fault = redirect


@pytest.fixture
def opened() -> Iterator[Callable[..., Web]]:
    made: list[Web] = []

    def opened(store: RemoteStore, *others: RemoteStore) -> Web:
        made.append(open_web(store, SourceSettings(), "https", stores=(store, *others)))
        return made[-1]

    yield opened
    for web in made:
        web.close()


@pytest.mark.parametrize(("hops", "found"), [(5, b"x"), (6, None)])
def test_as_many_redirects_are_followed_as_the_page_says(
    opened: Callable[..., Web], hops: int, found: bytes | None
) -> None:
    def redirect(handler: Any) -> bool:
        left = int(handler.path.rpartition("/")[2])
        if left:
            handler.answer(302, b"", {"Location": f"/models/{left - 1}"})
        return left > 0

    with serving() as web:
        web.fault, web.files["/models/0"] = redirect, b"x"
        client = opened(RemoteStore(f"{web.url}/models"))
        if found is not None:
            assert client.read_small(f"{web.url}/models/{hops}", 10) == found
        else:
            with pytest.raises(ServingError, match="redirects without end"):
                client.read_small(f"{web.url}/models/{hops}", 10)


@pytest.mark.parametrize("target", ["/other/x", "/models-evil/x", "/models/%2e%2e/other/x"])
def test_a_token_is_told_to_its_prefix_alone(
    opened: Callable[..., Web], tmp_path: Path, target: str
) -> None:
    (tmp_path / "token").write_text("hidden")
    with serving() as web:
        prefix = f"{web.url}/models"
        client = opened(RemoteStore(prefix, credential_file=str(tmp_path / "token")))
        web.files["/other/x"] = web.files["/models-evil/x"] = web.files["/models/../other/x"] = b"x"
        redirecting(web, target)
        assert client.read_small(f"{prefix}/x", 10) == b"x"
        assert [headers.get("authorization") for headers in web.headers] == ["Bearer hidden", None]
        web.headers.clear()
        web.files["/models/y"] = b"y"
        redirecting(web, "/models/y")
        assert client.read_small(f"{prefix}/x", 10) == b"y"
        assert [headers.get("authorization") for headers in web.headers] == ["Bearer hidden"] * 2


def test_a_token_that_was_left_out_once_is_told_to_nobody_who_redirects_back(
    opened: Callable[..., Web], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hidden")
    with serving() as web, serving() as other:
        web.files["/models/back"] = b"x"
        redirecting(other, f"{web.url}/models/back")
        web.fault = lambda handler: (
            handler.path != "/models/back"
            and (handler.answer(302, b"", {"Location": f"{other.url}/models/x"}) is None)
        )
        client = opened(RemoteStore(f"{web.url}/models", credential_file=str(tmp_path / "token")))
        assert client.read_small(f"{web.url}/models/x", 10) == b"x"
        assert [headers.get("authorization") for headers in web.headers] == ["Bearer hidden", None]
        assert "authorization" not in other.headers[0]


def test_the_authority_of_one_prefix_vouches_for_no_other_place(
    opened: Callable[..., Web], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca_file = str(tmp_path / "ca.pem")
    with secure(authority) as web, secure(authority) as other:
        other.files["/x"] = b"x"
        redirecting(web, f"{other.url}/x")
        ours = RemoteStore(web.url, ca_file=ca_file)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            opened(ours).read_small(f"{web.url}/models/x", 10)
        assert other.asked == []
        client = opened(ours, RemoteStore(other.url, ca_file=ca_file))
        assert client.read_small(f"{web.url}/models/x", 10) == b"x"


def test_a_redirect_goes_by_the_proxy_of_what_redirects(opened: Callable[..., Web]) -> None:
    with serving() as proxy:
        redirecting(proxy, "http://files.example/there")
        proxy.files["/there"] = b"there"
        client = opened(RemoteStore("http://models.example", proxy=proxy.url))
        assert client.read_small("http://models.example/models/x", 10) == b"there"


@pytest.mark.parametrize(
    ("prefix", "target", "is_ours"),
    [
        ("https://host/models", "https://host/models/there", True),
        ("https://host/models", "HTTPS://Host:443/models/there?sig=x", True),
        ("https://host", "https://host/anywhere", True),
        ("hf://owner", "https://host/anywhere", True),
        ("", "https://host/anywhere", True),
        ("https://host", "http://host/models", False),
        ("https://host", "https://host:444/models", False),
        ("https://host", "https://user@host/models", False),
        ("", "https://other/models", False),
        ("https://host/models", "https://host/models/..%2fother", False),
    ],
)
def test_what_is_known_of_a_prefix_is_meant_for_it_alone(
    prefix: str, target: str, *, is_ours: bool
) -> None:
    assert is_of_prefix(prefix, FIRST, target) == is_ours


@pytest.mark.parametrize(
    ("allowed", "target", "is_allowed"),
    [
        ((), "https://other/x", True),
        (("/",), "https://other/x", True),
        (("s3://models", "https://elsewhere"), "https://other/x", True),
        (("*", "https://host"), "https://other/x", True),
        ((" https://host/models/",), "https://host/models/there?sig=x", True),
        (("https://host", "https://cdn/files"), "https://cdn/files/x", True),
        (("https://host",), "https://other/x", False),
        (("https://host",), "https://host:444/x", False),
        (("https://host/models",), "https://host/secret/x", False),
        (("https://host/models",), "/models/%2e%2e/secret/x", False),
        (("https://host/models",), "../../secret/x", False),
    ],
)
def test_a_redirect_leads_out_of_no_place_that_a_request_may_name(
    allowed: tuple[str, ...], target: str, *, is_allowed: bool
) -> None:
    if is_allowed:
        assert redirected(FIRST, FIRST, target, allowed).startswith("https://")
        return
    with pytest.raises(PermissionDenied, match="which is below none of the places") as raised:
        redirected(FIRST, FIRST, target + "?sig=hidden", allowed)
    assert "hidden" not in raised.value.message


def test_the_second_of_two_redirects_leads_out_no_more_than_the_first() -> None:
    allowed = ("https://host/models", "https://cdn")
    with pytest.raises(PermissionDenied):
        redirected(FIRST, "https://cdn/x", "https://other/x", allowed)


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_bucket_that_redirects_tells_no_other_server_a_signature(status: int) -> None:
    pytest.importorskip("obstore")
    from salver.remote.stores import open_bucket

    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    with serving() as web, serving() as other:

        def redirect(handler: Any) -> bool:
            handler.answer(status, b"", {"Location": f"{other.url}{handler.path}"})
            return True

        web.fault = redirect
        store = RemoteStore("s3://", endpoint=web.url)
        bucket = open_bucket(place_of("s3://b"), store, SourceSettings(), keys)
        with pytest.raises(ServingError):
            list(bucket.pages("m"))
    assert "authorization" in web.headers[0]
    assert not any("authorization" in headers for headers in other.headers)
