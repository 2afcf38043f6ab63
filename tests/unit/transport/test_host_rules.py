from ipaddress import ip_address

import pytest

from salver.transport.authority import Address
from salver.transport.heads import Refusal, RequestHead, parse_head
from salver.transport.host_rules import HostRules, is_of_foreign_page
from salver.transport.messages import Headers, HttpRequest

OWN = HostRules(
    ["localhost"],
    own_names=["box", "box.local"],
    is_own_address=lambda address: address == ip_address("192.0.2.7"),
)


def head(
    *fields: str, method: str = "GET", target: str = "/v1/models", version: str = "1.1"
) -> RequestHead:
    lines = [f"{method} {target} HTTP/{version}", *fields, "", ""]
    return parse_head("\r\n".join(lines).encode("latin-1"), 100)


def post(*fields: str, host: str = "localhost:8501") -> RequestHead:
    return head(f"Host: {host}", *fields, method="POST")


def refusal(rules: HostRules, request: RequestHead) -> Refusal:
    with pytest.raises(Refusal) as refused:
        rules(request)
    assert refused.value.status == 403
    return refused.value


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8501",
        "localhost:9999",
        "LOCALHOST.",
        "models.localhost:1",
        "127.0.0.1:8501",
        "127.8.9.1",
        "[::1]:8501",
        "[::ffff:127.0.0.1]",
        "box",
        "Box.local:8501",
        "192.0.2.7:8501",
        "[::ffff:192.0.2.7]",
    ],
)
def test_names_and_addresses_of_this_machine_are_taken_with_any_port(host: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE"):
        OWN(head(f"Host: {host}", method=method))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8501",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "evil-localhost",
        "boxes",
        "a.box",
        "192.0.2.8",
        "0.0.0.0",
        "[::]",
        "[2001:db8::1]:8501",
        "127.1",
        "2130706433",
        "local%68ost",
        "",
        ":8501",
        "*",
    ],
)
def test_other_names_and_addresses_are_forbidden(host: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        refused = refusal(OWN, head(f"Host: {host}", method=method))
        assert refused.message.startswith("Forbidden: this server is not known by the name ")
        assert "--allowed_hosts=" in (refused.hint or "")


def test_the_hint_names_what_is_to_be_allowed_and_no_more_of_it_than_a_name_has() -> None:
    refused = refusal(OWN, head("Host: Models.Example.com:80"))
    assert refused.message == (
        'Forbidden: this server is not known by the name "models.example.com"'
    )
    assert "--allowed_hosts=models.example.com," in (refused.hint or "")
    assert len(refusal(OWN, head("Host: " + "a" * 5000)).message) < 200


def test_http_1_0_may_say_no_name_and_may_not_say_a_foreign_one() -> None:
    OWN(head(version="1.0"))
    OWN(head("Host: localhost", version="1.0"))
    refusal(OWN, head("Host: evil.example", version="1.0"))


def test_the_name_in_an_absolute_target_counts_in_place_of_the_field() -> None:
    OWN(head("Host: evil.example", target="http://localhost:8501/v1/models"))
    refusal(OWN, head("Host: localhost", target="http://evil.example/v1/models"))
    refusal(OWN, head("Host: localhost", target="http://localhost@evil.example/v1/models"))
    refusal(OWN, head(target="http://evil.example/", version="1.0"))
    OWN(head("Host: localhost", target="//evil.example/v1/models"))


@pytest.mark.parametrize(
    ("pattern", "taken", "forbidden"),
    [
        ("models.example.com", ["models.example.com:81", "MODELS.example.com."], ["example.com"]),
        ("*.example.com", ["a.example.com", "a.b.example.com:1"], ["example.com", "aexample.com"]),
        ("198.51.100.1", ["198.51.100.1:1", "[::ffff:198.51.100.1]"], ["198.51.100.2"]),
        ("2001:db8::1", ["[2001:db8::1]:1", "[2001:DB8:0::1]"], ["[2001:db8::2]"]),
        ("*", ["anything", "198.51.100.1", ""], []),
    ],
)
def test_what_is_allowed_is_taken_beside_this_machines_own(
    pattern: str, taken: list[str], forbidden: list[str]
) -> None:
    rules = HostRules([pattern])
    for host in (*taken, "localhost"):
        rules(head(f"Host: {host}"))
    for host in forbidden:
        refusal(rules, head(f"Host: {host}"))


def test_an_address_is_asked_about_each_time_it_is_not_known() -> None:
    asked: list[Address] = []

    def is_own(address: Address) -> bool:
        asked.append(address)
        return len(asked) > 1

    rules = HostRules(["localhost"], is_own_address=is_own)
    refusal(rules, head("Host: 192.0.2.9"))
    rules(head("Host: 192.0.2.9"))
    assert asked == [ip_address("192.0.2.9")] * 2


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8501", "http://localhost:8501"),
        ("localhost:9999", "http://localhost:9999"),
        ("LOCALHOST:8501", "http://localhost:8501"),
        ("127.0.0.1:8501", "http://127.0.0.1:8501"),
        ("[::1]:8501", "http://[::1]:8501"),
        ("box", "http://box"),
        ("box:80", "http://box"),
        ("box", "https://box"),
        ("box:443", "https://box"),
        ("box", "https://box:443"),
        ("box:8443", "https://box:8443"),
    ],
)
def test_a_page_of_this_server_may_post(host: str, origin: str) -> None:
    OWN(post(f"Origin: {origin}", host=host))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://evil.example:8501",
        "http://localhost",
        "http://localhost:3000",
        "http://127.0.0.1:8501",
        "http://a.localhost:8501",
        "https://localhost",
        "null",
        "",
        "localhost:8501",
        "file://",
        "file://localhost:8501",
        "chrome-extension://localhost:8501",
        "http://localhost:8501 http://evil.example",
        "http://localhost:8501/",
        "http://\xe9",
    ],
)
def test_a_page_of_another_origin_may_not(origin: str) -> None:
    refused = refusal(OWN, post(f"Origin: {origin}"))
    assert refused.message == (
        f'Forbidden: a page of "{origin}" may not send requests to this server'
    )
    assert "--rest_api_enable_cors_support" in (refused.hint or "")
    for method in ("PUT", "PATCH", "DELETE"):
        refusal(OWN, head("Host: localhost:8501", f"Origin: {origin}", method=method))
    for method in ("GET", "HEAD", "OPTIONS"):
        OWN(head("Host: localhost:8501", f"Origin: {origin}", method=method))


