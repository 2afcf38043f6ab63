import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.keras.cache import Cache, default_directory
from salver.errors import DataLoss, FailedPrecondition, ServingError, Unavailable

PATIENCE_S = 30.0


def _maker(content: str = "made", made: list[Path] | None = None) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "file").write_text(content)
        if made is not None:
            made.append(path)

    return make


def _must_not_be_called(path: Path) -> None:
    raise AssertionError(path)


def test_an_entry_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    made: list[Path] = []
    for _ in range(2):
        with Cache(directory, max_bytes=0).entry("key", _maker(made=made)) as path:
            assert (path / "file").read_text() == "made"
    assert len(made) == 1
    assert directory.stat().st_mode & 0o777 == 0o700
    assert sorted(child.name for child in directory.iterdir()) == ["key.entry", "key.lock"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.mkdir()
        raise DataLoss("no")

    cache = Cache(tmp_path, max_bytes=0)
    with pytest.raises(DataLoss), cache.entry("key", fail):
        pass
    assert [child.name for child in tmp_path.iterdir()] == ["key.lock"]
    with cache.entry("key", _maker()) as path:
        assert path.is_dir()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "key.entry.abc.partial" / "made").mkdir(parents=True)
    other = tmp_path / "other.entry.abc.partial"
    other.mkdir()
    with Cache(tmp_path, max_bytes=0).entry("key", _maker()):
        pass
    assert sorted(child.name for child in tmp_path.iterdir()) == [
        "key.entry",
        "key.lock",
        other.name,
    ]


def test_of_several_that_want_it_at_once_one_makes_it(tmp_path: Path) -> None:
    made: list[Path] = []
    begun, go = threading.Event(), threading.Event()

    def make(path: Path) -> None:
        begun.set()
        assert go.wait(PATIENCE_S)
        _maker(made=made)(path)

    found: list[str] = []

    def want() -> None:
        with Cache(tmp_path, max_bytes=0).entry("key", make) as path:
            found.append((path / "file").read_text())

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(PATIENCE_S)
    go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (len(made), found) == (1, ["made"] * 4)


def test_a_wait_for_another_ends_with_the_server(tmp_path: Path) -> None:
    stopping = threading.Event()
    stopping.set()
    with (tmp_path / "key.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        cache = Cache(tmp_path, max_bytes=0, stopping=stopping)
        with pytest.raises(Unavailable), cache.entry("key", _must_not_be_called):
            pass


def test_a_lock_that_was_removed_meanwhile_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    removed: list[int] = []

    def remove_first(file: int, how: int) -> None:
        if not removed:
            removed.append(file)
            (tmp_path / "key.lock").unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with Cache(tmp_path, max_bytes=0).entry("key", _maker()) as path:
        assert path.is_dir()
    assert (tmp_path / "key.lock").exists()


def _fill(directory: Path, *keys: str) -> None:
    """Entries of 10 bytes, the first the longest unused."""
    for number, key in enumerate(keys):
        with Cache(directory, max_bytes=0).entry(key, _maker("0123456789")) as path:
            pass
        os.utime(path, (1000 + number, 1000 + number))


def _keys(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob("*.entry"))


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    _fill(tmp_path, "a", "b", "c")
    with Cache(tmp_path, max_bytes=30).entry("a", _must_not_be_called):
        pass  # used now
    with Cache(tmp_path, max_bytes=30).entry("d", _maker("0123456789")):
        pass
    assert _keys(tmp_path) == ["a", "c", "d"]
    assert not (tmp_path / "b.lock").exists()


def test_what_is_in_use_or_new_stays_whatever_its_size(tmp_path: Path) -> None:
    _fill(tmp_path, "a", "b")
    cache = Cache(tmp_path, max_bytes=1)
    with cache.entry("a", _must_not_be_called), cache.entry("new", _maker("0123456789")):
        assert _keys(tmp_path) == ["a", "new"]


def test_an_entry_whose_lock_cannot_be_had_stays(tmp_path: Path) -> None:
    _fill(tmp_path, "a")
    (tmp_path / "a.lock").unlink()
    (tmp_path / "a.lock").mkdir()
    with Cache(tmp_path, max_bytes=1).entry("new", _maker()):
        assert _keys(tmp_path) == ["a", "new"]


def test_a_cache_that_was_filled_by_others_can_be_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path, "a")
    (tmp_path / "a.lock").unlink()
    monkeypatch.setattr(os, "access", lambda _path, _how: False)  # as root, all may be written
    with Cache(tmp_path, max_bytes=1).entry("a", _must_not_be_called) as path:
        assert (path / "file").exists()
    assert not (tmp_path / "a.lock").exists()


def test_a_directory_that_cannot_be_written_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file", max_bytes=0)
    with pytest.raises(ServingError) as raised, cache.entry("key", _must_not_be_called):
        pass
    assert raised.value.message.startswith(f"Converted models cannot be kept: {tmp_path}/file; ")
    assert raised.value.message.endswith(
        ". Name a directory that can be written: --conversion_cache=PATH"
    )


def test_the_default_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "salver"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_directory() == Path("/home/somebody/.cache/salver")


def test_who_has_no_home_is_told_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(FailedPrecondition, match=r"--conversion_cache=PATH$"):
        default_directory()
