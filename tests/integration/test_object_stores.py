"""Models in object stores, served by servers as users start them."""

import hashlib
import random
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests

from tests.integration.serving import Server, eventually, run_command
from tests.integration.test_sources import listens, until_serving
from tests.remote_stores import KEY, S3, SECRET, azurite, fake_gcs, moto, rclone
from tests.unit.instruments.test_signatures import keys
from tests.web_server import Hub, serving

LaunchServer = Callable[..., Server]


@pytest.fixture(scope="module")
def far() -> Iterator[S3]:
    with moto() as store:
        yield store


@pytest.fixture
def store(far: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    for name, value in far.environment.items():
        monkeypatch.setenv(name, value)
    far.delete(*far.keys())
    return far


@pytest.fixture
def version(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two") / "00000123"


@pytest.fixture
def serve(launch_server: LaunchServer, tmp_path: Path) -> Callable[..., Server]:
    def serve(*arguments: str) -> Server:
        return launch_server(
            *arguments,
            *(f"--model_cache={tmp_path / 'cache'}", "--remote_poll_wait_seconds=0.3"),
            command="salver",
        )

    return serve


def put_whole(store: S3, version: Path, prefix: str) -> None:
    """Upload as `publish` does: the manifest last."""
    store.put_tree(version, prefix)
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(version)}\n"
        for file in sorted(version.rglob("*"))
        if file.is_file()
    ]
    store.put(f"{prefix}/SHA256SUMS", "".join(lines).encode())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_in_a_bucket_is_served_and_so_is_its_next_version(
    store: S3, version: Path, serve: Callable[..., Server], workers: int
) -> None:
    put_whole(store, version, "shelf/far/1")
    server = serve("s3://models/shelf/far", f"--workers={workers}")
    until_serving(server, 1)
    put_whole(store, version, "shelf/far/2")
    until_serving(server, 2)
    server.wait_until("far", 1, "END")
    page = server.get("/monitoring/prometheus/metrics").text
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    fetched = next(line for line in page.splitlines() if line.startswith("salver_fetched_bytes"))
    assert int(fetched.rpartition(" ")[2]) > 2 * size
    assert 'salver_remote_requests_total{scheme="s3",operation="list",code="ok"}' in page
    assert SECRET not in server.err.text() + page
    assert KEY not in server.err.text() + page
    assert server.stop() == 0


def test_a_version_without_checksums_is_served_once_its_listing_stays_the_same(
    store: S3, version: Path, serve: Callable[..., Server]
) -> None:
    store.put_tree(version, "far/1")
    server = serve("s3://models/far", "--remote_settle_seconds=0.5")
    until_serving(server, 1)


def test_what_was_fetched_before_is_served_at_once_and_fetched_no_more(
    store: S3, version: Path, serve: Callable[..., Server]
) -> None:
    store.put_tree(version, "far/1")
    first = serve("s3://models/far", "--remote_settle_seconds=0")
    until_serving(first, 1)
    assert first.stop() == 0
    second = serve("s3://models/far", "--remote_settle_seconds=600")
    until_serving(second, 1)
    page = second.get("/monitoring/prometheus/metrics").text
    assert 'operation="list"' in page
    assert 'operation="get"' not in page


def test_a_version_that_is_being_uploaded_is_not_touched(
    store: S3, version: Path, serve: Callable[..., Server]
) -> None:
    put_whole(store, version, "far/1")
    store.put("far/2/SHA256SUMS.part", b"")
    put_whole(store, version, "far/2")
    server = serve("s3://models/far", "--remote_settle_seconds=0")
    until_serving(server, 1)
    assert server.states("far") == {1: "AVAILABLE"}
    store.delete("far/2/SHA256SUMS.part")
    until_serving(server, 2)


