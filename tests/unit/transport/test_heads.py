import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.heads import (
    CHUNKED,
    HeadCache,
    Refusal,
    RequestHead,
    body_too_large,
    parse_head,
    request_line_fault,
)

MAX_BODY_BYTES = 1000


def head(text: str) -> RequestHead:
    return parse_head(text.replace("\n", "\r\n").encode("latin-1"), MAX_BODY_BYTES)


def refusal(text: str) -> Refusal:
    with pytest.raises(Refusal) as raised:
        head(text)
    return raised.value


def test_a_head_says_method_target_and_fields() -> None:
    read = head("POST /v1/models/m:predict?a HTTP/1.1\nHost: x\nContent-Length: 7\n\n")
    assert (read.method, read.target, read.length) == ("POST", "/v1/models/m:predict?a", 7)
    assert read.headers.get(b"host") == b"x"
    assert read.is_plain
    assert read.keep_alive
    assert not read.is_http10


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_the_methods_of_the_reference_are_understood(method: str) -> None:
    read = head(f"{method} / HTTP/1.1\nHost: a\n\n")
    assert read.method == method
    assert read.is_head == (method == "HEAD")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "FOO", "get", "PRI"])
def test_other_methods_are_not_implemented(method: str) -> None:
    refused = refusal(f"{method} / HTTP/1.1\nHost: a\n\n")
    assert (refused.status, refused.message) == (501, f"Not Implemented: method {method}")


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\n", True),
        ("0.9", "", False),
    ],
)
def test_whether_the_connection_is_kept(version: str, connection: str, kept: bool) -> None:
    read = head(f"GET / HTTP/{version}\nHost: a\n{connection}\n")
    assert read.keep_alive is kept
    assert read.is_http10 is (version != "1.1")


def test_an_upgrade_is_an_ordinary_request() -> None:
    read = head(
        "POST / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: h2c\nContent-Length: 3\n\n"
    )
    assert (read.length, read.keep_alive) == (3, True)


@pytest.mark.parametrize(
    "line",
    [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / a HTTP/1.1",
        "GET / HTP/1.1",
        "GET / RTSP/1.0",
        "G@T / HTTP/1.1",
        "GET / HTTP/1.x",
        "garbage",
    ],
)
def test_a_malformed_request_line_is_a_bad_request(line: str) -> None:
    refused = refusal(f"{line}\n\n")
    assert (refused.status, refused.message) == (400, "Bad Request: malformed request line")


def test_http_2_is_not_spoken() -> None:
    refused = refusal("PRI * HTTP/2.0\n\n")
    assert (refused.status, refused.hint) == (400, "Send the request as HTTP/1.1.")


def test_a_target_that_is_no_uri_is_a_bad_request() -> None:
    refused = refusal("GET /{m} HTTP/1.1\nHost: a\n\n")
    assert refused.status == 400
    assert refused.message == "Bad Request: the request target is not a valid URI"


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 1_0",
        "Content-Length: 0x1",
        "Content-Length: ",
        "Content-Length: 1, 1",
        "Content-Length: 1\nContent-Length: 1",
        "Content-Length: 1\nContent-Length: 2",
        "Content-Length: 99999999999999999999",
        "Content-Length : 1",
        "Content-Length: 1\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nContent-Length: 1",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
        "no colon",
        ": no name",
        "A: b\n folded",
        "A: b\0c",
        "A\0: b",
        "A: b\rc",
    ],
)
def test_fields_that_could_smuggle_a_request_are_refused(fields: str) -> None:
    refused = refusal(f"POST / HTTP/1.1\nHost: a\n{fields}\n\n")
    assert refused.status == 400
    assert refused.message.startswith("Bad Request: ")


def test_a_bare_line_feed_ends_no_line() -> None:
    with pytest.raises(Refusal):
        parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", MAX_BODY_BYTES)


def test_chunks_are_understood() -> None:
    read = head("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: Chunked\n\n")
    assert (read.length, read.is_plain) == (CHUNKED, False)


def test_another_transfer_coding_is_not_implemented() -> None:
    refused = refusal("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked\n\n")
    assert refused.status == 501


