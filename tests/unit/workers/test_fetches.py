import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from salver.errors import Cancelled, ServingError, Unavailable
from salver.instruments.cache import NoRoomBeside
from salver.instruments.files import Footprint
from salver.sources.by_scheme import Sources
from salver.sources.protocol import Stage
from salver.workers.fetches import WorkerFetches
from salver.workers.file_messages import (
    CancelFetch,
    FetchFiles,
    FetchProgress,
    FilesFetched,
    FindFiles,
    NoRoomOnDisk,
    ReleaseFiles,
)
from salver.workers.member import Member

WAIT_S = 30.0
FILES = Footprint(1, 5, 0, 0)


@dataclass(eq=False)
class Worker:
    """Hears what it is told."""

    told: list[Any] = field(default_factory=list)

    def notify(self, message: object) -> None:
        self.told.append(message)


@dataclass(eq=False)
class Files:
    """What was fetched."""

    directory: str = "/cache/3"
    is_closed: bool = False

    def close(self) -> None:
        self.is_closed = True


class Store:
    """Fetches as a test says."""

    def __init__(self) -> None:
        self.brought: list[Files] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.error: ServingError | None = None
        self.deaf = False

    def look(self, _location: str) -> Footprint:
        return FILES

    def fetch(self, _number: int, _location: str, stage: Stage) -> Files:
        self.begun.set()
        while not self.go_on.wait(0.01):
            if not self.deaf:
                stage.progress(1)
        if self.error is not None:
            raise self.error
        self.brought.append(Files())
        return self.brought[-1]


@dataclass
class World:
    store: Store = field(default_factory=Store)
    worker: Worker = field(default_factory=Worker)

    def __post_init__(self) -> None:
        self.fetches = WorkerFetches(cast("Sources", self.store))
        self.member = cast("Member", self.worker)

    def begin(self) -> Any:
        answer = self.fetches.handle(self.member, FetchFiles(0, 3, "s3://b/m/3"))
        assert self.store.begun.wait(WAIT_S)
        return answer


def test_what_was_fetched_for_a_worker_is_kept_until_it_is_released() -> None:
    world = World()
    answer = world.begin()
    world.store.go_on.set()
    assert answer.result(WAIT_S) == FilesFetched("/cache/3", FILES)
    assert world.fetches.handle(world.member, FindFiles("s3://b/m/3")) == FILES
    world.fetches.release(cast("Member", Worker()), 0)  # of another worker
    assert not world.store.brought[0].is_closed
    for _ in range(2):
        assert world.fetches.handle(world.member, ReleaseFiles(0)) is None
    assert world.store.brought[0].is_closed


def test_a_worker_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("salver.workers.fetches._TELL_S", 0.0)
    world = World()
    answer = world.begin()
    until = threading.Event()
    while not world.worker.told:
        until.wait(0.01)
    assert world.worker.told[0] == FetchProgress(0, 1)
    world.store.go_on.set()
    answer.result(WAIT_S)


@pytest.mark.parametrize("is_deaf", [True, False])
@pytest.mark.parametrize(
    "give_up",
    [
        lambda world: world.fetches.handle(world.member, CancelFetch(0)),
        lambda world: world.fetches.ended(world.member),
    ],
)
def test_what_nobody_wants_any_more_is_cancelled_and_not_kept(
    give_up: Callable[[World], None], *, is_deaf: bool
) -> None:
    world = World()
    world.store.deaf = is_deaf
    answer = world.begin()
    give_up(world)
    if is_deaf:
        world.store.go_on.set()
    with pytest.raises(Cancelled):
        answer.result(WAIT_S)
    assert all(files.is_closed for files in world.store.brought)


def test_a_worker_that_has_ended_needs_nothing_more() -> None:
    world = World()
    world.store.go_on.set()
    world.begin().result(WAIT_S)
    world.fetches.ended(world.member)
    assert world.store.brought[0].is_closed


def test_no_room_on_the_disk_is_told_as_such() -> None:
    world = World()
    world.store.error = NoRoomBeside("no room")
    world.store.go_on.set()
    assert world.begin().result(WAIT_S) == NoRoomOnDisk("no room")


def test_a_server_that_stops_ends_its_fetches_and_begins_none() -> None:
    world = World()
    answer = world.begin()
    world.fetches.stop()
    with pytest.raises(Unavailable):
        answer.result(WAIT_S)
    with pytest.raises(Unavailable):
        world.fetches.begin(world.member, FetchFiles(1, 3, "s3://b/m/3")).result(WAIT_S)
