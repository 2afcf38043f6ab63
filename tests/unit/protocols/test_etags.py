from salver.protocols.etags import etag_of, is_known_to
from salver.transport.messages import Headers, HttpRequest


def get(if_none_match: str = "") -> HttpRequest:
    head = f"If-None-Match: {if_none_match}\r\n".encode() if if_none_match else b""
    return HttpRequest("GET", "/", Headers(head))


def test_the_same_content_has_the_same_tag() -> None:
    assert etag_of(b"a") == etag_of(b"a") != etag_of(b"b")


def test_a_client_that_names_the_tag_has_the_content() -> None:
    tag = etag_of(b"a")
    assert is_known_to(get(f'"other", W/{tag}'), tag)
    assert not is_known_to(get('"other"'), tag)


def test_a_star_is_any_content() -> None:
    assert is_known_to(get(if_none_match="*"), '"tag"')
    assert not is_known_to(get(), '"tag"')
