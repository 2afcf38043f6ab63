import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from salver.sources.watcher import Watcher

WAIT_S = 10


def until_noticed(directory: Path, woken: threading.Event) -> None:
    """Change `directory` until the watch, which begins at some moment, notices."""
    for number in range(200):
        (directory / f"change-{number}").touch()
        if woken.wait(0.05):
            return
    pytest.fail("no change was noticed")


def test_change_of_a_watched_directory_wakes(tmp_path: Path) -> None:
    woken = threading.Event()
    watcher = Watcher(woken.set)
    watcher.watch(frozenset({str(tmp_path)}))
    until_noticed(tmp_path, woken)
    watcher.close()


def test_another_set_of_directories_replaces_the_first(tmp_path: Path) -> None:
    woken = threading.Event()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    watcher = Watcher(woken.set)
    watcher.watch(frozenset({str(first)}))
    until_noticed(first, woken)
    watcher.watch(frozenset({str(second)}))
    woken.clear()
    until_noticed(second, woken)
    watcher.watch(frozenset())
    while watcher._restart.is_set():  # until it has given the second up and waits
        pass
    watcher.close()


def test_directory_deleted_and_made_anew_is_watched_again_when_named_again(
    tmp_path: Path,
) -> None:
    woken, directory = threading.Event(), tmp_path / "m"
    directory.mkdir()
    watcher = Watcher(woken.set)
    watcher.watch(frozenset({str(directory)}))
    until_noticed(directory, woken)
    woken.clear()
    shutil.rmtree(directory)
    assert woken.wait(WAIT_S)
    directory.mkdir()
    while watcher._wanted:  # the deletions may come in two parts
        assert woken.wait(WAIT_S)
    watcher.watch(frozenset({str(directory)}))
    woken.clear()
    until_noticed(directory, woken)
    watcher.close()


def test_where_the_system_cannot_watch_polling_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    woken, tried = threading.Event(), threading.Event()
    real = watchfiles.watch

    def exhausted(*paths: str, **options: Any) -> Any:
        monkeypatch.setattr(watchfiles, "watch", real)
        tried.set()
        raise OSError("No space left on device")

    monkeypatch.setattr(watchfiles, "watch", exhausted)
    watcher = Watcher(woken.set)
    watcher.watch(frozenset({str(tmp_path)}))
    assert tried.wait(WAIT_S)
    while not watcher._changed._waiters:  # type: ignore[attr-defined]  # until it waits again
        pass
    watcher.close()
    assert "Changes on disk are noticed by polling alone: No space left" in caplog.text


def test_nothing_to_watch_needs_no_thread() -> None:
    watcher = Watcher(threading.Event().set)
    watcher.watch(frozenset())
    assert watcher._thread is None
    watcher.close()


def test_closed_watcher_watches_nothing_more(tmp_path: Path) -> None:
    watcher = Watcher(threading.Event().set)
    watcher.close()
    watcher.watch(frozenset({str(tmp_path)}))
    assert watcher._thread is None


def test_close_ends_the_thread_while_it_watches(tmp_path: Path) -> None:
    woken = threading.Event()
    watcher = Watcher(woken.set)
    watcher.watch(frozenset({str(tmp_path)}))
    until_noticed(tmp_path, woken)
    thread = watcher._thread
    watcher.close()
    assert thread is not None
    assert not thread.is_alive()


def test_where_no_thread_can_be_started_polling_is_left_until_there_is_more_to_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_to_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    caplog.set_level("INFO")
    woken = threading.Event()
    watcher = Watcher(woken.set)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        watcher.watch(frozenset({str(tmp_path)}))
    assert "Changes on disk are noticed by polling alone: can't start new thread" in caplog.text
    (tmp_path / "more").mkdir()
    watcher.watch(frozenset({str(tmp_path), str(tmp_path / "more")}))
    until_noticed(tmp_path, woken)
    assert watcher.close(WAIT_S)


def test_close_gives_up_on_a_thread_that_hangs(tmp_path: Path) -> None:
    hanging, answers = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        assert answers.wait(WAIT_S)

    watcher = Watcher(hang)
    watcher.watch(frozenset({str(tmp_path)}))
    until_noticed(tmp_path, hanging)
    assert not watcher.close(timeout_s=0)
    answers.set()
    assert watcher.close(WAIT_S)
