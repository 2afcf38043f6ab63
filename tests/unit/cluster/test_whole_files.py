from pathlib import Path

import pytest

from salver.cluster.whole_files import make_private, replace_file


def test_a_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "one\n")
    assert path.read_text() == "one\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_and_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "one\n")
    with path.open() as before:
        replace_file(path, "two\n")
        assert before.read() == "one\n"
    assert path.read_text() == "two\n"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        replace_file(tmp_path / "file", "one\n")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
