import threading
from collections.abc import Callable

import pytest

from salver.errors import Cancelled, Code, NotFound
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.management.waits import GRACE_S, MOST, POLL_S, Left, Superseded, Waiting, Waits
from salver.sources.protocol import MonitoredServable
from salver.vocabulary.servable import All, Latest, ServableId

WAIT_S = 10
START, LOADING, AVAILABLE = VersionState.START, VersionState.LOADING, VersionState.AVAILABLE
TEXT = "A newer configuration has taken the place of this one before these came up: "


def servable(name: str, *, base_path: str = "/models", every: bool = False) -> MonitoredServable:
    return MonitoredServable(name, f"{base_path}/{name}", All() if every else Latest(1))


class Bench:
    """Configurations that come one after the other, and a clock that stands still."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.monitor = Monitor()
        self.waits = Waits(self.monitor, clock=lambda: self.now_s)
        self._names: frozenset[str] = frozenset()

    def configure(self, *wanted: str | MonitoredServable, caller: Caller | None) -> Waiting | None:
        servables = {
            each.name: each
            for each in (servable(one) if isinstance(one, str) else one for one in wanted)
        }
        new = dict.fromkeys(sorted(servables.keys() - self._names), self.monitor.now())
        self._names = frozenset(servables)
        return self.waits.begin(servables, new, caller)

    def wait(self, *wanted: str | MonitoredServable, caller: Caller | None = None) -> Waiting:
        waiting = self.configure(*wanted, caller=caller or Caller())
        assert waiting is not None
        return waiting

    def publish(self, name: str, state: VersionState, error: NotFound | None = None) -> None:
        self.monitor.publish(ServableId(name, 1), state, error)

    def outcome(self, waiting: Waiting) -> tuple[VersionStatus, ...]:
        return self.waits.finish(waiting)

    def superseded(self, waiting: Waiting) -> str:
        with pytest.raises(Superseded) as raised:
            self.outcome(waiting)
        assert raised.value.code is Code.ABORTED
        return raised.value.message


@pytest.fixture
def bench() -> Bench:
    return Bench()


def in_thread(call: Callable[[], object]) -> "tuple[threading.Thread, list[object]]":
    """A call that may wait, and what has come of it."""
    outcomes: list[object] = []

    def work() -> None:
        try:
            outcomes.append(call())
        except Cancelled as error:
            outcomes.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, outcomes


def test_a_wait_ends_with_its_models(bench: Bench) -> None:
    waiting = bench.wait("a", "b")
    bench.publish("a", AVAILABLE)
    bench.publish("b", START)
    bench.publish("b", VersionState.END, NotFound("no"))
    (failure,) = bench.outcome(waiting)
    assert failure.id == ServableId("b", 1)


def test_a_newer_configuration_ends_the_wait_for_what_it_gives_up(bench: Bench) -> None:
    first = bench.wait("a", "b", "c")
    bench.publish("a", AVAILABLE)
    bench.configure("a", "b", caller=None)
    assert bench.superseded(first) == f"{TEXT}b, c"


@pytest.mark.parametrize(
    "instead", [servable("a", base_path="/elsewhere"), servable("a", every=True)]
)
def test_another_place_or_policy_of_a_model_is_another_model(
    bench: Bench, instead: MonitoredServable
) -> None:
    first = bench.wait("a")
    bench.configure(instead, caller=None)
    assert bench.superseded(first) == f"{TEXT}a"


def test_a_newer_configuration_leaves_the_wait_for_what_it_keeps(bench: Bench) -> None:
    first = bench.wait("a")
    second = bench.wait("a", "b")
    bench.publish("a", AVAILABLE)
    bench.publish("b", AVAILABLE)
    assert bench.outcome(first) == bench.outcome(second) == ()


def test_models_that_came_up_before_a_newer_configuration_gives_them_up_have_come_up(
    bench: Bench,
) -> None:
    first = bench.wait("a")
    bench.publish("a", AVAILABLE)
    bench.configure(caller=None)
    bench.publish("a", VersionState.UNLOADING)
    bench.publish("a", VersionState.END)
    assert bench.outcome(first) == ()


def test_a_wait_ends_when_its_caller_leaves(bench: Bench) -> None:
    caller = Caller()
    waiting = bench.wait("a", caller=caller)
    thread, outcomes = in_thread(lambda: bench.outcome(waiting))
    caller.leave()
    thread.join(WAIT_S)
    (error,) = outcomes
    assert isinstance(error, Left)
    assert error.message == (
        "Whoever asked for this configuration has left before these came up: a"
    )


def test_a_caller_who_has_left_before_does_not_wait(bench: Bench) -> None:
    caller = Caller()
    waiting = bench.wait("a", caller=caller)
    caller.leave()
    with pytest.raises(Left):
        bench.outcome(waiting)


def test_what_was_waited_for_in_vain_is_waited_for_by_the_next_who_asks_for_it(
    bench: Bench,
) -> None:
    caller = Caller()
    caller.leave()
    with pytest.raises(Left):
        bench.outcome(bench.wait("a", "b", caller=caller))
    bench.publish("b", AVAILABLE)
    again = bench.wait("a", "b")
    assert bench.monitor.undecided(again.wait) == ("a",)
    bench.configure("b", caller=None)
    bench.superseded(again)
    assert bench.monitor.undecided(bench.wait("b").wait) == ()  # nobody owes `a` any more


def test_a_failure_that_nobody_waited_for_is_not_told_to_the_next(bench: Bench) -> None:
    caller = Caller()
    caller.leave()
    with pytest.raises(Left):
        bench.outcome(bench.wait("a", caller=caller))
    bench.publish("a", START)
    bench.publish("a", VersionState.END, NotFound("no"))
    assert bench.outcome(bench.wait("a")) == ()


def test_only_so_many_wait_and_the_oldest_is_superseded(bench: Bench) -> None:
    waiting = [bench.wait("a") for _ in range(MOST + 1)]
    assert bench.superseded(waiting[0]) == f"{TEXT}a"
    assert all(bench.monitor.undecided(other.wait) for other in waiting[1:])


# -- giving way ------------------------------------------------------------------------------------


def gives_way(bench: Bench, *wanted: str, caller: Caller | None = None) -> bool:
    """Whether a newer configuration waits, as things stand; then it goes on waiting."""
    servables = {name: servable(name) for name in wanted}
    caller = caller or Caller()
    thread, outcomes = in_thread(lambda: bench.waits.give_way(servables, caller))
    thread.join(0.05)
    is_waiting = not outcomes
    caller.leave()
    thread.join(WAIT_S)
    return is_waiting


def test_what_may_be_found_soon_is_waited_for_a_moment(bench: Bench) -> None:
    bench.wait("a")
    assert gives_way(bench, "b")
    bench.now_s = POLL_S
    assert not gives_way(bench, "b")


def test_what_is_on_its_way_is_waited_for_a_while(bench: Bench) -> None:
    bench.wait("a")
    bench.publish("a", LOADING)
    bench.now_s = GRACE_S - 1
    assert gives_way(bench, "b")
    bench.now_s = GRACE_S
    assert not gives_way(bench, "b")


def test_what_has_failed_once_is_not_waited_for(bench: Bench) -> None:
    bench.wait("a")
    bench.publish("a", LOADING)
    bench.monitor.try_failed(ServableId("a", 1), NotFound("no"))
    bench.now_s = POLL_S
    assert not gives_way(bench, "b")


def test_who_keeps_everything_does_not_give_way(bench: Bench) -> None:
    bench.wait("a")
    assert not gives_way(bench, "a", "b")


def test_giving_way_ends_with_the_models(bench: Bench) -> None:
    bench.wait("a")
    bench.publish("a", LOADING)
    thread, outcomes = in_thread(lambda: bench.waits.give_way({}, Caller()))
    bench.publish("a", AVAILABLE)
    thread.join(WAIT_S)
    assert outcomes == [None]


def test_who_leaves_while_giving_way_has_asked_for_nothing(bench: Bench) -> None:
    bench.wait("a")
    caller = Caller()
    thread, outcomes = in_thread(lambda: bench.waits.give_way({}, caller))
    caller.leave()
    thread.join(WAIT_S)
    assert isinstance(outcomes[0], Left)


def test_a_wait_that_its_caller_has_left_is_not_given_way_to(bench: Bench) -> None:
    caller = Caller()
    waiting = bench.wait("a", caller=caller)
    bench.publish("a", LOADING)
    caller.leave()
    with pytest.raises(Left):
        bench.outcome(waiting)
    assert not gives_way(bench, "b")