def test_only_versions_that_are_asked_for_are_fetched(
    store: S3, version: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        put_whole(store, version, f"far/{number}")
    server = serve("s3://models/far")
    until_serving(server, 3)
    assert len(list((tmp_path / "cache").glob("*.entry"))) == 1


def test_a_file_in_a_bucket_is_served_by_its_name(
    store: S3, model_path: Callable[[str], Path], serve: Callable[..., Server]
) -> None:
    pytest.importorskip("onnxruntime")
    (file,) = model_path("onnx_half_plus_two").rglob("*.onnx")
    store.put("nets/far.onnx", file.read_bytes())
    store.put("nets/other.onnx", file.read_bytes())
    server = serve("s3://models/nets/far.onnx", "--remote_settle_seconds=0")
    until_serving(server, 1)


def test_a_wrong_checksum_keeps_a_version_from_being_served(
    store: S3, version: Path, serve: Callable[..., Server]
) -> None:
    put_whole(store, version, "far/1")
    put_whole(store, version, "far/2")
    store.put("far/2/saved_model.pb", b"something else")
    server = serve("s3://models/far")
    eventually("it listens", lambda: listens(server))
    server.wait_until("far", 2, "END")
    statuses = server.get("/v1/models/far").json()["model_version_status"]
    assert "is not the file that its checksum is of" in str(statuses)


def test_a_model_in_a_bucket_is_shown_as_one_on_the_disk(
    store: S3, version: Path, tmp_path: Path
) -> None:
    put_whole(store, version, "far/7")
    cache = f"--model_cache={tmp_path / 'cache'}"
    near = run_command("salver", "show", str(version)).stdout
    for uri in ("s3://models/far", "s3://models/far/7"):
        shown = run_command("salver", "show", uri, cache)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.splitlines()[1:] == near.splitlines()[1:]
        assert str(tmp_path) not in shown.stdout
    missing = run_command("salver", "show", "s3://models/none", cache)
    assert missing.returncode != 0
    assert "s3://models/none not found" in missing.stderr


def test_what_a_killed_server_has_fetched_is_not_fetched_again(
    store: S3, version: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    large = 24 << 20
    copy = tmp_path / "with" / "1"
    shutil.copytree(version, copy)
    (copy / "assets").mkdir(exist_ok=True)
    (copy / "assets" / "large").write_bytes(random.randbytes(large))
    put_whole(store, copy, "far/1")

    def noted_bytes() -> int:
        lines = [
            line
            for notes in (tmp_path / "cache").rglob(".salver-parts")
            for line in notes.read_text().splitlines()[:-1]
        ]
        starts: dict[str, int] = {}
        for start, stop, name in (line.split(" ", 2) for line in lines):
            starts[f"{start} {name}"] = int(stop) - int(start)
        return sum(starts.values())

    first = serve("s3://models/far", "--fetch_bandwidth_bytes_per_second=8000000")
    eventually("some of it is there", lambda: noted_bytes() >= 4 << 20)
    there = noted_bytes()
    first.stop(signal.SIGKILL)
    second = serve("s3://models/far")
    until_serving(second, 1)
    page = second.get("/monitoring/prometheus/metrics").text
    fetched = next(line for line in page.splitlines() if line.startswith("salver_fetched_bytes"))
    assert int(fetched.rpartition(" ")[2]) < large + (1 << 20) - there


def test_with_lazy_loading_models_in_memory_make_room_on_the_disk_for_others(
    store: S3, version: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        put_whole(store, version, f"shelf/{name}/1")
    size = sum(len(store.client.get(key).bytes()) for key in store.keys("shelf/a"))
    server = serve("s3://models/shelf", "--lazy_load_models", f"--model_cache_max_bytes={2 * size}")
    eventually("it listens", lambda: listens(server))
    for name in ("a", "b", "c"):
        server.wait_until(name, 1)
    for name in ("a", "b", "c", "a", "c", "b"):
        assert server.predict(name, [2.0]).json() == {"predictions": [3.0]}
    page = server.get("/monitoring/prometheus/metrics").text
    evictions = [line for line in page.splitlines() if line.startswith("salver_evictions_total{")]
    assert sum(int(line.rpartition(" ")[2]) for line in evictions) >= 2
    entries = list((tmp_path / "cache").glob("*.entry"))
    assert 1 <= len(entries) <= 2


@pytest.mark.parametrize("workers", [1, 2])
def test_with_lazy_loading_nothing_is_fetched_before_it_is_asked_for(
    store: S3, version: Path, serve: Callable[..., Server], tmp_path: Path, workers: int
) -> None:
    for name in ("a", "b"):
        put_whole(store, version, f"shelf/{name}/1")
    server = serve("s3://models/shelf", "--lazy_load_models", f"--workers={workers}")
    eventually("it listens", lambda: listens(server))
    for name in ("a", "b"):
        server.wait_until(name, 1)
    assert not list((tmp_path / "cache").glob("*.entry"))
    for _ in range(8):  # of each worker in its turn
        answer = requests.post(f"{server.url}/v1/models/a:predict", json={"instances": [2.0]})
        assert answer.json() == {"predictions": [3.0]}
    assert len(list((tmp_path / "cache").glob("*.entry"))) == 1
    page = server.get("/monitoring/prometheus/metrics").text
    gets = [line for line in page.splitlines() if 'operation="get",code="ok"' in line]
    size = len(store.keys("shelf/a/1"))
    assert 1 <= int(gets[0].rpartition(" ")[2]) <= 2 * size
    put_whole(store, version, "shelf/a/2")  # which replaces what is in memory
    server.wait_until("a", 2)
    answer = requests.post(f"{server.url}/v1/models/a:predict", json={"instances": [2.0]})
    assert answer.headers["salver-model-version"] == "2"
    assert server.stop() == 0


# -- other stores ----------------------------------------------------------------------------------


@contextmanager
def rclone_store(directory: Path, version: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    with rclone(directory) as store:
        store.put_tree(version, "far/7")
        yield "s3://models/far", store.environment


@contextmanager
def azure_store(_directory: Path, version: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    with azurite() as store:
        store.put_tree(version, "far/7")
        yield "az://models/far", store.environment


@contextmanager
def azure_account(_directory: Path, version: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    with azure_store(_directory, version) as (_, environment):
        account = "devstoreaccount1.dfs.core.windows.net"
        yield f"abfs://models@{account}/far", environment


@contextmanager
def google_store(_directory: Path, version: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    with fake_gcs() as store:
        store.put_tree(version, "far/7")
        yield "gs://models/far", store.environment


@contextmanager
def web_store(directory: Path, version: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    with tarfile.open(directory / "7.tar.gz", "w:gz") as tar:
        tar.add(version, "7")
    with serving() as web:
        web.files["/far/7.tar.gz"] = (directory / "7.tar.gz").read_bytes()
        web.files["/far/index.json"] = b'{"versions": {"7": "7.tar.gz"}}'
        yield f"far={web.url}/far/", {}


@contextmanager
def hub_store(_directory: Path, version: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    with serving(Hub()) as hub:
        assert isinstance(hub, Hub)
        files = {
            str(file.relative_to(version)): file.read_bytes()
            for file in version.rglob("*")
            if file.is_file()
        }
        hub.commit("a" * 40, "1970-01-01T00:00:07Z", **files)
        yield "far=hf://owner/repo", {"HF_ENDPOINT": hub.url}


@contextmanager
def local_store(directory: Path, version: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    shutil.copytree(version, directory / "far" / "7")
    yield f"file://{directory}/far", {}


@pytest.mark.parametrize(
    "opened",
    [
        *(rclone_store, azure_store, azure_account, google_store),
        *(web_store, hub_store, local_store),
    ],
)
def test_a_model_is_served_from_every_kind_of_store(
    opened: Callable[[Path, Path], AbstractContextManager[tuple[str, Mapping[str, str]]]],
    version: Path,
    serve: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "store").mkdir()
    with opened(tmp_path / "store", version) as (argument, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        server = serve(argument, "--remote_settle_seconds=0")
        until_serving(server, 7)
        assert server.stop() == 0


def test_both_names_of_a_scheme_are_one_store_and_one_entry_of_the_cache(
    version: Path, serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with google_store(tmp_path, version) as (_, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        cache = (f"--model_cache={tmp_path / 'cache'}", "--remote_settle_seconds=0")
        fetched = run_command("salver", "fetch", "gcs://models/far", *cache)
        assert "gs://models/far/7: in " in fetched.stdout, fetched.stderr
        assert "kept already" in run_command("salver", "fetch", "gs://models/far", *cache).stdout
        until_serving(serve("gcs://models/far"), 7)
    until_serving(serve("gs://models/far"), 7)  # the store is away now


def test_signed_versions_are_published_fetched_kept_and_verified_by_commands(
    store: S3, version: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    key, public = keys(tmp_path / "keys")
    cache, base = f"--model_cache={tmp_path / 'cache'}", "s3://models/signed/half"
    published = run_command("salver", "publish", str(version), base, f"--sign_key={key}")
    assert published.returncode == 0, published.stderr
    demand = f"--manifest_public_key_file={public}"
    fetched = run_command("salver", "fetch", base, cache, demand)
    assert fetched.returncode == 0, fetched.stderr
    assert f"{base}/1: in " in fetched.stdout
    assert "kept already" in run_command("salver", "fetch", f"{base}/1", cache).stdout
    listed = run_command("salver", "cache", "ls", cache)
    assert f"{base}/1" in listed.stdout
    verified = run_command("salver", "cache", "verify", cache)
    assert verified.stdout == f"{base}/1: sums are right\n"
    store.delete(*store.keys("signed"))
    server = serve(f"half={base}", demand, "--remote_settle_seconds=0")
    eventually("it listens", lambda: listens(server))


def test_a_store_that_is_away_at_the_start_leaves_what_is_kept(
    version: Path, serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = "s3://models/away/half"
    with moto() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        put_whole(store, version, "away/half/1")
        fetched = run_command("salver", "fetch", base, f"--model_cache={tmp_path / 'cache'}")
        assert fetched.returncode == 0, fetched.stderr
    server = serve(f"half={base}")
    until_serving(server, 1, "half")
    (status,) = server.get("/v1/models/half").json()["model_version_status"]
    assert status["hint"].startswith("stale: ")
