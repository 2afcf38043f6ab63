import io
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.toy_source import ToySource
from tests.unit.sources.test_fetching import origin_of, published

import salver.cli.fetch
from salver.cli.fetch import _Stage
from salver.cli.salver import main
from salver.instruments.cache import Cache
from salver.sources.protocol import Version
from salver.sources.records import KeptVersions, read_record


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(scheme: str, _settings: Any) -> ToySource | None:
        return ToySource() if scheme == "toy" else None

    monkeypatch.setattr(salver.cli.fetch, "make_source", make)


def run(tmp_path: Path, *arguments: str) -> int:
    cache = f"--model_cache={tmp_path / 'cache'}"
    return main(["salver", "fetch", *arguments, cache, "--remote_settle_seconds=0"])


def test_the_newest_version_or_a_named_one_is_fetched_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = published(tmp_path)
    base = version.location.rpartition("/")[0]
    assert run(tmp_path, base) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{version.location}: in ")
    assert run(tmp_path, version.location) == 0
    assert capsys.readouterr().out.startswith(f"{version.location}: kept already: ")
    (entry,) = Cache(tmp_path / "cache").entries()
    record = read_record(entry.path)
    assert record is not None
    assert record.base_path == base


def test_what_is_not_there_or_cannot_be_fetched_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = published(tmp_path)
    base = version.location.rpartition("/")[0]
    (origin_of(version).parent.parent / "empty").mkdir()
    assert run(tmp_path, f"{base.rpartition('/')[0]}/empty") == 1
    assert "There is no version of a model at" in capsys.readouterr().err
    assert run(tmp_path, f"{base}-none") == 1
    assert run(tmp_path, "odd://x") == 1
    assert run(tmp_path, base, "--require_manifest") == 1
    assert "has no SHA256SUMS" in capsys.readouterr().err
    assert not any(entry.is_whole for entry in Cache(tmp_path / "cache").entries())


@pytest.mark.parametrize("arguments", [[], ["/models/m"], ["toy://m", "--other"], ["--model_c=1"]])
def test_a_command_misused_is_told_so(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *arguments) == 2
    assert capsys.readouterr().err.startswith("salver: ")


def test_help_tells_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salver", "fetch", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: salver fetch URI")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)  # as where it is not installed
    version = published(tmp_path)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        stage = _Stage(version, stream)
        stage.progress(1500)
        stage.clear()
    assert "\r\033[K[##########          ] 1.5 of 3 kB" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")
    assert file.getvalue() == ""
    unknown = Terminal()
    _Stage(Version("toy://m/1"), unknown).progress(1500)
    assert "1.5 kB so far" in unknown.getvalue()


def test_what_was_fetched_is_found_while_the_store_is_away(tmp_path: Path) -> None:
    from salver.sources.protocol import MonitoredServable
    from salver.vocabulary.servable import Latest

    version = published(tmp_path)
    base = version.location.rpartition("/")[0]
    assert run(tmp_path, base) == 0
    kept = KeptVersions(lambda: tmp_path / "cache", lambda: 0.0)
    assert kept(MonitoredServable("m", f"{base}/", Latest())) == {1: version}
    assert kept(MonitoredServable("m", f"{base}2", Latest())) == {}