def test_http_1_0_has_no_chunks() -> None:
    assert refusal("POST / HTTP/1.0\nTransfer-Encoding: chunked\n\n").status == 400


def test_a_body_over_the_limit_is_refused_before_it_comes() -> None:
    assert head("POST / HTTP/1.1\nHost: a\nContent-Length: 1000\n\n").length == 1000
    refused = refusal("POST / HTTP/1.1\nHost: a\nContent-Length: 1001\nExpect: 100-continue\n\n")
    assert (refused.status, refused.message) == (
        413,
        "Request body is larger than 1000 bytes",
    )
    assert body_too_large(1000).hint == "The server's --max_request_bytes sets this limit."


def test_a_client_may_wait_to_send_its_body() -> None:
    read = head("POST / HTTP/1.1\nHost: a\nContent-Length: 5 \nexpect: 100-Continue\n\n")
    assert (read.length, read.expects_continue, read.is_plain) == (5, True, False)


def test_nobody_waits_to_send_no_body() -> None:
    assert not head("POST / HTTP/1.1\nHost: a\nExpect: 100-continue\n\n").expects_continue


def test_http_1_0_expects_nothing() -> None:
    read = head("POST / HTTP/1.0\nContent-Length: 5\nExpect: a pony\n\n")
    assert (read.expects_continue, read.is_plain) == (False, True)


def test_other_expectations_fail() -> None:
    assert refusal("POST / HTTP/1.1\nHost: a\nExpect: a pony\n\n").status == 417


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "gzip, identity"])
def test_a_gzipped_body_is_known_by_its_coding(coding: str) -> None:
    read = head(f"POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Encoding: {coding}\n\n")
    assert (read.coding, read.is_plain) == (b"gzip", False)


def test_a_deflated_body_is_inflated_for_the_open_inference_protocol_alone() -> None:
    fields = "HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Encoding: Deflate\n\n"
    read = head(f"POST /v2/models/m/infer {fields}")
    assert (read.coding, read.is_plain) == (b"deflate", False)
    assert head(f"POST /v1/models/m:predict {fields}").coding is None


def test_another_content_coding_is_left_as_it_is() -> None:
    read = head("POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Encoding: br\n\n")
    assert (read.coding, read.is_plain) == (None, True)


def test_half_a_head_is_refused_for_its_first_line_alone() -> None:
    assert request_line_fault(b"GET / HT") is None
    assert request_line_fault(b"GET / HTTP/1.1\r\nHos") is None
    fault = request_line_fault(b"hello\nworld")
    assert fault is not None
    assert (fault.status, fault.hint) == (400, None)


def test_a_tls_client_is_told_that_this_port_is_plain() -> None:
    fault = request_line_fault(b"\x16\x03\x01\x02\x00")
    assert fault is not None
    assert fault.hint == "This port speaks plain HTTP: use http:// instead of https://."


def test_a_repeated_head_is_read_once() -> None:
    cache = HeadCache(MAX_BODY_BYTES)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert cache.get(raw) is None
    assert cache.parse(raw) is cache.get(raw)


def test_refusals_and_long_heads_are_not_remembered() -> None:
    cache = HeadCache(MAX_BODY_BYTES)
    long = b"GET / HTTP/1.1\r\nHost: a\r\nA: %b\r\n\r\n" % (b"a" * HeadCache.MAX_HEAD_BYTES)
    cache.parse(long)
    with pytest.raises(Refusal):
        cache.parse(b"GET\r\n\r\n")
    assert cache.get(long) is None
    assert cache.get(b"GET\r\n\r\n") is None


