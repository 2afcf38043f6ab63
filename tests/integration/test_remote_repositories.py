"""Several models below one path of a store, served by one argument."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.serving import Server, eventually, run_command
from tests.integration.test_object_stores import put_whole
from tests.integration.test_sources import listens
from tests.remote_stores import S3, moto
from tests.web_server import serving

onnx_models = pytest.importorskip("tests.onnx_models")
test_onnx = pytest.importorskip("tests.integration.test_onnx")

CONFIG = """\
max_batch_size: 8
version_policy: { specific: { versions: [1, 3] } }
"""


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
def version(tmp_path: Path) -> Path:
    onnx_models.save(test_onnx.MODELS["half"](), tmp_path / "half")
    return tmp_path / "half"


@pytest.fixture
def serve(launch_server: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    def serve(*arguments: str) -> Server:
        cache = f"--model_cache={tmp_path / 'cache'}"
        return launch_server(*arguments, cache, "--remote_poll_wait_seconds=0.3", command="salver")

    return serve


def is_served(server: Server, name: str) -> bool:
    return server.predict(name, [2.0]).status_code == 200


def until_served(server: Server, *names: str) -> None:
    eventually("it listens", lambda: listens(server))
    for name in names:
        eventually(f"{name} is served", partial(is_served, server, name))
    listed = {model["name"] for model in server.get("/v1/models").json()["models"]}
    assert listed == set(names)


def test_each_model_below_a_path_is_served_as_the_file_beside_it_says(
    store: S3, version: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    for number in (1, 3, 4):
        put_whole(store, version, f"shelf/half/{number}")
    store.put("shelf/half/config.pbtxt", CONFIG.encode())
    put_whole(store, version, "shelf/other/1")
    store.put("shelf/README.md", b"no model")
    first = serve("s3://models/shelf")
    until_served(first, "half", "other")
    eventually("as the file says", lambda: set(first.states("half")) == {1, 3})
    config = first.get("/v2/models/half/config").json()
    assert config["version_policy"] == {"specific": {"versions": [1, 3]}}
    assert config["max_batch_size"] == 8
    assert first.predict("half", [0.0] * 9).status_code == 400
    assert first.predict("other", [0.0] * 9).status_code == 200
    store.put("shelf/half/config.pbtxt", CONFIG.replace("1, 3", "4").encode())
    eventually("as the new file says", lambda: first.states("half").get(4) == "AVAILABLE")
    assert first.stop() == 0
    shown = run_command("salver", "show", "s3://models/shelf", f"--model_cache={tmp_path / 'c'}")
    assert shown.returncode == 0, shown.stderr
    assert "s3://models/shelf/half" in shown.stdout
    assert "s3://models/shelf/other" in shown.stdout


def test_with_the_store_away_the_models_that_were_kept_are_served(
    version: Path, serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("half", "other"):
            put_whole(store, version, f"shelf/{name}/1")
        cache = f"--model_cache={tmp_path / 'cache'}"
        fetched = run_command("salver", "fetch", "s3://models/shelf/", cache)
        assert fetched.returncode == 0, fetched.stderr
        assert fetched.stdout.count("s3://models/shelf/") == 2
    server = serve("s3://models/shelf")
    until_served(server, "half", "other")
    assert "are taken from the model cache" in server.err.text()


def packed(version: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        tar.add(version, "1")
    return made.getvalue()


def test_each_model_that_the_index_of_a_web_server_names_is_served(
    version: Path, serve: Callable[..., Server]
) -> None:
    with serving() as web:
        models = {"half": "half/", "other": "other.tar.gz"}
        web.files["/shelf/index.json"] = json.dumps({"models": models}).encode()
        web.files["/shelf/half/index.json"] = b'{"versions": {"1": "1.tar.gz"}}'
        web.files["/shelf/half/1.tar.gz"] = packed(version)
        web.files["/shelf/other.tar.gz"] = packed(version)
        server = serve(f"{web.url}/shelf/")
        until_served(server, "half", "other")
