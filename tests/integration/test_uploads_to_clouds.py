"""Versions published to the stores of Google and Azure, by their emulators."""

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import salver
from salver.config.remote import RemoteStore
from salver.errors import AlreadyExists
from salver.remote.places import place_of
from salver.remote.stores import Bucket, open_bucket
from salver.remote.uploading import upload, uploaded_versions
from salver.sources.settings import SourceSettings
from tests.gcs_front import writable
from tests.integration.serving import Server
from tests.integration.test_sources import until_serving
from tests.remote_stores import azurite, fake_gcs

WAIT_S = 60.0


@pytest.fixture(scope="module", params=["gs", "az"])
def far(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    if request.param == "az":
        with azurite() as store:
            yield "az://models", dict(store.environment)
    else:
        with fake_gcs() as store, writable(store.environment["STORAGE_EMULATOR_HOST"]) as url:
            yield "gs://models", {"STORAGE_EMULATOR_HOST": url}


@pytest.fixture
def store(far: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    uri, environment = far
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket = open_bucket(place_of(uri), RemoteStore(), SourceSettings())
    bucket.delete(keys(bucket))
    return bucket


def keys(store: Bucket) -> list[str]:
    return sorted(meta["path"] for page in store.pages("") for meta in page)


def test_a_version_is_uploaded_whole_with_its_checksums(store: Bucket, tmp_path: Path) -> None:
    version = tmp_path / "version"
    (version / "variables").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"model")
    (version / "variables" / "empty").write_bytes(b"")
    large = random.randbytes(11 << 20)  # which goes in parts
    (version / "variables" / "large").write_bytes(large)
    seen: list[list[str]] = []
    upload(version, f"{store.root}/m/1", progress=lambda _d, _t: seen.append(keys(store)))
    assert all("m/1/SHA256SUMS.part" in each and "m/1/SHA256SUMS" not in each for each in seen)
    names = ["SHA256SUMS", "saved_model.pb", "variables/empty", "variables/large"]
    assert keys(store) == [f"m/1/{name}" for name in names]
    assert store.read_small("m/1/variables/large", 20 << 20) == large
    sums = store.read_small("m/1/SHA256SUMS", 1000).decode()
    assert f"{hashlib.sha256(large).hexdigest()}  variables/large\n" in sums
    assert uploaded_versions(f"{store.root}/m") == {1}
    with pytest.raises(AlreadyExists, match="/m/1 is there already"):
        upload(version, f"{store.root}/m/1")


def test_an_upload_that_fails_leaves_nothing(store: Bucket, tmp_path: Path) -> None:
    def fail(done: int, _total: int) -> None:
        if done:
            raise RuntimeError("broken off")

    (tmp_path / "model").write_bytes(b"x")
    with pytest.raises(RuntimeError, match="broken off"):
        upload(tmp_path, f"{store.root}/m/1", progress=fail)
    assert keys(store) == []


def test_of_several_who_upload_one_version_at_once_one_does(store: Bucket, tmp_path: Path) -> None:
    starting, done = threading.Barrier(4), list[str]()

    def publish(name: str) -> None:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "model").write_text(name)
        starting.wait(WAIT_S)
        with suppress(AlreadyExists):
            upload(directory, f"{store.root}/m/1")
            done.append(name)

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    (name,) = done
    assert keys(store) == ["m/1/SHA256SUMS", "m/1/model"]
    assert store.read_small("m/1/model", 10) == name.encode()


def test_what_is_published_is_served(
    store: Bucket,
    model_path: Callable[[str], Path],
    launch_server: Callable[..., Server],
    tmp_path: Path,
) -> None:
    source = model_path("half_plus_two") / "00000123"
    published = salver.publish(source, f"{store.root}/far", check=False)
    assert published.uri == f"{store.root}/far/1"
    cache = f"--model_cache={tmp_path / 'cache'}"
    server = launch_server(f"{store.root}/far", cache, command="salver")
    until_serving(server, 1)
