"""Stores that are slow, busy, away, or say what is not so: fetches through a faulty proxy."""

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from salver.config.remote import RemoteStore
from salver.errors import (
    Aborted,
    Cancelled,
    NotFound,
    PermissionDenied,
    ServingError,
    Unavailable,
)
from salver.remote.errors import StoreBusy
from salver.remote.parts import RemoteFile
from salver.remote.places import place_of
from salver.remote.source import ObjectStoreSource
from salver.remote.stores import open_bucket
from salver.sources.protocol import MonitoredServable, Version
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import Latest
from tests.faulty_proxy import Proxy, proxy_to
from tests.integration.serving import eventually
from tests.remote_stores import S3, SECRET, moto, rclone

LARGE = random.Random(1).randbytes(20 << 20)  # three parts
SMALL = b"small"


class Stage:
    """Notes how a fetch goes; ends it when it is told to."""

    def __init__(self) -> None:
        self.done_bytes = 0
        self.waits: list[float] = []
        self.is_unwanted = threading.Event()

    def check(self) -> None:
        if self.is_unwanted.is_set():
            raise Cancelled("unwanted")

    def progress(self, done_bytes: int) -> None:
        self.done_bytes = done_bytes
        self.check()

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.check()


class Far:
    """A store behind a proxy, and a source that polls it whenever it is asked."""

    def __init__(self, store: S3, proxy: Proxy) -> None:
        self.store = store
        self.proxy = proxy
        self.now_s = 0.0
        self.requests: Counter[tuple[str, str]] = Counter()
        settings = SourceSettings(
            settle_s=0.0, count=lambda _s, o, code: self.requests.update([(o, code)])
        )
        environment = {**store.environment, "AWS_ENDPOINT_URL": proxy.url}
        self.source = ObjectStoreSource(
            settings,
            lambda: self.now_s,
            lambda place, near, s: open_bucket(place, near, s, environment),
        )
        self.servables: tuple[MonitoredServable, ...] = (
            MonitoredServable("m", "s3://models/m", Latest()),
        )

    def put(self, **files: bytes) -> None:
        sums = ""
        for name, content in files.items():
            self.store.put(f"m/1/{name}", content)
            sums += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        self.store.put("m/1/SHA256SUMS", sums.encode())

    def version(self) -> Version:
        self.now_s += 1000
        ((_, found),) = self.source.find(self.servables)
        assert not isinstance(found, ServingError), found.message
        return found[1]

    def error(self) -> ServingError:
        self.now_s += 1000
        ((_, found),) = self.source.find(self.servables)
        assert isinstance(found, ServingError)
        return found

    def fetch(self, version: Version, into: Path, stage: Stage | None = None) -> dict[str, bytes]:
        into.mkdir(exist_ok=True)
        self.source.fetch(version, into, stage or Stage())
        return {
            str(file.relative_to(into)): file.read_bytes()
            for file in into.rglob("*")
            if file.is_file() and file.name != "SHA256SUMS"
        }


@pytest.fixture(scope="module")
def store() -> Iterator[S3]:
    with moto() as made:
        yield made


@pytest.fixture
def far(store: S3) -> Iterator[Far]:
    store.reset()
    with proxy_to(store.url) as proxy:
        yield Far(store, proxy)


@pytest.mark.parametrize("is_reset", [False, True])
def test_answers_that_are_cut_are_gone_on_with(far: Far, tmp_path: Path, is_reset: bool) -> None:
    far.put(large=LARGE, small=SMALL)
    version = far.version()
    far.proxy.is_reset, far.proxy.cut_after, far.proxy.cuts = is_reset, 3 << 20, 4
    assert far.fetch(version, tmp_path / "v") == {"large": LARGE, "small": SMALL}
    assert far.proxy.cuts == 0
    assert far.proxy.passed_bytes < 1.5 * len(LARGE)


