import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.heads import HeadCache, Refusal
from salver.transport.http1 import request_reader
from salver.transport.http1.request_reader import Body, RequestReader, Stage
from salver.transport.limits import HttpLimits

LIMITS = HttpLimits(max_header_bytes=200, max_body_bytes=100)

SEVERAL = (
    b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    b"\r\n\r\nPOST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"
    b"POST /d HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: 2\r\n\r\ngh"
    b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\ni"
    b"GET http://host/f?x HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
)
REQUESTS = [
    ("/a", b""),
    ("/b", b"abc"),
    ("/c", b"def"),
    ("/d", b"gh"),
    ("/e", b"i"),
    ("/f?x", b""),
]


def reader_of(heads: HeadCache | None = None) -> RequestReader:
    return RequestReader(heads or HeadCache(LIMITS.max_body_bytes), LIMITS)


def whole(body: Body) -> bytes:
    return body if isinstance(body, bytes) else b"".join(body)


def drained(reader: RequestReader) -> list[tuple[str, bytes]]:
    """The requests that can be read now."""
    requests = []
    while (request := reader.next()) is not None:
        requests.append((request[0].target, whole(request[1])))
    return requests


def read(reader: RequestReader, data: bytes) -> list[tuple[str, bytes]]:
    """The requests that can be read once `data` has arrived."""
    first = reader.read(data)
    if first is None:
        return []
    return [(first[0].target, whole(first[1])), *drained(reader)]


@pytest.mark.parametrize("step", [*range(1, 60), len(SEVERAL)])
def test_requests_are_the_same_in_pieces_of_any_size(step: int) -> None:
    heads = HeadCache(LIMITS.max_body_bytes)
    for _ in range(2):  # the second time, the heads are known
        reader = reader_of(heads)
        requests = []
        for start in range(0, len(SEVERAL), step):
            requests += read(reader, SEVERAL[start : start + step])
        assert requests == REQUESTS
        assert (reader.stage, reader.held) == (Stage.IDLE, b"")


def test_a_repeated_request_is_read_the_short_way() -> None:
    reader = reader_of()
    data = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    for _ in range(3):
        assert read(reader, data) == [("/b", b"abc")]


def test_what_is_fed_early_waits() -> None:
    reader = reader_of()
    reader.feed(SEVERAL[:30])
    reader.feed(SEVERAL[30:])
    assert reader.unread_bytes == len(SEVERAL)
    assert reader.next() is not None
    reader.feed(SEVERAL)
    assert drained(reader) == REQUESTS[1:] + REQUESTS
    assert reader.unread_bytes == 0


def test_the_stage_tells_how_far_a_request_has_come() -> None:
    reader = reader_of()
    stages = []
    for data in (b"\r\n", b"POST /", b" HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", b"bc"):
        reader.read(data)
        stages.append((reader.stage, reader.received))
    assert stages == [(Stage.IDLE, 0), (Stage.HEAD, 0), (Stage.BODY, 1), (Stage.IDLE, 3)]


EXPECTING = b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"


def test_a_client_that_waits_is_noticed() -> None:
    reader = reader_of()
    assert reader.read(EXPECTING) is None
    assert reader.wants_continue
    assert read(reader, b"abc") == [("/a", b"abc")]


def test_a_client_that_did_not_wait_needs_no_leave() -> None:
    reader = reader_of()
    assert reader.read(EXPECTING + b"a") is None
    assert not reader.wants_continue


def read_bytewise(reader: RequestReader, data: bytes) -> None:
    for byte in data:
        reader.read(bytes([byte]))


def refused(data: bytes) -> Refusal:
    """The refusal of `data`: the same at once and byte by byte."""
    with pytest.raises(Refusal) as at_once:
        reader_of().read(data)
    with pytest.raises(Refusal) as in_pieces:
        read_bytewise(reader_of(), data)
    assert at_once.value.message == in_pieces.value.message
    return at_once.value


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 200,
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 200 + b"\r\n\r\n",
        b"GET /" + b"a" * 200,
        b"a" * 201,
    ],
)
def test_a_head_over_the_limit_is_refused(data: bytes) -> None:
    refusal = refused(data)
    assert (refusal.status, refusal.message, refusal.hint) == (
        431,
        "Request header is larger than 200 bytes",
        "The server's --max_header_bytes sets this limit.",
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\n", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"\x16\x03\x01", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: int) -> None:
    assert refused(data).status == status


def test_empty_lines_alone_are_no_request() -> None:
    reader = reader_of()
    for _ in range(1000):
        assert reader.read(b"\r\n\r\n") is None
    assert reader.stage is Stage.IDLE


WORDS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"\0",
]


def outcome(data: bytes, step: int) -> list[object]:
    """What comes of `data` in steps: requests, then how it ended."""
    reader = reader_of()
    seen: list[object] = []
    try:
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])
            while (request := reader.next()) is not None:
                seen.append((request[0].target, request[1]))
    except Refusal as refusal:
        return [*seen, refusal.status]
    return [*seen, reader.stage]


@given(st.lists(st.sampled_from(WORDS) | st.binary(max_size=5), max_size=20), st.integers(1, 40))
def test_garbage_comes_to_the_same_in_pieces_of_any_size(words: list[bytes], step: int) -> None:
    data = b"".join(words)
    # A request line that is wrong is refused once it is there, and the header that follows it may
    # or may not have arrived and have been too large by then.
    same = {400: 400, 431: 400, 501: 400}
    at_once, in_pieces = outcome(data, len(data) or 1), outcome(data, step)
    assert at_once[:-1] == in_pieces[:-1]
    for end in (at_once, in_pieces):
        if isinstance(end[-1], int):
            end[-1] = same.get(end[-1], end[-1])
    assert at_once[-1] == in_pieces[-1]


# Large bodies.


def reader_of_large(monkeypatch: pytest.MonkeyPatch, *data: bytes) -> RequestReader:
    monkeypatch.setattr(request_reader, "SMALLEST_BYTES", 3)
    monkeypatch.setattr(request_reader, "LARGEST_BYTES", 50)
    reader = reader_of()
    for piece in data:
        assert reader.read(piece) is None
    return reader


def test_the_rest_of_a_large_body_can_be_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
    reader = reader_of_large(monkeypatch, head + b"a", b"b")
    place = reader.begin_in_place()
    assert place is not None
    place.rest[:3] = b"cde"
    assert reader.wrote(3) is None
    assert (reader.received, reader.stage) == (5, Stage.BODY)
    place.rest[:1] = b"f"
    request = reader.wrote(1)
    assert request is not None
    assert (request[0].target, request[1]) == ("/a", b"abcdef")
    assert reader.stage is Stage.IDLE
    following = reader.read(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\ngh")
    assert following is not None
    assert (following[0].target, following[1]) == ("/b", b"gh")


@pytest.mark.parametrize(
    "data",
    [
        b"POST /a HTT",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcd",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 51\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
    ],
)
def test_what_is_small_or_huge_or_of_unknown_length_has_no_place(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reader_of_large(monkeypatch, data).begin_in_place() is None


def test_a_body_that_there_is_no_memory_for_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(size: int, pieces: object) -> None:
        raise MemoryError

    monkeypatch.setattr(request_reader, "LargeBody", no_memory)
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
    with pytest.raises(MemoryError):
        reader_of_large(monkeypatch, head, b"abc").begin_in_place()
