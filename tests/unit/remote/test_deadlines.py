import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.dripping import HEADERS, dripping
from tests.integration.serving import eventually
from tests.web_server import serving

from salver.config.remote import RemoteStore
from salver.errors import Unavailable
from salver.remote.deadlines import obey_deadlines, within
from salver.remote.http import HttpReader, open_web
from salver.remote.parts import RemoteFile
from salver.remote.places import place_of
from salver.remote.retry_after import ask_when
from salver.remote.stores import open_bucket
from salver.remote.web_source import WebSource
from salver.sources.protocol import MonitoredServable
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import Latest

KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}


@pytest.mark.parametrize(
    ("before", "drip"),
    [(b"HTTP/1.1 200 OK\r\nX: ", b"x"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (HEADERS, b"x")],
    ids=["headers", "answers before the answer", "body"],
)
def test_an_answer_that_drips_is_there_in_time_or_not_at_all(before: bytes, drip: bytes) -> None:
    begun_s = time.monotonic()
    with (
        dripping(before, drip) as url,
        obey_deadlines(httpx.Client(trust_env=False)) as client,
        within(0.5),
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(url)
    assert 0.4 < time.monotonic() - begun_s < 4.0  # which is less than the time for a byte


def test_a_proxy_that_drips_does_not_keep_us_either() -> None:
    with (
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x") as url,
        obey_deadlines(httpx.Client(proxy=url)) as client,
        within(0.5),
    ):
        for scheme in ("http", "https"):
            with pytest.raises(httpx.TimeoutException):
                client.get(f"{scheme}://models.invalid/")


def test_the_sooner_of_two_deadlines_holds_and_none_outlives_its_block() -> None:
    with (
        dripping(HEADERS, b"x" * 100_000) as url,
        obey_deadlines(httpx.Client(trust_env=False)) as client,
    ):
        with within(0.0), within(60.0), pytest.raises(httpx.TimeoutException):
            client.get(url)
        assert len(client.get(url).content) == 1_000_000


def test_a_store_that_drips_is_away() -> None:
    settings, begun_s = SourceSettings(timeout_s=0.5), time.monotonic()
    with dripping(HEADERS, b"x") as url:
        bucket = open_bucket(
            place_of("s3://models/m"), RemoteStore("s3://", endpoint=url), settings, KEYS
        )
        asks: list[Callable[[], object]] = [
            lambda: list(bucket.pages("m")),
            lambda: bucket.level("m"),
            lambda: bucket.read_small("m/1/SHA256SUMS", 10_000_000),
        ]
        for ask in asks:
            with pytest.raises(Unavailable, match=r"cannot be .*: no answer in time"):
                ask()
    with dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x") as url:
        store = RemoteStore("s3://", endpoint=url)
        bucket = open_bucket(place_of("s3://models/m"), store, settings, KEYS)
        with pytest.raises(Unavailable, match="cannot be looked at: no answer in time"):
            bucket.head("m/1")
    assert 1.5 <= time.monotonic() - begun_s < 20.0  # half a second for each that begins


@pytest.mark.parametrize("before", [HEADERS, b"HTTP/1.1 500 No\r\nContent-Length: 4000\r\n\r\n"])
def test_an_index_that_drips_is_an_error_of_its_model(before: bytes) -> None:
    source = WebSource("http", SourceSettings(timeout_s=0.5))
    with dripping(before, b"x") as url:
        ((_, found),) = source.find([MonitoredServable("m", f"{url}m/", Latest())])
        assert isinstance(found, Unavailable)
        assert "m/index.json cannot be read: no answer in time" in found.message
        source.close()


def test_when_a_busy_store_wants_to_be_asked_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("salver.remote.retry_after._TIMEOUT_S", 0.5)
    with dripping(b"HTTP/1.1 503 Busy\r\nX: ", b"x") as url:
        assert ask_when(url, {}) == 0.0


@pytest.mark.parametrize("is_bucket", [True, False])
def test_what_a_store_drips_of_a_large_file_is_seen_as_it_comes(*, is_bucket: bool) -> None:
    file, settings = RemoteFile("m", 1_000_000), SourceSettings()
    chunks: Iterator[Any]
    with dripping(HEADERS, b"x") as url:
        store = RemoteStore("s3://", endpoint=url)
        if is_bucket:
            bucket = open_bucket(place_of("s3://models/m"), store, settings, KEYS)
            chunks = bucket.read("m", file, 0, file.size, 1)
        else:
            web = open_web(RemoteStore("http://"), settings, "http")
            chunks = HttpReader(web, lambda _file: url).read(file, 0, file.size, 1)
        assert bytes(next(chunks)).strip(b"x") == b""
        assert len(next(chunks)) < 1000
        del chunks


@pytest.mark.parametrize("is_redirect", [True, False])
def test_a_look_that_is_under_way_when_all_is_closed_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, is_redirect: bool
) -> None:
    monkeypatch.setattr(SourceSettings, "quiet_s", 0.05)
    source, models = WebSource("http", SourceSettings(timeout_s=2.0)), []
    with serving() as web, dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x") as url:
        has_closed = threading.Event()

        def redirect(handler: Any) -> bool:
            assert has_closed.wait(30)
            handler.answer(302, b"", {"Location": f"{web.url}/there"})
            return True

        web.fault = redirect
        models = [MonitoredServable("m", f"{web.url if is_redirect else url}/3.tar.gz", Latest())]
        assert list(source.find(models)) == []
        source.close()
        has_closed.set()
        ((_, found),) = eventually("it has ended", lambda: list(source.find(models)))
        assert isinstance(found, Unavailable)
    assert caplog.records == []
