import os
from pathlib import Path

from salver.backends.protocol import Listing


def test_a_directory_is_listed_by_its_files_and_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"12")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "assets").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert Listing.of(tmp_path) == Listing(tmp_path, {"a": 2, "b": 2})


def test_a_file_is_listed_alone(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").write_bytes(b"1")
    assert Listing.of(tmp_path / "a") == Listing(tmp_path, {"a": 1})


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert not Listing.of(tmp_path / "absent").files


def test_the_file_of_the_name_is_found_or_else_the_only_one_with_an_ending(tmp_path: Path) -> None:
    def found(*names: str) -> str | None:
        return Listing(tmp_path, dict.fromkeys(names, 0)).one("model.x", ".x", ".y")

    assert found("model.x", "a.x", "b.y") == "model.x"
    assert found("a.y", "README") == "a.y"
    assert found("a.x", "b.y") is None
    assert found("README") is None


def test_the_head_of_a_file_is_read_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"tree and more")
    os.mkfifo(tmp_path / "pipe")
    listing = Listing.of(tmp_path)
    assert listing.head("a", 4) == b"tree"
    assert listing.head("pipe") == b""  # nobody writes to it
    assert listing.head("absent") == b""