def test_a_store_that_goes_away_in_the_middle_fails_the_fetch_which_then_goes_on(
    far: Far, tmp_path: Path
) -> None:
    far.put(large=LARGE)
    version = far.version()
    far.proxy.away_after = far.proxy.passed_bytes + (12 << 20)
    with pytest.raises(Unavailable, match="s3://models/m/1"):
        far.fetch(version, tmp_path / "v")
    before, far.proxy.is_away = far.proxy.passed_bytes, False
    assert far.fetch(version, tmp_path / "v") == {"large": LARGE}
    assert far.proxy.passed_bytes - before < len(LARGE)


def test_a_store_that_hangs_keeps_nobody_who_wants_to_stop(far: Far, tmp_path: Path) -> None:
    far.put(large=LARGE)
    version, stage = far.version(), Stage()
    far.proxy.hold_after = far.proxy.passed_bytes + (5 << 20)

    def stop() -> None:
        eventually("the store hangs", lambda: not far.proxy.held.is_set())
        stage.is_unwanted.set()

    stopping = threading.Thread(target=stop)
    stopping.start()
    begun_s = time.monotonic()
    with pytest.raises(Cancelled):
        far.fetch(version, tmp_path / "v", stage)
    assert time.monotonic() - begun_s < 20
    stopping.join()
    far.proxy.held.set()


