"""Stores that take connections and answer nothing, for a while or for ever, at the start."""

import json
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faulty_proxy import Proxy, proxy_to
from tests.integration.serving import Server, eventually, run_command
from tests.integration.test_object_stores import put_whole
from tests.integration.test_sources import listens, until_serving
from tests.remote_stores import moto
from tests.web_server import serving

HINT = "stale: "
SAID = (
    "Servable far is served from the model cache, stale, since its store has not answered for 2 s"
)
LOADED = "Successfully loaded servable version {name: far version: 1}"
SOON_S = 20.0  # before a request to a store that hangs is given up, which is after 30 s
ANSWERS_AFTER_S = 5.0


@dataclass
class Store:
    """A store behind a proxy that can have it hang.

    Attributes:
        base_path: of the model, by way of the proxy.
        above: the path below which the model is.
        proxy: see there.
        put: adds a version, past the proxy.
    """

    base_path: str
    above: str
    proxy: Proxy
    put: Callable[[int], None]


@pytest.fixture
def s3(version: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with moto() as store, proxy_to(store.url) as proxy:
        for name, value in {**store.environment, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        yield Store(
            "s3://models/all/far",
            "s3://models/all",
            proxy,
            lambda number: put_whole(store, version, f"all/far/{number}"),
        )


@pytest.fixture
def http(version: Path, tmp_path: Path) -> Iterator[Store]:
    with serving() as web, proxy_to(web.url) as proxy:
        versions: dict[str, str] = {}

        def put(number: int) -> None:
            with tarfile.open(tmp_path / f"{number}.tar.gz", "w:gz") as tar:
                tar.add(version, str(number))
            name = f"{number}.tar.gz"
            web.files[f"/all/far/{name}"] = (tmp_path / name).read_bytes()
            versions[str(number)] = name
            web.files["/all/far/index.json"] = json.dumps({"versions": versions}).encode()
            web.files["/all/index.json"] = b'{"models": {"far": "far/"}}'

        yield Store(f"{proxy.url}/all/far/", f"{proxy.url}/all/", proxy, put)


@pytest.fixture(params=["s3", "http"])
def store(request: pytest.FixtureRequest) -> Store:
    """A store whose version 1 the cache has, and that hangs."""
    made: Store = request.getfixturevalue(request.param)
    cache: Path = request.getfixturevalue("tmp_path") / "cache"
    made.put(1)
    fetched = run_command("salver", "fetch", made.base_path, f"--model_cache={cache}")
    assert fetched.returncode == 0, fetched.stderr
    made.proxy.held.clear()
    return made


@pytest.fixture
def version(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two") / "00000123"


@pytest.fixture
def serve(launch_server: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    def serve(*arguments: str) -> Server:
        return launch_server(
            *arguments,
            *(f"--model_cache={tmp_path / 'cache'}", "--remote_poll_wait_seconds=0.3"),
            command="salver",
        )

    return serve


def hint(server: Server, number: int = 1) -> str:
    statuses = server.get("/v1/models/far").json()["model_version_status"]
    (status,) = [each for each in statuses if each["version"] == str(number)]
    return str(status.get("hint", ""))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_cache_has_is_served_soon_and_said_to_be_stale(
    store: Store, serve: Callable[..., Server], workers: int
) -> None:
    begun_s = time.monotonic()
    server = serve(f"far={store.base_path}", f"--workers={workers}")
    until_serving(server, 1)
    assert time.monotonic() - begun_s < SOON_S
    assert hint(server).startswith(HINT)
    assert f"{SAID}: version 1" in server.err.text()
    assert store.proxy.connections > 0


def test_how_long_a_store_may_hang_is_what_the_flags_say(
    store: Store, serve: Callable[..., Server]
) -> None:
    server = serve(
        f"far={store.base_path}", "--remote_stale_wait_seconds=0.2", "--remote_timeout_seconds=6"
    )
    server.err.wait_for("stale, since its store has not answered for 0.2 s: version 1")
    begun_s = time.monotonic()
    server.err.wait_for("no answer")  # after three seconds without a byte
    assert time.monotonic() - begun_s < SOON_S
    until_serving(server, 1)


def test_what_the_store_has_is_served_once_it_answers_and_nothing_is_loaded_twice(
    store: Store, serve: Callable[..., Server]
) -> None:
    begun_s = time.monotonic()
    server = serve(f"far={store.base_path}")
    until_serving(server, 1)
    eventually("5 s are over", lambda: time.monotonic() > begun_s + ANSWERS_AFTER_S)
    assert hint(server).startswith(HINT)
    store.proxy.held.set()
    eventually("it is stale no more", lambda: not hint(server))
    server.err.wait_for("The store of servable far is back")
    store.put(2)
    until_serving(server, 2)
    assert server.err.text().count(LOADED) == 1
    assert "is away" not in server.err.text()


def test_a_newer_version_takes_the_place_of_the_stale_one(
    store: Store, serve: Callable[..., Server]
) -> None:
    server = serve(f"far={store.base_path}")
    until_serving(server, 1)
    store.put(2)
    assert hint(server).startswith(HINT)
    store.proxy.held.set()
    until_serving(server, 2)
    server.wait_until("far", 1, "END")
    assert server.err.text().count(LOADED) == 1


def test_models_below_a_path_are_served_as_the_cache_has_them(
    store: Store, serve: Callable[..., Server]
) -> None:
    begun_s = time.monotonic()
    server = serve(store.above)
    until_serving(server, 1)
    assert time.monotonic() - begun_s < SOON_S
    assert hint(server).startswith(HINT)


def test_what_the_cache_has_is_verified_all_the_same(
    s3: Store, serve: Callable[..., Server], tmp_path: Path
) -> None:
    s3.put(1)
    cache = tmp_path / "cache"
    fetched = run_command("salver", "fetch", s3.base_path, f"--model_cache={cache}")
    assert fetched.returncode == 0, fetched.stderr
    (graph,) = cache.glob("*/1/saved_model.pb")
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.chmod(0o600)
    graph.write_bytes(content)
    s3.proxy.held.clear()
    server = serve(f"far={s3.base_path}", "--require_manifest")
    eventually("it listens", lambda: listens(server))
    server.err.wait_for("What was kept of s3://models/all/far/1 is fetched anew")
    assert server.predict("far", [1.0]).status_code != 200
