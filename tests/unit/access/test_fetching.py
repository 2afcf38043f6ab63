import gzip
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import ClassVar

import pytest
from tests.issuers import jwk, key_set, private_key

from salver.access import fetching
from salver.access.fetching import KeySetFetcher, fetch_key_set
from salver.access.key_sets import KeySet
from salver.access.tokens import NoKeys
from salver.errors import Unavailable

WAIT_S = 10
URL = "https://issuer.example/jwks"
ONE = key_set(jwk("RS256", private_key("RS256"), kid="1"))
TWO = key_set(jwk("RS256", private_key("RS256", 1), kid="2"))


class Bench:
    """A fetcher whose pauses end when the test says so, and its issuer."""

    def __init__(self) -> None:
        self.answer: bytes | Exception = ONE
        self.good_s = 300.0
        self.now_s = 1000.0
        self.said: list[list[str] | None] = []
        self.num_fetches = 0
        self.is_let_go = threading.Event()
        self.is_let_go.set()
        self.is_fetching = threading.Semaphore(0)
        self.pauses: SimpleQueue[float | None] = SimpleQueue()
        self.fetcher = KeySetFetcher(
            URL, self.take, fetch=self.fetch, wait=self.wait, monotonic=lambda: self.now_s
        )

    def take(self, fetcher: KeySetFetcher, keys: KeySet | None) -> None:
        assert fetcher.url == URL
        self.said.append(None if keys is None else [key.id for key in keys.keys])

    def fetch(self, url: str) -> tuple[bytes, float]:
        assert url == URL
        self.num_fetches += 1
        self.is_fetching.release()
        assert self.is_let_go.wait(WAIT_S)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, self.good_s

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        self.pauses.put(timeout_s)
        return event.wait(WAIT_S)

    def start(self) -> float | None:
        self.fetcher.start()
        return self.pauses.get(timeout=WAIT_S)

    def poll(self) -> float | None:
        """The pause that follows."""
        self.fetcher.poke()
        return self.pauses.get(timeout=WAIT_S)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.is_let_go.set()
    assert bench.fetcher.close(WAIT_S)


def test_a_key_set_is_said_when_it_is_another(bench: Bench) -> None:
    bench.start()
    bench.poll()
    bench.answer = TWO
    bench.poll()
    assert bench.said == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("good_s", "pause_s"), [(300.0, 300.0), (0.0, 60.0), (600.0, 600.0), (1e9, 3600.0)]
)
def test_it_is_fetched_again_when_its_server_says_within_limits(
    good_s: float, pause_s: float, bench: Bench
) -> None:
    bench.good_s = good_s
    assert bench.start() == pause_s


