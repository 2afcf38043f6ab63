import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web_server import Hub, serving

from salver.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from salver.remote.hub import HubSource, Repository, repository_of
from salver.sources.protocol import MonitoredServable, Version
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import Latest

A, B = "a" * 40, "b" * 40


class Stage:
    """Lets everything pass."""

    def check(self) -> None: ...
    def progress(self, _done_bytes: int) -> None: ...
    def wait(self, _seconds: float) -> None: ...


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    made.commit(A, "2024-01-02T03:04:05.000Z", **{"model.onnx": b"model", "README.md": b"read"})
    made.commits[A][".gitattributes"] = b"git"
    made.commits[A]["small/model.onnx"] = b"small"
    with serving(made):
        yield made


@pytest.fixture
def source(hub: Hub, tmp_path: Path) -> Iterator[HubSource]:
    config = tmp_path / "remote.yaml"
    config.write_text(f"stores: [{{prefix: 'hf://owner', endpoint: '{hub.url}'}}]")
    clock = itertools.count(step=1000.0)  # each look is due
    made = HubSource(SourceSettings(config_file=str(config)), lambda: float(next(clock)))
    yield made
    made.close()


def look(source: HubSource, uri: str) -> Any:
    ((_, found),) = source.find((MonitoredServable("m", uri, Latest()),))
    return found


def fetched(source: HubSource, version: Version, into: Path) -> dict[str, bytes]:
    into.mkdir()
    source.fetch(version, into, Stage())
    return {str(p.relative_to(into)): p.read_bytes() for p in into.rglob("*") if p.is_file()}


def test_a_uri_names_a_repository_a_revision_and_a_path() -> None:
    assert repository_of("hf://owner/repo") == Repository("owner/repo", "", "")
    assert repository_of("hf://owner/repo@v1/a/b/") == Repository("owner/repo", "v1", "a/b")
    assert repository_of("hf://owner/repo@refs%2Fpr%2F1").revision == "refs/pr/1"


@pytest.mark.parametrize("uri", ["hf://", "hf://owner", "hf://owner/@v", "hf://owner/repo/../x"])
def test_what_names_no_repository_is_refused(uri: str) -> None:
    with pytest.raises(InvalidArgument, match="hf://OWNER/REPO"):
        repository_of(uri)


def test_the_version_of_a_branch_is_the_time_of_its_commit(hub: Hub, source: HubSource) -> None:
    (number,) = look(source, "hf://owner/repo")
    assert number == 1704164645
    hub.commit(B, "2024-01-02T03:04:06Z", **{"model.onnx": b"new"})
    ((number, version),) = look(source, "hf://owner/repo@main").items()
    assert number == 1704164646
    assert version.location == f"hf://owner/repo@{B}"
    assert version.revision == B


def test_a_commit_is_version_1(hub: Hub, source: HubSource) -> None:
    assert list(look(source, f"hf://owner/repo@{A}")) == [1]
    assert not any("/commits/" in path for _, path, _ in hub.asked)


def test_a_poll_that_finds_nothing_new_is_one_request(hub: Hub, source: HubSource) -> None:
    look(source, "hf://owner/repo")
    hub.asked.clear()
    look(source, "hf://owner/repo")
    assert len(hub.asked) == 1


def test_the_files_are_fetched_but_those_of_git(
    hub: Hub, source: HubSource, tmp_path: Path
) -> None:
    (version,) = look(source, "hf://owner/repo").values()
    assert fetched(source, version, tmp_path / "v") == {
        "model.onnx": b"model",
        "README.md": b"read",
        "small/model.onnx": b"small",
    }


def test_of_a_path_only_what_is_below_it(hub: Hub, source: HubSource, tmp_path: Path) -> None:
    (version,) = look(source, "hf://owner/repo/small").values()
    assert version.location == f"hf://owner/repo@{A}/small"
    assert fetched(source, version, tmp_path / "v") == {"model.onnx": b"small"}


def test_a_large_file_is_compared_with_the_checksum_of_the_hub(
    hub: Hub, source: HubSource, tmp_path: Path
) -> None:
    (version,) = look(source, "hf://owner/repo/small").values()

    def lie(handler: Any) -> bool:
        if "resolve" in handler.path:
            handler.answer(200, b"SMALL")
        return "resolve" in handler.path

    hub.fault = lie
    with pytest.raises(DataLoss, match=r"model\.onnx is not the file that its checksum is of"):
        fetched(source, version, tmp_path / "v")


def test_a_private_model_takes_a_token(
    hub: Hub, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hidden"
    error = look(source, "hf://owner/repo")
    assert isinstance(error, NotFound)
    assert "HF_TOKEN" in (error.hint or "")
    monkeypatch.setenv("HF_TOKEN", "hidden")
    source.close()
    assert list(look(source, "hf://owner/repo")) == [1704164645]


def test_a_path_without_files_and_a_hub_that_is_away_are_told(
    hub: Hub, source: HubSource, tmp_path: Path
) -> None:
    assert "there are no files" in look(source, "hf://owner/repo/none").message
    config = tmp_path / "away.yaml"
    config.write_text("stores: [{prefix: 'hf://owner', endpoint: 'http://127.0.0.1:1'}]")
    away = HubSource(SourceSettings(config_file=str(config)))
    error = look(away, "hf://owner/repo")
    assert isinstance(error, Unavailable)
    assert error.message.startswith("hf://owner/repo cannot be listed: ")
    away.close()