@pytest.mark.parametrize("status", ["503 Slow Down", "429 Too Many Requests"])
def test_a_busy_store_is_left_alone_for_as_long_as_it_asks(far: Far, status: str) -> None:
    far.put(small=SMALL)
    busy = (
        f"HTTP/1.1 {status}\r\nRetry-After: 240\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ).encode()
    far.proxy.canned = [busy, busy]
    error = far.error()
    assert isinstance(error, StoreBusy)
    assert 240.0 <= far.source.poll_wait_s <= 264.0
    assert far.requests["list", status[:3]] == 1
    assert far.version().location == "s3://models/m/1"


def test_a_fetch_waits_too(far: Far, tmp_path: Path) -> None:
    far.put(small=SMALL)
    version, stage = far.version(), Stage()
    busy = b"HTTP/1.1 503 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    far.proxy.canned = [busy, busy]
    assert far.fetch(version, tmp_path / "v", stage) == {"small": SMALL}
    assert 7.0 <= stage.waits[0] <= 8.0


@pytest.mark.parametrize("length", [1, 100])
def test_a_store_that_lies_about_a_length_is_not_believed(
    far: Far, tmp_path: Path, length: int
) -> None:
    far.put(small=SMALL)
    version = far.version()
    etag = far.store.client.head("m/1/SHA256SUMS")["e_tag"]
    lie = (
        f"HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {length}\r\n"
        "Last-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n"
    ).encode()
    bucket = open_bucket(
        place_of(version.location),
        RemoteStore(),
        SourceSettings(),
        {**far.store.environment, "AWS_ENDPOINT_URL": far.proxy.url},
    )
    far.proxy.canned = [lie + b"x"]
    size = far.store.client.head("m/1/SHA256SUMS")["size"]
    with pytest.raises(Aborted, match="has changed since it was listed"):
        list(bucket.read("m/1/SHA256SUMS", RemoteFile("SHA256SUMS", size, etag), 0, size))
    assert not far.proxy.canned


def test_a_version_that_disappears_while_it_is_fetched_is_not_there_any_more(
    far: Far, tmp_path: Path
) -> None:
    version = put_many(far)
    with pytest.raises(NotFound, match=r"s3://models/m/1/f[0-9]+ cannot be read: 404"):
        far.fetch(version, tmp_path / "v", Meddling(far, far.store.reset))
    with pytest.raises(NotFound, match="is not there any more"):
        far.fetch(version, tmp_path / "w")


def test_a_version_that_is_overwritten_while_it_is_fetched_is_never_mixed(
    far: Far, tmp_path: Path
) -> None:
    version = put_many(far)
    others = {f"f{number}": b"other" for number in range(40)}
    with pytest.raises(Aborted, match=r"s3://models/m/1/f[0-9]+ cannot be read: 412"):
        far.fetch(version, tmp_path / "v", Meddling(far, lambda: far.put(**others)))
    again = far.version()
    assert again.revision != version.revision
    assert far.fetch(again, tmp_path / "w") == others


def put_many(far: Far) -> Version:
    """More files than are fetched at a time, of which the answers are held after some."""
    far.put(**{f"f{number}": b"small" for number in range(40)})
    version = far.version()
    far.proxy.hold_after = far.proxy.passed_bytes + 25_000
    return version


class Meddling(Stage):
    """Does something to the store once its answers are held."""

    def __init__(self, far: Far, meddle: Callable[[], object]) -> None:
        super().__init__()
        self.far = far
        self.meddle = meddle

    def progress(self, done_bytes: int) -> None:
        if not self.far.proxy.held.is_set():
            self.meddle()
            self.far.proxy.held.set()
        super().progress(done_bytes)


@pytest.mark.parametrize("key", ["m/1/../../evil", "m/1//evil", "m/1/./evil"])
def test_a_name_that_leads_elsewhere_fails_its_model_alone(far: Far, key: str) -> None:
    far.put(small=SMALL)
    far.store.put("n/1/SHA256SUMS", f"{hashlib.sha256(SMALL).hexdigest()}  x\n".encode())
    far.store.put("n/1/x", SMALL)
    far.store.put(key, b"evil")
    far.servables = tuple(
        MonitoredServable(name, f"s3://models/{name}", Latest()) for name in ("m", "n")
    )
    found = {servable.name: what for servable, what in far.source.find(far.servables)}
    assert not isinstance(found["n"], ServingError)
    if isinstance(found["m"], ServingError):
        assert "evil" in found["m"].message or "invalid path" in found["m"].message
    else:  # the server itself has made another name of it
        assert list(found["m"]) == [1]


def test_a_store_that_answers_no_parts_is_read_whole(tmp_path: Path) -> None:
    with rclone(tmp_path / "rclone") as store, proxy_to(store.url) as proxy:
        far = Far(store, proxy)
        far.put(large=LARGE, small=SMALL)
        assert far.fetch(far.version(), tmp_path / "v") == {"large": LARGE, "small": SMALL}
        assert far.requests["get", "whole"] >= 1


def test_wrong_credentials_are_named_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with rclone(tmp_path / "rclone") as store, proxy_to(store.url) as proxy:
        store.environment = {**store.environment, "AWS_SECRET_ACCESS_KEY": f"{SECRET}-wrong"}
        error = Far(store, proxy).error()
    assert isinstance(error, PermissionDenied)
    assert "(tried the key in AWS_ACCESS_KEY_ID)" in error.message
    assert SECRET not in error.message + caplog.text


def test_the_environment_says_where_the_store_is(store: S3) -> None:
    host = store.url.removeprefix("http://")
    keys = {k: v for k, v in store.environment.items() if k != "AWS_ENDPOINT_URL"}
    environments: list[dict[str, str]] = [
        {**keys, "S3_ENDPOINT": host, "S3_USE_HTTPS": "0", "S3_VERIFY_SSL": "0"},
        {**keys, "S3_ENDPOINT": store.url},
        {**keys, "AWS_ENDPOINT_URL_S3": store.url, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
    ]
    for environment in environments:
        bucket = open_bucket(place_of("s3://models"), RemoteStore(), SourceSettings(), environment)
        bucket.put("probe", b"x")
        assert bucket.head("probe") is not None
    reached: Callable[[], Any] = lambda: open_bucket(  # noqa: E731
        place_of("s3://models"),
        RemoteStore(endpoint=store.url),
        SourceSettings(),
        {**keys, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"},
    ).head("probe")
    assert reached()
