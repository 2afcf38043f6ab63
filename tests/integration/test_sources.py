"""Models that a plug-in finds and fetches, in servers as users start them."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import toy_source
from tests.integration.grpc_clients.plain import connected, model_spec, predict_request
from tests.integration.serving import Server, eventually

LaunchServer = Callable[..., Server]


class Store:
    """A toy store with a model, and what a server needs to serve from it."""

    def __init__(self, root: Path, model: Path) -> None:
        self.base = root / "store" / "far"
        self.cache = root / "cache"
        self.plugins = root / "plugins"
        self._model = model
        self.base.mkdir(parents=True)
        toy_source.install(self.plugins)

    @property
    def prelude(self) -> str:
        return f"import sys; sys.path.insert(0, {str(self.plugins)!r})"

    @property
    def url(self) -> str:
        return f"toy://{self.base}"

    def put(self, version: int) -> None:
        shutil.copytree(self._model, self.base / f"unfinished-{version}")
        (self.base / f"unfinished-{version}").rename(self.base / str(version))

    def behave(self, **behaviour: Any) -> None:
        (self.base / "behaviour.json").write_text(json.dumps(behaviour))

    def entries(self, ending: str = ".entry") -> list[Path]:
        return sorted(self.cache.glob(f"*{ending}"))

    def config(self, near: Path) -> Path:
        file = self.base.parent / "models.config"
        models = (("near", near), ("far", self.url))
        entries = (
            f'config {{ name: "{name}" base_path: "{where}" model_platform: "tensorflow" }}'
            for name, where in models
        )
        file.write_text(f"model_config_list {{ {' '.join(entries)} }}")
        return file


@pytest.fixture
def store(tmp_path: Path, model_path: Callable[[str], Path]) -> Store:
    return Store(tmp_path, model_path("half_plus_two") / "00000123")


@pytest.fixture
def serve(store: Store, launch_server: LaunchServer) -> Callable[..., Server]:
    def serve(*arguments: str) -> Server:
        return launch_server(
            *arguments, f"--model_cache={store.cache}", command="salver", prelude=store.prelude
        )

    return serve


def until_serving(server: Server, version: int, model: str = "far") -> None:
    def is_serving() -> bool:
        answer = server.predict(model, [1.0, 2.0, 5.0])
        return answer.headers.get("salver-model-version") == str(version)

    eventually("it listens", lambda: listens(server))
    eventually(f"version {version} answers", is_serving)
    assert server.predict(model, [1.0]).json() == {"predictions": [2.5]}


def listens(server: Server) -> bool:
    try:
        return server.get("/healthz/live").status_code == 200
    except OSError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_versions_of_a_plug_in_are_fetched_once_and_served(
    store: Store, serve: Callable[..., Server], workers: int
) -> None:
    store.put(1)
    (store.base / "1" / "assets").mkdir(exist_ok=True)
    (store.base / "1" / "assets" / "labels.txt").write_text("cat\ndog\n")
    server = serve(f"far={store.url}", f"--workers={workers}")
    until_serving(server, 1)
    labels = server.get("/playground/labels?model=far&version=1").json()
    assert labels == {"labels": ["cat", "dog"]}
    assert server.get("/playground/description?model=far&version=1").json()["about"] is None
    assert server.get("/playground/labels?model=far&version=7").status_code == 404
    store.put(2)
    until_serving(server, 2)
    server.wait_until("far", 1, "END")
    assert server.err.text().count("Fetching servable version") == 2
    assert len(store.entries()) == 2
    for where, mode in ((store.cache, 0o700), (store.entries(".lock")[0], 0o600)):
        assert where.stat().st_mode & 0o777 == mode
    assert server.stop() == 0


def test_a_slow_fetch_is_shown_and_keeps_the_version_before_it(
    store: Store, serve: Callable[..., Server]
) -> None:
    store.put(1)
    server = serve(f"far={store.url}")
    until_serving(server, 1)
    assert "hint" not in server.get("/v1/models/far").text
    store.behave(pause_s=0.3)
    store.put(2)

    def hint() -> str:
        newest = server.get("/v1/models/far").json()["model_version_status"][0]
        return f"{newest['state']}: {newest.get('hint', '')}"

    eventually("the fetch is told of", lambda: "LOADING: fetching " in hint())
    assert " of " in hint()
    assert server.predict("far", [1.0]).headers["salver-model-version"] == "1"
    store.behave()
    until_serving(server, 2)
    assert "hint" not in server.get("/v1/models/far").text


def test_a_store_that_hangs_holds_up_no_other_model_and_no_stop(
    store: Store, serve: Callable[..., Server], model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    store.put(1)
    store.behave(hangs=True)
    near = tmp_path / "near"
    shutil.copytree(model_path("half_plus_two") / "00000123", near / "1")
    server = serve(f"--model_config_file={store.config(near)}")
    until_serving(server, 1, "near")
    server.err.wait_for("Fetching servable version {name: far version: 1}")
    shutil.copytree(near / "1", near / "new")
    (near / "new").rename(near / "2")
    until_serving(server, 2, "near")
    server.process.send_signal(signal.SIGTERM)
    server.wait(10)
    assert store.entries() == []


def test_what_a_killed_server_has_fetched_by_half_is_gone_on_from_or_removed_in_the_end(
    store: Store, serve: Callable[..., Server], model_path: Callable[[str], Path]
) -> None:
    store.put(1)
    store.behave(hangs=True)
    for is_old in (True, False):
        server = serve(f"far={store.url}")
        eventually("something is there", lambda: store.entries(".partial"))
        server.process.kill()
        server.wait()
        (partial,) = store.entries(".partial")
        if is_old:
            os.utime(partial / "resumable", (0, 0))
            serve(f"near={model_path('half_plus_two')}")
            eventually("it is removed", lambda: not store.entries(".partial"))
    assert store.entries() == []
    store.behave()
    until_serving(serve(f"far={store.url}"), 1)
    assert store.entries(".partial") == []


def test_a_scheme_nobody_knows_and_a_broken_plug_in_fail_their_models_alone(
    store: Store, serve: Callable[..., Server], model_path: Callable[[str], Path]
) -> None:
    toy_source.install(store.plugins, attribute="NoSuch")
    server = serve(f"far={store.url}", "odd=odd://there/odd", f"near={model_path('half_plus_two')}")
    until_serving(server, 123, "near")
    listed = {model["name"]: model for model in server.get("/v1/models").json()["models"]}
    assert listed["odd"]["error"] == (
        "File system scheme 'odd' not implemented (file: 'odd://there/odd')"
    )
    assert listed["far"]["error"].startswith("The source for toy:// (toy_source:NoSuch)")
    log = server.err.text()
    assert "Could not find base path odd://there/odd for servable odd with error " in log


def test_a_version_whose_fetch_fails_is_served_once_the_store_is_back(
    store: Store, serve: Callable[..., Server]
) -> None:
    store.put(1)
    store.behave(fails=True)
    server = serve(f"far={store.url}", "--max_num_load_retries=0")
    eventually("it listens", lambda: listens(server))
    server.wait_until("far", 1, "END")
    (status,) = server.get("/v1/models/far").json()["model_version_status"]
    assert status["status"]["error_message"] == "The toy store is away"
    store.behave()
    until_serving(server, 1)


def test_a_cached_version_is_fetched_no_second_time(
    store: Store, serve: Callable[..., Server]
) -> None:
    store.put(1)
    server = serve(f"far={store.url}")
    until_serving(server, 1)
    assert server.stop() == 0
    (entry,) = store.entries()
    inode = os.stat(entry).st_ino
    store.behave(hangs=True)
    server = serve(f"far={store.url}")
    until_serving(server, 1)
    assert os.stat(entry).st_ino == inode


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_kept_is_served_while_the_store_is_away_and_said_to_be_stale(
    store: Store, serve: Callable[..., Server], workers: int
) -> None:
    store.put(1)
    server = serve(f"far={store.url}")
    until_serving(server, 1)
    assert server.stop() == 0
    away = store.base.rename(store.base.with_name("away"))
    server = serve(f"far={store.url}", f"--workers={workers}")
    until_serving(server, 1)
    (status,) = server.get("/v1/models/far").json()["model_version_status"]
    assert (status["state"], status["hint"][:6]) == ("AVAILABLE", "stale:")
    server.err.wait_for("Servable far is served from the model cache, stale")
    away.rename(store.base)
    eventually("it is back", lambda: "hint" not in server.get("/v1/models/far").text)
    server.err.wait_for("The store of servable far is back")
    store.put(2)
    until_serving(server, 2)


def test_a_policy_chooses_among_what_is_kept_too(
    store: Store, serve: Callable[..., Server], tmp_path: Path
) -> None:
    store.put(1)
    server = serve(f"far={store.url}")
    until_serving(server, 1)
    store.put(2)
    until_serving(server, 2)
    assert server.stop() == 0
    store.base.rename(store.base.with_name("away"))
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "far" base_path: "{store.url}" model_platform: '
        '"tensorflow" model_version_policy { specific { versions: 1 } } } }'
    )
    server = serve(f"--model_config_file={config}")
    until_serving(server, 1)
    assert len(server.get("/v1/models/far").json()["model_version_status"]) == 1


def put_many(store: Store, names: str) -> list[str]:
    """Models beside the store's own; what to name them by."""
    store.put(1)
    for name in names:
        shutil.copytree(store.base, store.base.parent / name)
    return [f"{name}=toy://{store.base.parent / name}" for name in names]


