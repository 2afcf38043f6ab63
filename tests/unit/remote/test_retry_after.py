import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from salver.remote.retry_after import ask_when, seconds_of


def test_seconds_and_dates_are_read() -> None:
    assert seconds_of(" 7 ") == 7.0
    assert seconds_of("Thu, 01 Jan 1970 00:01:40 GMT", now_s=40.0) == 60.0
    assert seconds_of("Thu, 01 Jan 1970 00:00:10 GMT", now_s=40.0) == 0.0


def test_no_store_keeps_us_away_for_days() -> None:
    assert seconds_of("999999") == 300.0


@pytest.mark.parametrize("header", ["", "soon", "-3", "\u0663", "1e9"])
def test_what_says_nothing_is_no_time(header: str) -> None:
    assert seconds_of(header) == 0.0


class Handler(BaseHTTPRequestHandler):
    status = 503
    seen: list[str] = []  # noqa: RUF012 - one server at a time

    def do_HEAD(self) -> None:
        self.seen.append(self.headers.get("authorization", ""))
        self.send_response(self.status)
        self.send_header("Retry-After", "9")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/b/x"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_store_is_asked_without_credentials(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "seen", [])
    assert ask_when(url, {}) == 9.0
    assert Handler.seen == [""]


def test_a_store_that_answers_otherwise_says_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "status", 403)
    assert ask_when(url, {}) == 0.0


def test_nobody_is_asked_where_nobody_listens() -> None:
    assert ask_when("http://127.0.0.1:1/x", {}) == 0.0
    assert ask_when("", {}) == 0.0


def test_a_proxy_that_cannot_be_used_is_no_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
    assert ask_when(url, {}) == 0.0
