import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salver.cli.attended import Orphanhood, main


@pytest.fixture
def pipe() -> Iterator[tuple[int, list[int]]]:
    reading, writing = os.pipe()
    held = [writing]
    yield reading, held
    os.close(reading)
    for end in held:
        os.close(end)


class Parent:
    """Holds the pipe that is the standard input; notes when this process would be ended."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self.stdin = os.fdopen(reading)
        self.has_told = threading.Event()
        self._is_there = True

    def end(self) -> None:
        if self._is_there:
            self._is_there = False
            os.close(self._writing)

    def close(self) -> None:
        self.end()
        for thread in threading.enumerate():
            if thread.name == "salver-parent":
                thread.join(10)
        self.stdin.close()


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    parent = Parent()
    monkeypatch.setattr(os, "kill", lambda *_: parent.has_told.set())
    monkeypatch.setattr(sys, "stdin", parent.stdin)
    before = signal.getsignal(signal.SIGTERM)
    yield parent
    signal.signal(signal.SIGTERM, before)
    parent.close()  # before what was patched comes back


def test_an_orphan_sees_that_the_pipe_is_closed(pipe: tuple[int, list[int]]) -> None:
    reading, held = pipe
    ended = threading.Event()
    orphanhood = Orphanhood(reading)
    watching = threading.Thread(target=orphanhood.watch, args=(ended.set,))
    watching.start()
    os.write(held[0], b"x")  # which means nothing
    assert not orphanhood.is_over
    os.close(held.pop())
    assert ended.wait(10)
    watching.join()
    assert orphanhood.is_over


def test_an_orphan_sees_that_it_has_another_parent(
    pipe: tuple[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    orphanhood = Orphanhood(pipe[0], look_s=0.01)
    parents = iter([os.getppid(), os.getppid(), 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    orphanhood.watch(lambda: ended.append(True))
    assert ended
    assert orphanhood.is_over


@pytest.mark.parametrize("is_orphan", [False, True])
@pytest.mark.parametrize("has_ended", [False, True])
def test_the_directory_is_removed_for_a_parent_that_cannot(
    parent: Parent, tmp_path: Path, is_orphan: bool, has_ended: bool
) -> None:
    served: list[Any] = []
    left: list[int] = []
    scratch = tmp_path / "scratch"
    (scratch / "model" / "1").mkdir(parents=True)
    (scratch / "model" / "1" / "saved_model.pb").touch()

    def run(options: Any, models: Any, mode: Any) -> bool:
        served.append(models[0].name)
        if is_orphan:
            parent.end()
            assert parent.has_told.wait(10)
        return has_ended

    status = main(["-c", str(scratch), f"m={scratch}/model"], run, left.append)
    assert (status, served) == (0, ["m"])
    assert left == ([] if has_ended else [0])
    assert scratch.exists() is not is_orphan


@pytest.mark.usefixtures("parent")
def test_sigterm_before_the_server_has_a_handler_ends_it_with_the_usual_status(
    tmp_path: Path,
) -> None:
    def run(options: Any, models: Any, mode: Any) -> bool:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with pytest.raises(SystemExit) as caught:
        main(["-c", str(tmp_path), f"m={tmp_path}"], run)
    assert caught.value.code == 143


def test_variables_that_are_flags_are_not_for_a_server_of_a_running_python(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALVER_FLAG_WORKERS", "2")
    started: list[int] = []

    def run(options: Any, models: Any, mode: Any) -> bool:
        started.append(options.workers)
        return True

    arguments = ["x", str(tmp_path / "scratch"), "--model_base_path=/m"]
    assert main(arguments, run) == 0
    assert started == [1]
