from dataclasses import replace
from pathlib import Path

import pytest
from tests.toy_source import ToySource
from tests.unit.sources.test_fetching import Watched, origin_of, published

from salver.cli.salver import main
from salver.instruments.cache import Cache
from salver.instruments.files import footprint
from salver.instruments.manifest import MANIFEST, make_manifest
from salver.sources.fetching import Fetched, fetch_version


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def fetched(tmp_path: Path, cache: Cache, *, has_sums: bool = False) -> Fetched:
    version = published(tmp_path)
    if has_sums:
        origin = origin_of(version)
        (origin / MANIFEST).write_bytes(make_manifest(origin))
        version = replace(version, files=footprint(str(origin)))
    base_path = version.location.rpartition("/")[0]
    return fetch_version(1, version, ToySource(), cache, Watched(), base_path=base_path)


def run(cache: Cache, *arguments: str) -> int:
    return main(["salver", "cache", *arguments, f"--model_cache={cache.directory}"])


def test_what_is_kept_is_listed_with_where_it_came_from(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cache, "ls") == 0
    assert capsys.readouterr().out == "Nothing is kept\n"
    assert not cache.directory.exists()
    held = fetched(tmp_path, cache)
    with cache.entry("keras", lambda path: path.mkdir()):
        pass
    (cache.directory / "half.partial").mkdir()
    assert run(cache, "ls") == 0
    out = capsys.readouterr().out
    assert "3 kept" in out
    (line,) = [line for line in out.splitlines() if held.location in line]
    assert "in use" in line
    assert "a converted Keras file" in out
    assert "partial" in out
    held.close()
    assert run(cache, "ls") == 0
    assert "in use" not in capsys.readouterr().out


def test_what_is_in_use_stays_and_the_rest_can_be_removed(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = fetched(tmp_path, cache)
    (cache.directory / "half.partial").mkdir()
    assert run(cache, "rm") == 2
    assert run(cache, "rm", "--all") == 1
    assert f"{held.location} is in use, and stays" in capsys.readouterr().err
    assert [entry.is_whole for entry in cache.entries()] == [True]
    held.close()
    assert run(cache, "rm", "--all") == 0
    for number in range(3):
        held = fetched(tmp_path, cache)
        held.close()
        names = held.location, held.location.rpartition("/")[0], held.path.parent.name[:6]
        assert run(cache, "rm", names[number]) == 0
        assert not cache.entries()
    assert run(cache, "rm", "s3://none") == 1
    assert capsys.readouterr().err == "salver: Nothing is kept of s3://none\n"


def test_damage_is_found_by_sums_or_by_sizes_and_looking_is_no_use(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = fetched(tmp_path, cache)
    held.close()
    before = cache.entries()
    assert run(cache, "verify") == 0
    assert capsys.readouterr().out.endswith("sizes are right; it brings no sums\n")
    assert cache.entries() == before
    (held.path / "saved_model.pb").write_bytes(b"")
    assert run(cache, "verify") == 1
    assert "DAMAGED: 'saved_model.pb' of" in capsys.readouterr().out
    assert run(cache, "rm", "--all") == 0
    held = fetched(tmp_path, cache, has_sums=True)
    held.close()
    assert run(cache, "verify", held.location) == 0
    (held.path / "saved_model.pb").write_bytes(b"grapH")
    capsys.readouterr()
    assert run(cache, "verify", held.location) == 1
    assert "DAMAGED: saved_model.pb is not what SHA256SUMS lists" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["list"], ["ls", "x"], ["rm", "--other"]])
def test_a_command_misused_says_how_it_is_used(
    cache: Cache, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["salver", "cache", *arguments]) == 2
    assert "usage: salver cache" in capsys.readouterr().err


def test_a_cache_that_is_no_directory_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").touch()
    assert main(["salver", "cache", "ls", f"--model_cache={tmp_path / 'cache'}"]) in (0, 1)
    assert len(capsys.readouterr().err.splitlines()) <= 1
