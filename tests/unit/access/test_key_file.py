import os
import stat
import threading
from pathlib import Path

import pytest

from salver.access.key_file import add_key, list_keys, remove_keys
from salver.access.keys import new_key
from salver.errors import AlreadyExists, InvalidArgument, NotFound


def ids(path: Path) -> list[str]:
    return [line.id for line in list_keys(str(path))]


def add(path: Path, *names: str) -> None:
    for name in names:
        add_key(str(path), new_key(name, "r")[1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def test_a_file_is_made_for_its_owner_alone_and_says_what_it_is(path: Path) -> None:
    add(path, "a", "b")
    assert ids(path) == ["a", "b"]
    assert path.read_text().startswith("# API keys: <id> <sha256 of the key> <role> [expires]")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_all_that_is_not_changed_stays_as_it_was_written(path: Path) -> None:
    line = new_key("a", "r")[1].text
    path.write_text(f"# mine — \u2028 ours\n\n  {line}")
    add(path, "b")
    remove_keys(str(path), ["a"])
    head, b = path.read_text().rsplit("\n", 2)[:2]
    assert head == "# mine — \u2028 ours\n"
    assert b.startswith("b ")


def test_rights_and_links_stay(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "real" / "keys"
    real.parent.mkdir()
    real.write_text("")
    real.chmod(0o640)
    path.symlink_to(real)
    add(path, "a")
    assert path.is_symlink()
    assert ids(real) == ["a"]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_an_id_is_there_once(path: Path) -> None:
    add(path, "a")
    with pytest.raises(AlreadyExists, match="has a key a already"):
        add(path, "a")


def test_keys_are_taken_out_all_or_none(path: Path) -> None:
    add(path, "a", "b", "c")
    with pytest.raises(NotFound, match="has no key x, y"):
        remove_keys(str(path), ["a", "x", "y"])
    remove_keys(str(path), ["a", "c"])
    assert ids(path) == ["b"]
    remove_keys(str(path), ["b"])
    assert ids(path) == []


@pytest.mark.parametrize("content", [b"garbage\n", b"\xff\xfe"])
def test_what_is_no_key_file_is_not_touched(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidArgument):
        add(path, "a")
    with pytest.raises(InvalidArgument):
        remove_keys(str(path), ["a"])
    assert path.read_bytes() == content


def test_nothing_is_left_of_a_change_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(path, "a")
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left on device"):
        add(path, "b")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["keys.txt"]


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        add(tmp_path / "none" / "keys.txt", "a")
    with pytest.raises(NotFound):
        list_keys(str(tmp_path / "keys.txt"))
    with pytest.raises(NotFound):
        remove_keys(str(tmp_path / "keys.txt"), ["a"])


def test_many_who_add_at_a_time_lose_no_key(path: Path) -> None:
    threads = [threading.Thread(target=add, args=(path, f"k{n}", f"l{n}")) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids(path)) == 20
