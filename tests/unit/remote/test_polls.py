import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from tests.integration.serving import eventually

from salver.remote.polls import NEVER_S, Polled, Polls, next_poll_s
from salver.sources.protocol import Found, MonitoredServable
from salver.vocabulary.servable import Latest


class Place:
    """Notes when it was polled."""

    def __init__(self, due_s: float, gate: threading.Event | None = None) -> None:
        self.due_s = due_s
        self.polls: list[float] = []
        self.gate = gate
        self.error: BaseException | None = None
        self.next_s = NEVER_S

    def poll(self, now_s: float) -> list[Found]:
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            assert self.gate.wait(30)
        self.polls.append(now_s)
        self.due_s = self.next_s
        return [(MonitoredServable("m", "s3://b/m", Latest()), {})]


class Clock:
    """A time that stands still."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def polls(now_s: float = 1.0, quiet_s: float = 30.0) -> tuple[Clock, Polls]:
    clock = Clock(now_s)
    return clock, Polls(clock, quiet_s)


def heard(made: Polls, polled: Sequence[Polled]) -> Callable[[], list[Any]]:
    return lambda: list(made.find(polled))


def test_only_what_is_due_is_polled() -> None:
    _, made = polls(10.0)
    places = [Place(5.0), Place(20.0), Place(10.0)]
    assert len(list(made.find(places))) == 2
    assert [place.polls for place in places] == [[10.0], [], [10.0]]


def test_a_store_that_hangs_keeps_no_other_from_being_heard() -> None:
    _, made = polls()
    gate = threading.Event()
    slow, quick = Place(0.0, gate), Place(0.0)
    found = made.find([slow, quick])
    next(found)
    assert quick.polls == [1.0]
    assert slow.polls == []
    gate.set()
    assert len(list(found)) == 1


def test_a_store_that_hangs_is_waited_for_no_longer_and_heard_when_it_ends() -> None:
    clock, made = polls(quiet_s=0.05)
    gate = threading.Event()
    slow, quick = Place(0.0, gate), Place(0.0)
    quick.next_s = 2.0
    assert len(list(made.find([slow, quick]))) == 1
    assert 0 < made.next_s([slow, quick], 60.0) <= 0.25
    assert 0 < made.next_s([slow, quick], 0.0) <= 0.25
    assert made.next_s([slow, quick], -1.0) == -1.0
    clock.now_s = 3.0
    quick.next_s = NEVER_S
    assert len(list(made.find([slow, quick]))) == 1  # and no second poll of the slow one
    assert quick.polls == [1.0, 3.0]
    gate.set()
    assert len(eventually("it is heard", heard(made, [slow, quick]))) == 1
    assert slow.polls == [1.0]
    assert made.next_s([slow, quick], 60.0) == 60.0


def test_a_store_that_hangs_is_listened_to_while_no_other_is_due() -> None:
    _, made = polls(quiet_s=0.05)
    gate = threading.Event()
    slow = Place(0.0, gate)
    assert list(made.find([slow])) == []
    waits: list[float] = []
    get = made._done.get

    def noted(*, timeout: float) -> Any:
        waits.append(timeout)
        return get(timeout=timeout)

    made._done = SimpleNamespace(get=noted, put=made._done.put)  # type: ignore[assignment]
    assert list(made.find([slow])) == []
    assert list(made.find([slow, Place(1.03)])) == []
    assert waits == [0.05, pytest.approx(0.03)]
    gate.set()


def test_as_many_as_may_be_polled_at_once_may_hang_and_others_are_polled() -> None:
    _, made = polls(quiet_s=0.05)
    gate = threading.Event()
    hanging, others = [Place(0.0, gate) for _ in range(20)], [Place(0.0) for _ in range(20)]
    places = [*hanging, *others]
    assert len(list(made.find(places))) == 20
    assert all(place.polls == [1.0] for place in others)
    gate.set()
    found: list[Found] = []

    def all_are_heard() -> bool:
        found.extend(made.find(places))
        return len(found) == 20

    eventually("all are heard", all_are_heard)
    assert all(place.polls == [1.0] for place in hanging)


def test_more_hang_than_there_may_be_threads_and_the_others_wait() -> None:
    _, made = polls(quiet_s=0.01)
    gate = threading.Event()
    places = [Place(0.0, gate) for _ in range(70)]
    assert list(made.find(places)) == []
    assert sum(t.name == "salver-list" for t in threading.enumerate()) == 64
    gate.set()
    found: list[Found] = []

    def all_are_heard() -> bool:
        found.extend(made.find(places))
        return len(found) == 70

    eventually("all are heard", all_are_heard)


def test_what_a_poll_found_is_not_told_of_what_is_not_polled_any_more() -> None:
    _, made = polls(quiet_s=0.01)
    gate = threading.Event()
    gone, kept = Place(0.0, gate), Place(NEVER_S)
    assert list(made.find([gone, kept])) == []
    gate.set()
    found: list[Found] = []

    def nothing_is_under_way() -> bool:
        found.extend(made.find([kept]))
        return made.next_s([kept], 60.0) == 60.0

    eventually("nothing is under way", nothing_is_under_way)
    assert gone.polls
    assert found == []


def test_the_next_poll_is_counted_from_the_end_of_the_last() -> None:
    clock, made = polls()
    place = Place(0.0)

    def poll(now_s: float) -> list[Found]:
        clock.now_s = 61.0
        place.due_s = now_s + 1.0
        return []

    place.poll = poll  # type: ignore[method-assign]
    assert list(made.find([place])) == []
    assert place.due_s == 62.0


def test_what_a_poll_raises_is_raised_when_all_others_have_been_heard() -> None:
    _, made = polls()
    broken = Place(0.0)
    broken.error = KeyError("broken")
    others = [Place(0.0) for _ in range(20)]
    found = made.find([broken, *others])
    assert len([next(found) for _ in others]) == 20
    with pytest.raises(KeyError):
        next(found)
    assert all(place.polls == [1.0] for place in others)


def test_the_next_poll_is_that_of_the_first_that_is_due() -> None:
    assert next_poll_s([Place(30.0), Place(12.0)], 60.0, 10.0) == 2.0
    assert next_poll_s([Place(5.0)], 60.0, 10.0) > 0
    assert next_poll_s([], 60.0, 10.0) == 60.0
    assert next_poll_s([Place(NEVER_S)], 0.0, 10.0) == 0.0
    assert next_poll_s([Place(5.0)], -1.0, 10.0) == -1.0