def test_a_lazy_version_is_fetched_once_when_many_ask_for_it_each_with_its_deadline(
    store: Store, serve: Callable[..., Server]
) -> None:
    (one,) = put_many(store, "a")
    (store.base.parent / "a" / "behaviour.json").write_text('{"pause_s": 0.4}')
    server = serve(one, "--lazy_load_models")
    eventually("it listens", lambda: listens(server))
    eventually("it is available", lambda: server.states("a") == {1: "AVAILABLE"})
    assert store.entries() == store.entries(".partial") == []

    def ask(number: int) -> tuple[int, int]:
        with connected(server.grpc_target) as client:
            request = predict_request(model_spec("a"), {"x": [1.0]})
            if number % 10:
                client.call("Predict", request, timeout=60)
                return number, 0
            code, _ = client.refusal("Predict", request, timeout=0.5)
            assert code == "DEADLINE_EXCEEDED"
            return number, 1

    with ThreadPoolExecutor(100) as threads:
        outcomes = list(threads.map(ask, range(100)))
    assert sum(late for _, late in outcomes) == 10
    assert len(store.entries()) == 1
    assert server.err.text().count("Bringing servable version") <= 1
    page = server.get("/monitoring/prometheus/metrics").text
    lines = [line for line in page.splitlines() if "fetched_bytes_total{" in line]
    size = sum(path.stat().st_size for path in (store.base / "1").rglob("*") if path.is_file())
    assert not lines or float(lines[0].split()[-1]) == size


