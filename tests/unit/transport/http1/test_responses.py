import pytest

from salver.transport.http1.responses import (
    _MAX_RENDERED,
    CLOSE,
    HTTP10,
    KEEP_ALIVE,
    ResponseHeads,
    reason_phrase,
)

FIRST_SECOND_OF_2024 = 1704067200.0


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (408, "Request Time-out"),
        (409, "Conflict"),
        (413, "Request Entity Too Large"),
        (417, "Expectation Failed"),
        (429, "Client Error"),
        (431, "Request Header Fields Too Large"),
        (499, "Client Error"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (503, "Service Unavailable"),
        (504, "Gateway Time-out"),
        (599, "Server Error"),
    ],
)
def test_reason_phrases_are_those_of_the_reference(status: int, phrase: str) -> None:
    assert reason_phrase(status) == phrase


def heads(now: float = FIRST_SECOND_OF_2024) -> ResponseHeads:
    made = ResponseHeads()
    made.tick(now)
    return made


def test_a_head_is_rendered_up_to_the_length_of_the_body() -> None:
    assert heads().render(KEEP_ALIVE, 200, "application/json", (("a-b", "c"),)) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\na-b: c\r\n"
        b"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: "
    )


def test_no_content_type_means_no_field() -> None:
    assert b"Content-Type" not in heads().render(KEEP_ALIVE, 200, None, ())


@pytest.mark.parametrize(
    ("mode", "version", "connection"),
    [
        (KEEP_ALIVE, b"HTTP/1.1", None),
        (CLOSE, b"HTTP/1.1", b"close"),
        (KEEP_ALIVE | HTTP10, b"HTTP/1.0", b"keep-alive"),
        (CLOSE | HTTP10, b"HTTP/1.0", b"close"),
    ],
)
def test_a_head_speaks_the_client_s_version(
    mode: int, version: bytes, connection: bytes | None
) -> None:
    lines = heads().render(mode, 200, None, ()).split(b"\r\n")
    assert lines[0] == version + b" 200 OK"
    said = [line for line in lines if line.startswith(b"Connection: ")]
    assert said == ([] if connection is None else [b"Connection: " + connection])


def test_a_value_cannot_add_a_field() -> None:
    rendered = heads().render(KEEP_ALIVE, 200, "a\r\nb: c", (("d\n", "é\r\n\r\n"),))
    assert b"Content-Type: a  b: c\r\nd : \xc3\xa9    \r\nDate" in rendered


def test_a_head_is_remembered_until_the_second_is_over() -> None:
    made = heads()
    key = (KEEP_ALIVE, 200, None, ())
    rendered = made.render(*key)
    made.tick(FIRST_SECOND_OF_2024 + 0.9)
    assert made.get(key) is rendered
    made.tick(FIRST_SECOND_OF_2024 + 1.1)
    assert made.get(key) is None
    assert b"00:00:01 GMT" in made.render(*key)


def test_the_memory_for_heads_is_bounded() -> None:
    made = heads()
    for number in range(_MAX_RENDERED + 1):
        made.render(KEEP_ALIVE, 200, None, (("n", str(number)),))
    assert made.get((KEEP_ALIVE, 200, None, (("n", "0"),))) is None
    assert made.get((KEEP_ALIVE, 200, None, (("n", str(_MAX_RENDERED)),))) is not None
