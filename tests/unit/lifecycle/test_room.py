from collections.abc import Callable

import pytest

from salver.instruments.files import Footprint
from salver.lifecycle.budget import Budget
from salver.lifecycle.placeholders import Placeholder, Presence
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.lifecycle.room import Room
from salver.vocabulary.servable import ServableId

Make = Callable[..., Placeholder["Model"]]


class Model:
    def close(self) -> None: ...


@pytest.fixture
def make() -> Make:
    """Makes placeholders, of models that nothing loads."""

    def make(name: str, size_bytes: int = 100) -> Placeholder[Model]:
        return Residency[Model](
            ResidencyOptions(),
            clock=lambda: 0.0,
            look=lambda _path: Footprint(1, size_bytes, 0, 1),
        ).add(ServableId(name, 1), f"/{name}/1", Model)

    return make


def bring_in(room: Room[Model], *placeholders: Placeholder[Model]) -> None:
    room.queue.extend(placeholders)
    assert room.take_fitting() == list(placeholders)
    for each in placeholders:
        each.presence = Presence.IN
        room.recent[each] = None


def test_those_that_wait_come_in_in_their_order_as_far_as_there_is_room(make: Make) -> None:
    room: Room[Model] = Room(2, Budget())
    a, b, c = make("a"), make("b"), make("c")
    room.queue.extend([a, b, c])
    assert room.take_fitting() == [a, b]
    assert (a.presence, b.presence) == (Presence.LOADING, Presence.LOADING)
    assert list(room.queue) == [c]
    room.release(a)
    assert room.take_fitting() == [c]


def test_a_load_that_does_not_return_takes_no_room_of_others(make: Make) -> None:
    room: Room[Model] = Room(1, Budget())
    a, b = make("a"), make("b")
    room.queue.extend([a, b])
    assert room.take_fitting() == [a]
    room.late.add(a)
    assert room.take_fitting() == [b]


def test_the_one_used_longest_ago_leaves_but_none_that_a_request_needs_before_others(
    make: Make,
) -> None:
    room: Room[Model] = Room(3, Budget())
    busy, old, new = make("busy"), make("old"), make("new")
    bring_in(room, busy, old, new)
    busy.pins = 1
    room.queue.append(make("x"))
    assert room.take_fitting() == []
    assert room.evict() == [old]
    assert old.presence is Presence.LEAVING
    assert room.evict() == []  # one is on its way out already, and one waits
    room.queue.extend([make("y"), make("z")])
    assert room.evict() == [new, busy]
    assert room.evictions == {"old": 1, "new": 1, "busy": 1}


def test_what_does_not_fit_alone_waits_no_more_and_drives_nothing_out(make: Make) -> None:
    room: Room[Model] = Room(0, Budget(limit_bytes=1000))
    small, huge = make("small"), make("huge", 10_000)
    bring_in(room, small)
    room.queue.append(huge)
    assert room.take_hopeless() == [huge]
    assert room.evict() == []


def test_memory_is_set_aside_until_it_is_released(make: Make) -> None:
    room: Room[Model] = Room(0, Budget(limit_bytes=150))
    a, b = make("a"), make("b")
    bring_in(room, a)
    room.queue.append(b)
    assert room.take_fitting() == []
    assert room.evict() == [a]
    room.release(a)
    assert room.take_fitting() == [b]
