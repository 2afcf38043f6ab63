import os
from pathlib import Path

import pytest

from salver.sources.links import directories_of


def test_directories_of_a_plain_file_is_its_own(tmp_path: Path) -> None:
    assert directories_of(str(tmp_path / "models.conf")) == {str(tmp_path)}


def test_every_link_on_the_way_is_watched_where_it_lies(tmp_path: Path) -> None:
    """release → r1, r1/models.conf → ../shared/models.conf."""
    for name in ("r1", "shared"):
        (tmp_path / name).mkdir()
    (tmp_path / "release").symlink_to("r1")
    (tmp_path / "r1" / "models.conf").symlink_to("../shared/models.conf")
    (tmp_path / "shared" / "models.conf").touch()
    found = directories_of(str(tmp_path / "release" / "models.conf"))
    assert found == {str(tmp_path), str(tmp_path / "r1"), str(tmp_path / "shared")}


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert directories_of(str(tmp_path / "a")) == {str(tmp_path)}


def test_link_that_goes_while_it_is_looked_at_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").symlink_to("b")

    def gone(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", gone)
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "realpath", str)
        assert directories_of(str(tmp_path / "a")) == {str(tmp_path)}
