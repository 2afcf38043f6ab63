import threading

import pytest

from salver.errors import Cancelled, PermissionDenied, ServingError, Unavailable
from salver.remote.errors import StoreBusy
from salver.remote.timetable import NEVER_S, Failures, again, next_poll_s, poll_due
from salver.sources.protocol import Found, MonitoredServable
from salver.vocabulary.servable import Latest


class Place:
    """Notes when it was polled."""

    def __init__(self, due_s: float, gate: threading.Event | None = None) -> None:
        self.due_s = due_s
        self.polls: list[float] = []
        self.gate = gate
        self.error: BaseException | None = None

    def poll(self, now_s: float) -> list[Found]:
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            assert self.gate.wait(10)
        self.polls.append(now_s)
        return [(MonitoredServable("m", "s3://b/m", Latest()), {})]


class Stage:
    """Notes how long it was asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def check(self) -> None: ...
    def progress(self, _done_bytes: int) -> None: ...

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_only_what_is_due_is_polled() -> None:
    places = [Place(5.0), Place(20.0), Place(10.0)]
    assert len(list(poll_due(places, 10.0))) == 2
    assert [place.polls for place in places] == [[10.0], [], [10.0]]


def test_a_store_that_hangs_keeps_no_other_from_being_heard() -> None:
    gate = threading.Event()
    slow, quick = Place(0.0, gate), Place(0.0)
    found = poll_due([slow, quick], 1.0)
    next(found)
    assert quick.polls == [1.0]
    assert slow.polls == []
    gate.set()
    assert len(list(found)) == 1


def test_what_a_poll_raises_is_raised() -> None:
    broken = Place(0.0)
    broken.error = KeyError("broken")
    with pytest.raises(KeyError):
        list(poll_due([broken, Place(0.0)], 1.0))


def test_the_next_poll_is_that_of_the_first_that_is_due() -> None:
    assert next_poll_s([Place(30.0), Place(12.0)], 60.0, 10.0) == 2.0
    assert next_poll_s([Place(5.0)], 60.0, 10.0) > 0
    assert next_poll_s([], 60.0, 10.0) == 60.0
    assert next_poll_s([Place(NEVER_S)], 0.0, 10.0) == 0.0
    assert next_poll_s([Place(5.0)], -1.0, 10.0) == -1.0


def test_one_poll_alone_is_repeated_until_it_goes_well() -> None:
    failures = Failures(0.0)
    error = Unavailable("away")
    assert 0.9 <= failures.failed(error) <= 1.1
    assert error.message == "away; it is asked again in 1 s"
    assert failures.succeeded("s3://b") == NEVER_S


def test_a_request_is_repeated_while_that_may_help() -> None:
    stage, tries = Stage(), iter([Unavailable("a"), _busy(7.0), "answer"])

    def ask() -> str:
        found = next(tries)
        if isinstance(found, ServingError):
            raise found
        return str(found)

    assert again(stage, ask) == "answer"
    assert stage.waits[0] < 1
    assert 7.0 <= stage.waits[1] < 8.0


@pytest.mark.parametrize("error", [PermissionDenied("no"), Cancelled("unwanted")])
def test_and_not_where_it_may_not(error: ServingError) -> None:
    stage = Stage()

    def ask() -> str:
        raise error

    with pytest.raises(type(error)):
        again(stage, ask)
    assert stage.waits == []


def _busy(retry_after_s: float) -> StoreBusy:
    error = StoreBusy("busy")
    error.retry_after_s = retry_after_s
    return error
