"""`salver publish` and `salver.publish` to a bucket, and what a server sees of it meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import salver
from salver.errors import AlreadyExists, InvalidArgument, ServingError
from salver.remote.uploading import is_writable, upload, uploaded_versions
from tests.integration.serving import run_command
from tests.remote_stores import S3, moto, rclone

WAIT_S = 60.0


@pytest.fixture(scope="module", params=["moto", "rclone"])
def far(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    if request.param == "moto":
        with moto() as store:
            yield store
    else:
        with rclone(tmp_path_factory.mktemp("rclone")) as store:
            yield store


@pytest.fixture
def store(far: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    for name, value in far.environment.items():
        monkeypatch.setenv(name, value)
    far.delete(*far.keys())
    return far


@pytest.fixture
def version(tmp_path: Path) -> Path:
    directory = tmp_path / "version"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"model")
    (directory / "variables" / "index").write_bytes(b"")
    return directory


def test_a_version_is_uploaded_with_its_checksums(store: S3, version: Path) -> None:
    upload(version, "s3://models/m/1")
    assert store.keys("m") == [
        "m/1/SHA256SUMS",
        "m/1/saved_model.pb",
        "m/1/variables/index",
    ]
    sums = bytes(store.client.get("m/1/SHA256SUMS").bytes()).decode().splitlines()
    assert [line.split("  ")[1] for line in sums] == ["saved_model.pb", "variables/index"]
    assert uploaded_versions("s3://models/m") == {1}


def test_no_server_takes_a_version_for_complete_while_it_is_uploaded(
    store: S3, version: Path
) -> None:
    seen: list[list[str]] = []
    upload(version, "s3://models/m/1", progress=lambda _d, _t: seen.append(store.keys("m")))
    assert len(seen) == 3
    assert all("m/1/SHA256SUMS.part" in keys for keys in seen)
    assert all("m/1/SHA256SUMS" not in keys for keys in seen)
    assert "m/1/SHA256SUMS.part" not in store.keys("m")


def test_an_upload_that_fails_leaves_nothing(store: S3, version: Path) -> None:
    def fail(done: int, _total: int) -> None:
        if done:
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        upload(version, "s3://models/m/1", progress=fail)
    assert store.keys("m") == []


def test_what_is_there_is_not_overwritten(store: S3, version: Path) -> None:
    upload(version, "s3://models/m/1")
    with pytest.raises(AlreadyExists, match="s3://models/m/1 is there already"):
        upload(version, "s3://models/m/1")


def test_of_several_who_upload_one_version_at_once_one_does(store: S3, tmp_path: Path) -> None:
    starting, done = threading.Barrier(4), list[str]()

    def publish(name: str) -> None:
        directory = tmp_path / name
        directory.mkdir()
        for number in range(4):
            (directory / f"file{number}").write_text(f"{name} {number}")
        starting.wait(WAIT_S)
        with suppress(AlreadyExists):
            upload(directory, "s3://models/m/1")
            done.append(name)

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    (name,) = done
    assert store.keys("m") == ["m/1/SHA256SUMS", *(f"m/1/file{n}" for n in range(4))]
    for number in range(4):
        assert bytes(store.client.get(f"m/1/file{number}").bytes()) == f"{name} {number}".encode()


def test_who_is_outdone_in_the_middle_leaves_what_is_anothers(store: S3, version: Path) -> None:
    def outdo(done: int, _total: int) -> None:
        if done:
            store.put("m/1/SHA256SUMS.part", b"of somebody else")

    if "moto" in str(store.process.args):  # which does not let anybody
        return
    with pytest.raises(AlreadyExists, match="is being uploaded by somebody else"):
        upload(version, "s3://models/m/1", progress=outdo)
    assert "m/1/SHA256SUMS.part" in store.keys("m")
    assert "m/1/SHA256SUMS" not in store.keys("m")


def test_who_is_outdone_by_one_that_gave_up_leaves_nothing(store: S3, version: Path) -> None:
    if "moto" in str(store.process.args):
        return

    def drop(done: int, _total: int) -> None:
        if done:
            store.delete("m/1/SHA256SUMS.part")

    with pytest.raises(AlreadyExists, match="is being uploaded by somebody else"):
        upload(version, "s3://models/m/1", progress=drop)
    assert store.keys("m") == []


def test_two_who_publish_the_next_version_publish_two(
    store: S3, model_path: Callable[[str], Path]
) -> None:
    source = model_path("half_plus_two") / "00000123"
    versions = list[int]()

    def publish() -> None:
        versions.append(salver.publish(source, "s3://models/m", check=False).version)

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(versions) == [1, 2]


def test_nothing_is_uploaded_to_a_web_server(version: Path) -> None:
    with pytest.raises(InvalidArgument, match="Nothing can be uploaded to https://h/m/1"):
        upload(version, "https://h/m/1")


def test_wrong_credentials_are_told_of_without_them(
    store: S3, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "rclone" in str(store.process.args):  # which looks at them
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        with pytest.raises(ServingError) as raised:
            upload(version, "s3://models/m/1")
        assert "tried the key in AWS_ACCESS_KEY_ID" in raised.value.message
        assert "another-secret" not in raised.value.message


def test_the_next_version_is_published_by_command_and_by_call(
    store: S3, model_path: Callable[[str], Path]
) -> None:
    source = model_path("half_plus_two") / "00000123"
    published = salver.publish(source, "s3://models/m", check=False)
    assert (published.version, published.uri) == (1, "s3://models/m/1")
    done = run_command("salver", "publish", str(source), "s3://models/m/")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Published version 2: s3://models/m/2\n"
    assert uploaded_versions("s3://models/m") == {1, 2}
    assert is_writable("gs://b/m")