def test_what_left_memory_leaves_a_disk_that_is_full_and_comes_back_when_asked_for(
    store: Store, serve: Callable[..., Server]
) -> None:
    size = sum(path.stat().st_size for path in (store._model).rglob("*") if path.is_file())
    models = put_many(store, "abcd")
    server = serve(
        *models, "--max_loaded_models=1", f"--model_cache_max_bytes={2 * size + size // 2}"
    )
    for name in ("a", "b", "c", "d", "a", "b", "a"):
        until_serving(server, 1, name)
        assert len(store.entries()) <= 2
    assert server.stop() == 0


def test_a_newer_version_of_a_lazy_model_in_memory_takes_over_without_a_wait(
    store: Store, serve: Callable[..., Server]
) -> None:
    store.put(1)
    server = serve(f"far={store.url}", "--lazy_load_models")
    until_serving(server, 1)
    store.put(2)
    until_serving(server, 2)
    server.wait_until("far", 1, "END")


def test_a_lazy_fetch_that_fails_is_told_to_who_asks_and_tried_again(
    store: Store, serve: Callable[..., Server]
) -> None:
    store.put(1)
    store.behave(fails=True)
    server = serve(f"far={store.url}", "--lazy_load_models")
    eventually("it listens", lambda: listens(server))
    eventually("it is available", lambda: server.states("far") == {1: "AVAILABLE"})
    answer = server.predict("far", [1.0])
    assert (answer.status_code, answer.json()["error"]) == (503, "The toy store is away")
    store.behave()
    until_serving(server, 1)


def test_a_lazy_fetch_that_hangs_holds_up_no_other_model_and_no_stop(
    store: Store, serve: Callable[..., Server], model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    store.put(1)
    store.behave(hangs=True)
    near = tmp_path / "near"
    shutil.copytree(model_path("half_plus_two") / "00000123", near / "1")
    server = serve(f"--model_config_file={store.config(near)}", "--max_loaded_models=1")
    eventually("it listens", lambda: listens(server))
    eventually("it is available", lambda: server.states("far") == {1: "AVAILABLE"})
    with connected(server.grpc_target) as client:
        request = predict_request(model_spec("far"), {"x": [1.0]})
        assert client.refusal("Predict", request, timeout=0.5)[0] == "DEADLINE_EXCEEDED"
    until_serving(server, 1, "near")
    server.process.send_signal(signal.SIGTERM)
    server.wait(20)
    assert store.entries() == []