def test_an_issuer_that_is_away_is_tried_again_less_and_less_often(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.answer = Unavailable("away")
    pauses = [bench.start(), *(bench.poll() for _ in range(6))]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert caplog.messages[0] == "Access control: away; no token of its issuer is taken"
    bench.answer = ONE
    assert bench.poll() == 300.0
    bench.answer = Unavailable("away")
    assert bench.poll() == 2.0


@pytest.mark.parametrize("answer", [Unavailable("away"), b"<html>", b"{}", b""])
def test_the_last_keys_stay_while_there_are_no_others(
    answer: bytes | Exception, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.now_s += 90
    bench.answer = answer
    bench.poll()
    assert bench.said == [["1"]]
    assert caplog.messages[0].endswith("; the keys of 90 s ago stay")


@pytest.mark.parametrize("entries", [(), ({"kty": "ML-DSA", "kid": "2"},)])
def test_an_issuer_that_has_withdrawn_all_keys_that_we_know_has_none(
    entries: tuple[dict[str, object], ...], bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.answer = key_set(*entries)
    assert bench.poll() == 300.0
    assert bench.said == [["1"], []]
    (text,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert text.startswith(f"Access control: {URL} has no public key that can check tokens")
    bench.poll()
    bench.answer = TWO
    bench.poll()
    assert bench.said == [["1"], [], ["2"]]


def test_keys_of_yesterday_are_taken_no_more(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.answer = Unavailable("away")
    bench.now_s += 86_399
    bench.poll()
    assert bench.said == [["1"]]
    bench.now_s += 1
    bench.poll()
    assert bench.said == [["1"], None]
    assert caplog.messages[-1].endswith("its keys are too old, and taken no more")
    bench.answer = ONE
    bench.poll()
    assert bench.said == [["1"], None, ["1"]]


def test_a_fetch_that_was_asked_for_ends_for_all_who_wait(bench: Bench) -> None:
    bench.start()
    bench.now_s += 10
    bench.is_let_go.clear()
    first, second = bench.fetcher.fetched(), bench.fetcher.fetched()
    assert first is not None
    assert first is second
    bench.answer = TWO
    bench.is_let_go.set()
    first.result(WAIT_S)
    assert bench.said == [["1"], ["2"]]
    assert bench.num_fetches == 2


def test_who_leaves_ends_it_for_nobody_else(bench: Bench) -> None:
    bench.start()
    bench.now_s += 10
    waiting = bench.fetcher.fetched()
    assert waiting is not None
    assert not waiting.cancel()
    waiting.result(WAIT_S)


def test_tokens_cause_a_fetch_each_ten_seconds_at_most(bench: Bench) -> None:
    bench.start()
    assert [bench.fetcher.fetched() for _ in range(1000)] == [None] * 1000
    bench.now_s += 9.9
    assert bench.fetcher.fetched() is None
    assert bench.num_fetches == 1
    bench.now_s += 0.1
    assert bench.fetcher.fetched() is not None


def test_who_asks_while_it_is_fetched_waits_for_that(bench: Bench) -> None:
    bench.is_let_go.clear()
    bench.fetcher.start()
    assert bench.is_fetching.acquire(timeout=WAIT_S)
    waiting = bench.fetcher.fetched()
    assert waiting is not None
    bench.is_let_go.set()
    waiting.result(WAIT_S)
    assert bench.num_fetches == 1


def test_some_hundred_wait_for_one_fetch_and_the_others_are_refused_at_once(bench: Bench) -> None:
    bench.start()
    bench.now_s += 10
    bench.is_let_go.clear()
    waiting = [bench.fetcher.fetched() for _ in range(256)]
    for _ in range(3):
        with pytest.raises(NoKeys, match="Very many requests wait for the keys"):
            bench.fetcher.fetched()
    bench.is_let_go.set()
    assert waiting[0] is not None
    waiting[0].result(WAIT_S)
    assert bench.pauses.get(timeout=WAIT_S) == 300.0
    bench.now_s += 10
    assert bench.fetcher.fetched() is not None


def test_a_fetch_that_fails_ends_the_wait_too(bench: Bench) -> None:
    bench.start()
    bench.now_s += 10
    bench.answer = KeyError("a fault of ours")
    waiting = bench.fetcher.fetched()
    assert waiting is not None
    waiting.result(WAIT_S)


def test_a_stop_ends_the_wait_of_all_at_once(bench: Bench) -> None:
    bench.is_let_go.clear()
    bench.fetcher.start()
    assert bench.is_fetching.acquire(timeout=WAIT_S)
    waiting = bench.fetcher.fetched()
    assert waiting is not None
    bench.fetcher.stop()
    waiting.result(WAIT_S)


# -- over HTTP -----------------------------------------------------------------------------------


ZEROS = bytes(2 << 20)
COMPRESSED = {"/gzip": "gzip", "/twice": "gzip, gzip", "/unknown": "x-other"}


class Issuer(BaseHTTPRequestHandler):
    """Answers as the path says."""

    has_ended = threading.Event()
    accepted: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        if self.path == "/drip":
            self._drip()
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
        elif self.path == "/large":
            self._send(b"x" * ((1 << 20) + 1))
        elif self.path in COMPRESSED:
            self._send(gzip.compress(gzip.compress(ZEROS)), encoding=COMPRESSED[self.path])
        elif self.path == "/plain":
            self.accepted.append(self.headers["Accept-Encoding"])
            self._send(ONE, encoding="identity")
        elif self.path == "/good":
            self._send(ONE)
        elif self.path == "/cached":
            self._send(ONE, "public, max-age=77, must-revalidate")
        else:
            self.send_error(404)

    def _send(self, content: bytes, caching: str = "no-cache", encoding: str = "") -> None:
        self.send_response(200)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", caching)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content)

    def _drip(self) -> None:
        """A byte of the head at a time, for ever."""
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.has_ended.wait(0.02):
                self.wfile.write(b"x")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Issuer.has_ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_set_is_fetched(issuer: str) -> None:
    assert fetch_key_set(f"{issuer}/good") == (ONE, 300.0)
    assert fetch_key_set(f"{issuer}/cached") == (ONE, 77.0)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/none", "HTTP status 404"),
        ("/moved", "HTTP status 302"),
        ("/large", "more than 1048576 bytes"),
    ],
)
def test_what_is_not_there_is_told(path: str, why: str, issuer: str) -> None:
    with pytest.raises(Unavailable, match=f"{path} cannot be read: {why}"):
        fetch_key_set(f"{issuer}{path}")


@pytest.mark.parametrize("path", COMPRESSED)
def test_a_compressed_key_set_is_refused_before_it_is_made_larger(path: str, issuer: str) -> None:
    with pytest.raises(Unavailable, match=f"{path} cannot be read: it is compressed"):
        fetch_key_set(f"{issuer}{path}")


def test_a_key_set_is_requested_as_it_is(issuer: str) -> None:
    assert fetch_key_set(f"{issuer}/plain") == (ONE, 300.0)
    assert Issuer.accepted == ["identity"]


def test_an_issuer_that_never_ends_is_left(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_TIMEOUT_S", 0.3)
    begin_s = time.monotonic()
    with pytest.raises(Unavailable, match=r"took more than 0\.3 s"):
        fetch_key_set(f"{issuer}/drip")
    assert time.monotonic() - begin_s < 5


def test_nobody_there_is_told() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/jwks cannot be read: "):
        fetch_key_set("http://127.0.0.1:1/jwks")


def test_what_stands_behind_the_address_is_told_nobody(
    issuer: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{issuer}/none?code=s3cret"
    with pytest.raises(Unavailable) as failed:
        fetch_key_set(url)
    assert "s3cret" not in str(failed.value)
    ended = threading.Event()

    def wait(_event: threading.Event, _timeout_s: float | None) -> bool:
        ended.set()
        return True

    fetcher = KeySetFetcher(url, lambda _fetcher, _keys: None, wait=wait)
    fetcher.start()
    assert ended.wait(WAIT_S)
    assert fetcher.close(WAIT_S)
    assert "/none cannot be read: HTTP status 404" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="salver")
