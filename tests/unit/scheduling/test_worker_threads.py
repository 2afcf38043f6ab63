import threading
from collections.abc import Iterator

import pytest

from salver.errors import Unavailable
from salver.scheduling.worker_threads import WorkerThreads

LONG_S = 10.0


class Crew:
    """Threads that wait until they are let go, and leave then."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.let_go = threading.Event()
        self.threads = WorkerThreads("crew", self._work, "do it in")

    def _work(self) -> None:
        assert self.let_go.wait(LONG_S)
        with self.lock:
            self.threads.leave()

    def start_one(self) -> None:
        with self.lock:
            self.threads.start_one()


class NoThread(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.let_go.set()
    for thread in crew.threads.all:
        thread.join(LONG_S)


def test_threads_are_daemons_with_numbers(crew: Crew) -> None:
    crew.start_one()
    crew.start_one()
    assert len(crew.threads) == 2
    assert [thread.name for thread in crew.threads.all] == ["crew-0", "crew-1"]
    assert all(thread.daemon for thread in crew.threads.all)


def test_one_that_leaves_is_not_counted_but_still_joined(crew: Crew) -> None:
    crew.start_one()
    (thread,) = crew.threads.all
    crew.let_go.set()
    thread.join(LONG_S)
    assert (len(crew.threads), list(crew.threads.all)) == (0, [thread])


def test_where_there_is_none_to_be_had_the_first_is_an_error_and_more_are_done_without(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(threading, "Thread", NoThread)
        with pytest.raises(Unavailable, match=r"^No thread to do it in: can't start new thread$"):
            crew.start_one()
    crew.start_one()
    monkeypatch.setattr(threading, "Thread", NoThread)
    crew.start_one()
    assert [thread.name for thread in crew.threads.all] == ["crew-0"]
