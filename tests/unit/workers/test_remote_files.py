import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from salver.errors import Cancelled, NotFound, ServingError
from salver.instruments.cache import NoRoomBeside
from salver.instruments.files import Footprint
from salver.workers.file_messages import (
    CancelFetch,
    FetchFiles,
    FilesFetched,
    FindFiles,
    NoRoomOnDisk,
    ReleaseFiles,
)
from salver.workers.remote_files import RemoteFiles

WAIT_S = 30.0
FILES = Footprint(1, 5, 0, 0)


class Supervisor:
    """Answers as a test says."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.told: list[Any] = []
        self.answers: list[Future[Any]] = []
        self.has_asked = threading.Event()
        self.files = RemoteFiles(self.ask, self.told.append)

    def ask(self, message: object) -> "Future[Any]":
        self.asked.append(message)
        answer: Future[Any] = Future()
        self.answers.append(answer)
        if isinstance(message, FindFiles):
            answer.set_result(FILES)
        self.has_asked.set()
        return answer


class Stage:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.is_cancelled = False
        self.has_told = threading.Event()

    def check(self) -> None:
        if self.is_cancelled:
            raise Cancelled("unwanted")

    def progress(self, done_bytes: int) -> None:
        self.check()
        self.done.append(done_bytes)
        if done_bytes:
            self.has_told.set()

    def wait(self, _seconds: float) -> None: ...


def fetching(supervisor: Supervisor, stage: Stage) -> "Future[Any]":
    done: Future[Any] = Future()

    def fetch() -> None:
        try:
            done.set_result(supervisor.files.fetch(3, "s3://b/m/3", stage))
        except ServingError as error:
            done.set_exception(error)

    threading.Thread(target=fetch, daemon=True).start()
    assert supervisor.has_asked.wait(WAIT_S)
    return done


def test_a_version_is_fetched_by_the_supervisor_and_kept_until_it_is_closed() -> None:
    supervisor, stage = Supervisor(), Stage()
    done = fetching(supervisor, stage)
    assert supervisor.asked == [FetchFiles(0, 3, "s3://b/m/3")]
    supervisor.files.progress(0, 7)
    supervisor.files.progress(99, 8)  # of one that has ended
    assert stage.has_told.wait(WAIT_S)
    supervisor.answers[0].set_result(FilesFetched("/cache/3", FILES))
    local = done.result(WAIT_S)
    assert local.directory == "/cache/3"
    assert supervisor.told == []
    local.close()
    assert supervisor.told == [ReleaseFiles(0)]
    assert supervisor.files.look("s3://b/m/3") == FILES
    assert len(supervisor.asked) == 1


def test_a_fetch_that_is_not_wanted_any_more_is_cancelled() -> None:
    supervisor, stage = Supervisor(), Stage()
    done = fetching(supervisor, stage)
    stage.is_cancelled = True
    with pytest.raises(Cancelled):
        done.result(WAIT_S)
    assert supervisor.told == [CancelFetch(0)]


@pytest.mark.parametrize(
    ("settle", "kind"),
    [
        (lambda answer: answer.set_result(NoRoomOnDisk("no room")), NoRoomBeside),
        (lambda answer: answer.set_exception(NotFound("gone")), NotFound),
    ],
)
def test_why_it_cannot_be_fetched_is_told(
    settle: Callable[["Future[Any]"], None], kind: type[ServingError]
) -> None:
    supervisor = Supervisor()
    done = fetching(supervisor, Stage())
    settle(supervisor.answers[0])
    with pytest.raises(kind):
        done.result(WAIT_S)


def test_how_files_look_elsewhere_is_asked_and_here_is_seen(tmp_path: Path) -> None:
    supervisor = Supervisor()
    assert supervisor.files.look("s3://b/m/1") == supervisor.files.look("s3://b/m/1") == FILES
    assert supervisor.asked == [FindFiles("s3://b/m/1")]
    (tmp_path / "model").write_bytes(b"12345")
    assert supervisor.files.look(str(tmp_path)).size_bytes == 5
    assert len(supervisor.asked) == 1


def test_versions_on_this_machine_are_copied_where_sums_are_demanded() -> None:
    assert Supervisor().files.lane("/m/1") is None
    assert Supervisor().files.lane("s3://b/m/1") == "s3"
    demanding = RemoteFiles(lambda _m: Future(), lambda _m: None, are_sums_demanded=True)
    assert demanding.lane("/m/1") == "copy"
