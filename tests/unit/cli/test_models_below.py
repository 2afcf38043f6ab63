import socket
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from salver.cli.models_below import kept_below, models_below
from salver.config.options import ServerOptions
from salver.sources.protocol import Version
from salver.sources.records import Record


def keep(cache: Path, base_path: str) -> None:
    """Have the cache hold version 1 of a model."""
    entry = cache / f"{abs(hash(base_path))}.entry"
    (entry / "1").mkdir(parents=True)
    version = Version(f"{base_path.rstrip('/')}/1")
    Record.of(1, version, entry / "1", base_path, 0).write(entry)


@pytest.fixture
def options(tmp_path: Path) -> ServerOptions:
    return replace(ServerOptions(), conversion_cache=str(tmp_path))


def test_the_models_that_the_cache_has_directly_below_a_uri_are_known(
    options: ServerOptions, tmp_path: Path
) -> None:
    for base_path in ("s3://b/m/half", "s3://b/m/three", "s3://b/m/deep/er", "s3://b/other"):
        keep(tmp_path, base_path)
    below = {"half": "s3://b/m/half", "three": "s3://b/m/three"}
    assert kept_below("s3://b/m/", options) == below
    keep(tmp_path, "s3://b/m")  # which then is a model itself
    assert kept_below("s3://b/m", options) == {}


def test_a_base_path_of_a_web_server_keeps_its_slash(
    options: ServerOptions, tmp_path: Path
) -> None:
    keep(tmp_path, "https://h/m/half/")
    assert kept_below("https://h/m/", options) == {"half": "https://h/m/half/"}


def test_a_store_that_is_away_leaves_what_is_kept(
    options: ServerOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("obstore")
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }.items():
        monkeypatch.setenv(name, value)
    assert models_below("s3://b/m", options) == {}
    assert capsys.readouterr().err == ""  # as is told when it is polled
    keep(tmp_path, "s3://b/m/half")
    assert models_below("s3://b/m", options) == {"half": "s3://b/m/half"}
    assert "are taken from the model cache" in capsys.readouterr().err


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_store_is_not_asked_what_is_below_a_model_that_the_cache_has(
    options: ServerOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_kept: bool
) -> None:
    pytest.importorskip("obstore")
    if is_kept:
        keep(tmp_path, "s3://b/m")
    with socket.create_server(("127.0.0.1", 0)) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        asked = threading.Event()

        def hang_up() -> None:
            with suppress(OSError):
                store.accept()[0].close()
                asked.set()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert models_below("s3://b/m", options) == {}
        assert asked.is_set() is not is_kept
        store.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_a_store_that_hangs_is_waited_for_no_longer_where_something_is_kept(
    options: ServerOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scheme: str,
) -> None:
    pytest.importorskip("obstore")
    with socket.create_server(("127.0.0.1", 0)) as store:
        host = f"127.0.0.1:{store.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        uri = "s3://b/m" if scheme == "s3" else f"http://{host}/m/"
        half = f"{uri.rstrip('/')}/half"
        keep(tmp_path, half)
        assert models_below(uri, options, answer_s=0.1) == {"half": half}
    assert "no answer within 0.1 s; the models below" in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["toy://m", "hf://owner/repo", "file:///m"])
def test_other_places_are_of_one_model(uri: str, options: ServerOptions) -> None:
    assert models_below(uri, options) == {}
