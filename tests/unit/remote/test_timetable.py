import threading
from collections.abc import Mapping

import pytest

from salver.errors import Cancelled, Internal, PermissionDenied, ServingError, Unavailable
from salver.remote.errors import StoreBusy
from salver.remote.timetable import NEVER_S, Failures, OneByOne, again, next_poll_s, poll_due
from salver.sources.protocol import Found, MonitoredServable, Version
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


def test_what_a_poll_raises_is_raised_when_all_others_have_been_heard() -> None:
    broken = Place(0.0)
    broken.error = KeyError("broken")
    others = [Place(0.0) for _ in range(20)]
    found = poll_due([broken, *others], 1.0)
    assert len([next(found) for _ in others]) == 20
    with pytest.raises(KeyError):
        next(found)
    assert all(place.polls == [1.0] for place in others)


def test_a_look_that_raises_what_nobody_foresaw_is_an_error_of_its_model_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = 100.0

    def look(servable: MonitoredServable) -> Mapping[int, Version]:
        if servable.name == "evil":
            raise OverflowError("secret")
        return {1: Version("here")}

    good, evil = (MonitoredServable(name, f"x://{name}", Latest()) for name in ("good", "evil"))
    models = OneByOne(look, 1.0, lambda: now_s)
    wanted = (evil, good)
    for again_s in (1.0, 2.0, 4.0):
        found = dict(models.find(wanted))
        assert found[good] == {1: Version("here")}
        error = found[evil]
        assert isinstance(error, Internal)
        assert "x://evil cannot be looked at: OverflowError" in error.message
        assert "secret" not in error.message
        assert models.poll_wait_s > 0.8
        now_s += 1.2 * again_s
    assert [record.exc_info is not None for record in caplog.records] == [True]


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