def test_the_memory_for_heads_is_bounded() -> None:
    cache = HeadCache(MAX_BODY_BYTES)
    first = b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n"
    for number in range(HeadCache.MAX_ENTRIES + 1):
        cache.parse(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    assert cache.get(first) is None
    assert cache.get(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % HeadCache.MAX_ENTRIES) is not None


@pytest.mark.parametrize(
    ("line", "fields", "authority"),
    [
        ("GET / HTTP/1.1", "Host: a", b"a"),
        ("GET / HTTP/1.1", "host:Example.com:80", b"Example.com:80"),
        ("GET / HTTP/1.1", "X: y\nHOST: \t [::1]:8501 ", b"[::1]:8501"),
        ("GET / HTTP/1.1", "Host: tf_serving:8501\nX-Host: b", b"tf_serving:8501"),
        ("GET / HTTP/1.1", "Host:", b""),
        ("GET / HTTP/1.1", "Host: :8501", b":8501"),
        ("GET / HTTP/1.1", "Host: a:", b"a:"),
        ("GET http://b:1/a HTTP/1.1", "Host: a", b"b:1"),
        ("GET http://me:pw@b/a HTTP/1.1", "Host: a", b"b"),
        ("GET http://b HTTP/1.0", "", b"b"),
        ("GET //b/a HTTP/1.1", "Host: a", b"a"),
        ("OPTIONS * HTTP/1.1", "Host: a", b"a"),
        ("GET / HTTP/1.0", "", b""),
        ("GET / HTTP/1.0", "Host: a", b"a"),
        ("GET / HTTP/0.9", "", b""),
    ],
)
def test_a_head_says_whom_it_is_for(line: str, fields: str, authority: bytes) -> None:
    end = "\n" if fields else ""
    assert head(f"{line}\n{fields}{end}\n").authority == authority


@pytest.mark.parametrize(
    ("line", "fields", "message"),
    [
        ("GET / HTTP/1.1", "", "the request has no Host field"),
        ("GET http://b/ HTTP/1.1", "", "the request has no Host field"),
        ("GET / HTTP/1.1", "X-Host: a\n", "the request has no Host field"),
        ("GET / HTTP/1.1", "Host: a\nHost: a\n", "the request has more than one Host field"),
        ("GET / HTTP/1.1", "host: a\nX: y\nHOST: b\n", "the request has more than one Host field"),
        ("GET / HTTP/1.0", "Host: a\nHost: b\n", "the request has more than one Host field"),
        ("GET / HTTP/1.1", "Host: a b\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: a, b\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: me@a\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: a/b\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: a:b\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: a:1:2\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: ::1\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: [::1\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: http://a\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.1", "Host: \xe9\n", "the Host field is not NAME[:PORT]"),
        ("GET / HTTP/1.0", "Host: a b\n", "the Host field is not NAME[:PORT]"),
    ],
)
def test_a_head_that_does_not_say_once_whom_it_is_for_is_refused(
    line: str, fields: str, message: str
) -> None:
    refused = refusal(f"{line}\n{fields}\n")
    assert (refused.status, refused.message) == (400, f"Bad Request: {message}")
    assert refused.hint == "RFC 9112 asks for one field: Host: NAME[:PORT]."


def test_whoever_is_not_admitted_is_asked_about_each_time() -> None:
    asked = []

    def admit(read: RequestHead) -> None:
        asked.append(read.authority)
        if read.authority == b"evil":
            raise Refusal(403, "no")

    cache = HeadCache(MAX_BODY_BYTES, admit)
    good, bad = (b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name for name in (b"good", b"evil"))
    cache.parse(good)
    for _ in range(2):
        with pytest.raises(Refusal, match="no"):
            cache.parse(bad)
    assert cache.get(good) is not None
    assert cache.get(bad) is None
    assert asked == [b"good", b"evil", b"evil"]


WORDS = [
    b"GET / HTTP/1.1",
    b"HTTP/1.1",
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\0",
    b"\xff",
    b"A: b",
    b"Content-Length: 1",
    b"Transfer-Encoding: chunked",
    b"Connection: upgrade",
    b"Upgrade: x",
]


@given(st.lists(st.sampled_from(WORDS)))
def test_whatever_ends_at_its_first_empty_line_is_a_head_or_refused(words: list[bytes]) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(words) + b"\r\n\r\n"
    raw = raw[: raw.index(b"\r\n\r\n") + 4]
    try:
        length = parse_head(raw, MAX_BODY_BYTES).length
    except Refusal:
        return
    assert raw.count(b"\n") == raw.count(b"\r") == raw.count(b"\r\n")
    assert length in (CHUNKED, 0, 1)
