"""Models in buckets, named wherever a base path may stand, and served while the bucket is away."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faulty_proxy import proxy_to
from tests.integration.serving import Server, eventually
from tests.integration.test_object_stores import put_whole
from tests.integration.test_sources import listens, until_serving
from tests.integration.test_verified_models import reload
from tests.remote_stores import S3, moto, rclone

LaunchServer = Callable[..., Server]
MANY = 1_000
START_S = 120.0


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
def cache(tmp_path: Path) -> tuple[str, str]:
    return f"--model_cache={tmp_path / 'cache'}", "--remote_poll_wait_seconds=0.3"


def test_a_flag_of_the_reference_names_a_bucket(
    store: S3, version: Path, launch_server: LaunchServer, cache: tuple[str, str]
) -> None:
    put_whole(store, version, "far/1")
    server = launch_server("--model_name=far", "--model_base_path=s3://models/far", *cache)
    until_serving(server, 1)


@pytest.mark.parametrize("ending", ["config", "yaml"])
def test_a_configuration_file_names_a_bucket_and_another_when_it_changes(
    store: S3,
    version: Path,
    launch_server: LaunchServer,
    cache: tuple[str, str],
    tmp_path: Path,
    ending: str,
) -> None:
    forms = {
        "config": 'model_config_list {{ config {{ name: "far" base_path: "{0}" '
        'model_platform: "tensorflow" }} }}',
        "yaml": "models: [{{name: far, base_path: '{0}', model_platform: tensorflow}}]",
    }
    file = tmp_path / f"models.{ending}"
    for number in (1, 2):
        put_whole(store, version, f"place{number}/far/{number}")
    file.write_text(forms[ending].format("s3://models/place1/far"))
    server = launch_server(
        f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1", *cache
    )
    until_serving(server, 1)
    file.write_text(forms[ending].format("s3://models/place2/far"))
    until_serving(server, 2)


def test_a_reload_names_a_bucket_that_is_allowed_and_no_other(
    store: S3, version: Path, launch_server: LaunchServer, cache: tuple[str, str], tmp_path: Path
) -> None:
    for place in ("ours", "theirs"):
        put_whole(store, version, f"{place}/m/1")
    (tmp_path / "none.config").write_text("model_config_list {}")
    server = launch_server(
        f"--model_config_file={tmp_path / 'none.config'}",
        "--allowed_base_paths=s3://models/ours",
        *cache,
    )
    eventually("it listens", lambda: listens(server))
    code, text = reload(server, "s3://models/theirs/m")
    assert (code, "s3://models/theirs/m" in text) == ("PERMISSION_DENIED", True)
    assert reload(server, "s3://models/ours/m")[0] in ("", "OK")
    until_serving(server, 1, "m")


def test_what_is_served_goes_on_while_the_store_is_away_and_the_next_version_comes_after(
    store: S3,
    version: Path,
    launch_server: LaunchServer,
    cache: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with proxy_to(store.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        put_whole(store, version, "shelf/far/1")
        put_whole(store, version, "shelf/near/1")
        server = launch_server("s3://models/shelf", *cache, command="salver")
        for model in ("far", "near"):
            until_serving(server, 1, model)
        proxy.is_away = True
        server.err.wait_for("it is asked again in 2 s")
        before = proxy.connections
        assert server.predict("far", [2.0]).json() == {"predictions": [3.0]}
        assert server.predict("near", [2.0]).json() == {"predictions": [3.0]}
        server.err.wait_for("it is asked again in 4 s")
        assert proxy.connections - before <= 2  # and not three times a second
        said = server.err.text()
        assert said.count("it is asked again in") == said.count("and 1 more below the same path")
        proxy.is_away = False
        put_whole(store, version, "shelf/far/2")
        until_serving(server, 2)
        server.err.wait_for("s3://models/shelf answers again")


def test_of_many_models_none_is_fetched_before_it_is_asked_for(
    version: Path,
    launch_server: LaunchServer,
    cache: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = tmp_path / "rclone" / "models" / "shelf"
    shutil.copytree(version, shelf / "m0" / "1")
    for number in range(1, MANY):
        (shelf / f"m{number}" / "1").mkdir(parents=True)
        graph = shelf / f"m{number}" / "1" / "saved_model.pb"
        graph.hardlink_to(shelf / "m0" / "1" / "saved_model.pb")
    with rclone(tmp_path / "rclone") as rented:
        for name, value in rented.environment.items():
            monkeypatch.setenv(name, value)
        server = launch_server(
            *("s3://models/shelf", "--lazy_load_models", "--remote_settle_seconds=0"),
            *(cache[0], "--remote_poll_wait_seconds=0"),
            command="salver",
        )
        eventually("it listens", lambda: listens(server), within_s=START_S)
        last = f"m{MANY - 1}"
        eventually(
            "all are known", lambda: server.states(last) == {1: "AVAILABLE"}, within_s=START_S
        )
        assert not list((tmp_path / "cache").glob("*.entry"))
        assert server.predict("m0", [2.0]).json() == {"predictions": [3.0]}
        assert len(list((tmp_path / "cache").glob("*.entry"))) == 1
        page = server.get("/monitoring/prometheus/metrics").text
        lists = [line for line in page.splitlines() if 'operation="list",code="ok"' in line]
        assert sum(int(line.rpartition(" ")[2]) for line in lists) <= 10
