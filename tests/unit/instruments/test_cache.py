import contextlib
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salver.errors import (
    DataLoss,
    FailedPrecondition,
    ResourceExhausted,
    ServingError,
    Unavailable,
)
from salver.instruments.cache import Cache, Held, default_directory

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


def test_who_comes_second_uses_what_another_has_made_and_goes_on_using(tmp_path: Path) -> None:
    others: list[Held] = []
    looks = 0

    class Second(Cache):
        """Another makes the entry between two looks of this one."""

        def _lock(self, key: str, how: int, *rest: Any, **more: Any) -> int:
            if how == fcntl.LOCK_EX and not others:
                others.append(Cache(tmp_path).hold(key, Path.mkdir))
            return super()._lock(key, how, *rest, **more)

    def check() -> None:
        nonlocal looks
        looks += 1
        assert looks < 20, "it waits for who uses the entry"

    held = Second(tmp_path).hold("k", Path.mkdir, check=check)
    assert held.path == others[0].path
    held.close()
    others[0].close()


def test_a_wait_for_another_ends_with_the_server(tmp_path: Path) -> None:
    def stop() -> None:
        raise Unavailable("The server is stopping")

    with (tmp_path / "key.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        cache = Cache(tmp_path, max_bytes=0)
        with pytest.raises(Unavailable), cache.entry("key", _must_not_be_called, check=stop):
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
    assert raised.value.message.startswith(f"Models cannot be kept: {tmp_path}/file; ")
    assert raised.value.message.endswith(
        ". Name a directory that can be written: --model_cache=PATH"
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
    with pytest.raises(FailedPrecondition, match=r"--model_cache=PATH$"):
        default_directory()


def _sized(directory: Path, key: str, size_bytes: int, max_bytes: int = 30) -> None:
    with contextlib.closing(
        Cache(directory, max_bytes=max_bytes).hold(
            key, _maker("x" * size_bytes), size_bytes=size_bytes
        )
    ):
        pass


def test_room_for_what_has_a_size_is_made_before_it_is_made(tmp_path: Path) -> None:
    _fill(tmp_path, "a", "b", "c")
    seen: list[list[str]] = []

    def make(path: Path) -> None:
        seen.append(_keys(tmp_path))
        _maker("x" * 15)(path)

    Cache(tmp_path, max_bytes=30).hold("new", make, size_bytes=15).close()
    assert seen == [["c"]]
    assert _keys(tmp_path) == ["c", "new"]


def test_what_does_not_fit_beside_what_is_in_use_is_refused(tmp_path: Path) -> None:
    _fill(tmp_path, "a", "b")
    with Cache(tmp_path).entry("a", _must_not_be_called):
        with pytest.raises(ResourceExhausted) as raised:
            Cache(tmp_path, max_bytes=30).hold("new", _must_not_be_called, size_bytes=25)
        assert _keys(tmp_path) == ["a"]
    assert raised.value.message.startswith(
        f"No room for 25 bytes in the model cache {tmp_path}: 10 of the 30 of "
        "--model_cache_max_bytes are in use; "
    )
    _sized(tmp_path, "new", 25)
    assert _keys(tmp_path) == ["new"]


def test_a_disk_that_is_too_small_is_found_out_before(tmp_path: Path) -> None:
    _fill(tmp_path, "a")
    with pytest.raises(ResourceExhausted, match=r"are free on its disk$"):
        Cache(tmp_path).hold("new", _must_not_be_called, size_bytes=1 << 60)
    assert _keys(tmp_path) == []


def test_two_that_are_made_at_once_do_not_count_on_the_same_room(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        with pytest.raises(ResourceExhausted):
            Cache(tmp_path, max_bytes=30).hold("other", _must_not_be_called, size_bytes=20)
        _maker()(path)

    Cache(tmp_path, max_bytes=30).hold("new", make, size_bytes=20).close()
    assert _keys(tmp_path) == ["new"]


def test_what_was_let_go_last_counts_as_used_last(tmp_path: Path) -> None:
    _fill(tmp_path, "a", "b", "c")
    held = Cache(tmp_path).hold("a", _must_not_be_called)
    os.utime(held.path, (1, 1))
    held.close()
    held.close()
    _sized(tmp_path, "new", 10)
    assert _keys(tmp_path) == ["a", "c", "new"]


def _fails_after(content: str) -> Callable[[Path], None]:
    def fail(path: Path) -> None:
        path.mkdir(exist_ok=True)
        with (path / "file").open("a") as file:
            file.write(content)
        raise DataLoss("no")

    return fail


def test_who_can_resume_finds_what_failed_before_unless_room_is_needed(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=30)
    for key in "a", "b":
        for expected in "ab", "abab":
            with pytest.raises(DataLoss):
                cache.hold(key, _fails_after("ab"), size_bytes=10, is_resumed=True)
            assert (tmp_path / f"{key}.partial" / "made" / "file").read_text() == expected
    _sized(tmp_path, "large", 20)
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == ["b.partial"]
    cache.sweep()
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == ["b.partial"]
    begun_s = (tmp_path / "b.partial" / "resumable").stat().st_mtime
    in_a_day = Cache(tmp_path, now=lambda: begun_s + 24 * 3600 + 1)
    in_a_day.sweep()
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == []
    assert _keys(tmp_path) == ["large"]


@pytest.mark.parametrize("start", ["of another day", None])
def test_what_was_left_before_the_machine_was_started_anew_is_not_gone_on_from(
    start: str | None, tmp_path: Path
) -> None:
    cache = Cache(tmp_path)
    for _ in range(2):
        with pytest.raises(DataLoss):
            cache.hold("key", _fails_after("ab"), is_resumed=True)
        assert (tmp_path / "key.partial" / "made" / "file").read_text() == "ab"
        marker = tmp_path / "key.partial" / "resumable"
        marker.unlink() if start is None else marker.write_text(start)
    cache.sweep()
    assert not (tmp_path / "key.partial").exists()


def test_an_entry_does_not_keep_that_it_could_have_been_resumed(tmp_path: Path) -> None:
    held = Cache(tmp_path).hold("key", _maker(), size_bytes=3, is_resumed=True)
    assert [path.name for path in held.path.iterdir()] == ["file"]
    held.close()
    assert not (tmp_path / "key.partial").exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServingError), Cache(tmp_path).entry("key", _must_not_be_called):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_sweep_of_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    Cache(tmp_path / "none").sweep()
    assert not (tmp_path / "none").exists()


def test_a_removal_that_is_killed_leaves_no_entry_of_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")

    def make(path: Path) -> None:
        path.mkdir()
        (path / "a").touch()

    cache.hold("k", make).close()

    def killed(path: Path, *, ignore_errors: bool = False) -> None:
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("salver.instruments.cache.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            cache.remove("k")
    assert [entry.is_whole for entry in cache.entries()] == [False]
    assert not cache.has("k")
    cache.hold("k", make).close()
    assert cache.has("k")


def test_what_is_kept_is_known_without_being_held(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert not cache.has("key")
    cache.hold("key", lambda path: path.mkdir()).close()
    assert cache.has("key")