def test_of_several_origins_each_must_be_this_servers() -> None:
    own, foreign = "Origin: http://localhost:8501", "origin: http://evil.example"
    OWN(post(own, own))
    for fields in ((own, foreign), (foreign, own)):
        refusal(OWN, post(*fields))


def test_an_origin_without_a_host_to_compare_it_with_is_foreign() -> None:
    request = head("Origin: http://localhost:8501", method="POST", version="1.0")
    refusal(OWN, request)
    OWN(head(method="POST", version="1.0"))


def test_foreign_pages_may_post_where_cors_is_on() -> None:
    rules = HostRules(["localhost"], takes_foreign_pages=True)
    rules(post("Origin: http://evil.example"))
    refusal(rules, post("Origin: http://evil.example", host="evil.example"))


def test_any_host_is_not_any_page() -> None:
    rules = HostRules(["*"])
    rules(post("Origin: http://anything:1", host="anything:1"))
    refusal(rules, post("Origin: http://evil.example", host="anything:1"))


def test_a_page_under_an_allowed_name_may_post_whatever_a_proxy_makes_of_it() -> None:
    rules = HostRules(["models.example.com", "*.test", "localhost"])
    for origin in ("https://models.example.com", "http://models.example.com:81", "http://a.test"):
        rules(post(f"Origin: {origin}", host="127.0.0.1:8501"))
    for origin in ("https://example.com", "http://localhost:3000", "ftp://a.test"):
        refusal(rules, post(f"Origin: {origin}", host="127.0.0.1:8501"))


def test_a_page_that_its_browser_says_is_the_servers_own_may_post() -> None:
    """As behind a proxy that calls this server by another name."""
    OWN(post("Origin: https://public.example", "Sec-Fetch-Site: same-origin"))
    for site in ("same-site", "cross-site", "none", "same-origin, cross-site"):
        refusal(OWN, post("Origin: https://public.example", f"Sec-Fetch-Site: {site}"))
    both = ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site")
    refusal(OWN, post("Origin: https://public.example", *both))


@pytest.mark.parametrize(
    ("fields", "is_foreign"),
    [
        (b"Host: a:1\r\n", False),
        (b"Host: a:1\r\nOrigin: http://a:1\r\n", False),
        (b"Host: a:1\r\nOrigin: http://a:2\r\n", True),
        (b"Host: a:1\r\nOrigin: null\r\n", True),
        (b"Origin: http://a:1\r\n", True),
        (b"Host: b\r\nOrigin: http://a:1\r\nSec-Fetch-Site: same-origin\r\n", False),
    ],
)
def test_whether_a_page_of_another_origin_sends_a_request(fields: bytes, is_foreign: bool) -> None:
    assert is_of_foreign_page(HttpRequest("POST", "/", Headers(fields))) is is_foreign
