import threading
from collections.abc import Callable, Iterator

import pytest

from salver.errors import NotFound, ResourceExhausted, ServingError, Unavailable
from salver.instruments.cache import NoRoomBeside
from salver.instruments.files import Footprint
from salver.lifecycle.late_fetches import LateFetch
from salver.lifecycle.placeholders import Placeholder
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.vocabulary.servable import ServableId

WAIT_S = 30.0


class Model:
    """Loaded at once."""

    def close(self) -> None: ...


class Disk:
    """A directory with room for some versions, and what fetches into it."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.lock = threading.Lock()
        self.held: list[str] = []
        self.tried: list[str] = []
        self.refused = threading.Event()
        self.error: ServingError | None = None

    def fetch(self, name: str) -> Callable[[LateFetch], "Files"]:
        def fetch(_stage: LateFetch) -> Files:
            with self.lock:
                self.tried.append(name)
                if self.error is not None:
                    raise self.error
                if len(self.held) >= self.room:
                    self.refused.set()
                    raise NoRoomBeside("no room")
                self.held.append(name)
            return Files(self, name)

        return fetch


class Files:
    """What was fetched."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name
        self.directory = f"/{name}"

    def close(self) -> None:
        with self._disk.lock:
            self._disk.held.remove(self._name)


class World:
    """Lazy versions whose files share a disk."""

    def __init__(self, room: int) -> None:
        self.disk = Disk(room)
        self.residency: Residency[Model] = Residency(
            ResidencyOptions(num_threads=2),
            clock=lambda: 0.0,
            look=lambda _path: Footprint(1, 1, 0, 0),
        )

    def add(self, name: str) -> Placeholder[Model]:
        return self.residency.add(
            ServableId(name, 1), f"far://{name}", Model, fetch=self.disk.fetch(name), lane="far"
        )


@pytest.fixture
def world() -> Iterator[World]:
    world = World(room=2)
    yield world
    assert world.residency.close(WAIT_S)


def ask(placeholder: Placeholder[Model]) -> None:
    """One request."""
    with placeholder.claim() as claim:
        claim.loading.result(WAIT_S)
        placeholder.pin()
    placeholder.unpin()


def test_the_version_used_longest_ago_leaves_for_one_that_has_no_room_on_the_disk(
    world: World,
) -> None:
    a, b, c = map(world.add, "abc")
    ask(a)
    ask(b)
    a.pin()
    a.unpin()
    ask(c)
    assert sorted(world.disk.held) == ["a", "c"]
    assert not b.is_in_memory
    assert world.residency.counts.evictions == {"b": 1}
    ask(b)  # it comes back in its turn
    assert sorted(world.disk.held) == ["b", "c"]


def test_one_that_a_request_is_in_leaves_after_those_that_are_idle_and_when_it_is_through(
    world: World,
) -> None:
    a, b, c, d = map(world.add, "abcd")
    for each in (a, b):
        ask(each)
        each.pin()
    waiting = c.claim()
    assert world.disk.refused.wait(WAIT_S)
    assert not waiting.loading.done()
    assert sorted(world.disk.held) == ["a", "b"]
    a.unpin()  # which was told to leave
    waiting.loading.result(WAIT_S)
    with waiting:
        c.pin()
    c.unpin()
    ask(d)  # for which the idle one goes
    assert sorted(world.disk.held) == ["b", "d"]
    b.unpin()


def test_where_nobody_can_leave_it_is_refused(world: World) -> None:
    world.disk.held = ["of another server", "of a third"]
    a = world.add("a")
    with a.claim() as claim, pytest.raises(ResourceExhausted, match="no room"):
        claim.loading.result(WAIT_S)
    assert world.disk.tried == ["a"]


def test_many_that_need_room_all_get_their_turn(world: World) -> None:
    placeholders = [world.add(f"m{n}") for n in range(12)]
    threads = [threading.Thread(target=ask, args=(each,)) for each in placeholders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert len(world.disk.held) <= 2


def test_nobody_leaves_for_one_that_nobody_waits_for(world: World) -> None:
    a, b, c = map(world.add, "abc")
    for each in (a, b):
        ask(each)
        each.pin()
    with c.claim():
        assert world.disk.refused.wait(WAIT_S)
    for each in (a, b):
        each.unpin()
    with c.claim() as claim:  # which fetches anew
        claim.loading.result(WAIT_S)


def test_those_that_wait_for_room_are_ended_with_the_server(world: World) -> None:
    a, b, c = map(world.add, "abc")
    for each in (a, b):
        ask(each)
        each.pin()
    waiting = c.claim()
    assert world.disk.refused.wait(WAIT_S)
    world.residency.stop()
    with waiting, pytest.raises(Unavailable):
        waiting.loading.result(WAIT_S)
    for each in (a, b):
        each.unpin()


def test_one_that_is_unloaded_meanwhile_is_waited_for_no_more(world: World) -> None:
    a, b, c = map(world.add, "abc")
    for each in (a, b):
        ask(each)
        each.pin()
    waiting = c.claim()
    assert world.disk.refused.wait(WAIT_S)
    c.close()
    with waiting:
        waiting.loading.result(WAIT_S)
    for each in (a, b):
        each.unpin()
    assert "c" not in world.disk.held


def test_any_other_failure_has_nobody_leave(world: World) -> None:
    a, b, c = map(world.add, "abc")
    ask(a)
    ask(b)
    world.disk.error = NotFound("not there")
    with c.claim() as claim, pytest.raises(NotFound):
        claim.loading.result(WAIT_S)
    assert a.is_in_memory
    assert b.is_in_memory
