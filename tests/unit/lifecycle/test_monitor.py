import threading
from collections.abc import Collection

import pytest

from salver.errors import Aborted, Cancelled, Internal, NotFound, NotInstalled, Unimplemented
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus, Wait
from salver.vocabulary.servable import ServableId

START, LOADING, AVAILABLE = VersionState.START, VersionState.LOADING, VersionState.AVAILABLE
UNLOADING, END = VersionState.UNLOADING, VersionState.END
V1, V2, V3 = (ServableId("m", number) for number in (1, 2, 3))
FAILURE = NotFound("no saved_model.pb")
WAIT_S = 10


def wait_until_available(
    monitor: Monitor, names: Collection[str], *, since: int = 0
) -> tuple[VersionStatus, ...]:
    return monitor.wait(Wait(dict.fromkeys(names, since)))


def monitor_of(*events: tuple[ServableId, VersionState]) -> Monitor:
    monitor = Monitor()
    for id, state in events:
        monitor.publish(id, state)
    return monitor


def test_published_states_have_the_numbers_of_the_wire() -> None:
    assert [(s.name, s.value) for s in VersionState] == [
        ("START", 10),
        ("LOADING", 20),
        ("AVAILABLE", 30),
        ("UNLOADING", 40),
        ("END", 50),
    ]


def test_versions_are_listed_highest_first() -> None:
    monitor = monitor_of((V1, AVAILABLE), (V3, START), (V2, LOADING))
    assert monitor.statuses("m") == (
        VersionStatus(V3, START),
        VersionStatus(V2, LOADING),
        VersionStatus(V1, AVAILABLE),
    )
    assert monitor.status(V2) == VersionStatus(V2, LOADING)


def test_nothing_is_known_of_a_version_never_seen() -> None:
    monitor = monitor_of((V1, AVAILABLE))
    assert monitor.status(V2) is None
    assert monitor.statuses("other") == ()


def test_version_that_ended_is_remembered_with_its_error() -> None:
    monitor = monitor_of((V1, LOADING))
    monitor.publish(V1, END, FAILURE)
    assert monitor.status(V1) == VersionStatus(V1, END, FAILURE)


def test_version_that_returns_overwrites_its_end() -> None:
    monitor = monitor_of((V1, END), (V1, START))
    assert monitor.status(V1) == VersionStatus(V1, START)


def test_wait_ends_when_a_version_of_each_name_is_available() -> None:
    monitor = monitor_of((V1, AVAILABLE), (V2, LOADING), (ServableId("n", 1), AVAILABLE))
    assert wait_until_available(monitor, {"m", "n"}) == ()


def test_wait_for_no_names_is_over() -> None:
    assert wait_until_available(Monitor(), ()) == ()


def test_the_highest_version_that_is_available_or_ended_decides() -> None:
    monitor = monitor_of((V1, AVAILABLE), (V3, LOADING))
    monitor.publish(V2, END, FAILURE)
    assert wait_until_available(monitor, {"m"}) == (VersionStatus(V2, END, FAILURE),)


def test_a_failed_version_below_an_available_one_decides_nothing() -> None:
    monitor = monitor_of((V2, AVAILABLE))
    monitor.publish(V1, END, FAILURE)
    assert wait_until_available(monitor, {"m"}) == ()


def test_failures_come_in_the_order_of_names() -> None:
    monitor = Monitor()
    for name in "b", "a":
        monitor.publish(ServableId(name, 1), END, FAILURE)
    failures = wait_until_available(monitor, ["b", "a"])
    assert [status.id.name for status in failures] == ["a", "b"]


def test_wait_wakes_up_when_the_last_name_is_decided() -> None:
    monitor, outcome = monitor_of((V1, AVAILABLE)), list[object]()
    thread = threading.Thread(
        target=lambda: outcome.append(wait_until_available(monitor, {"m", "late"}))
    )
    thread.start()
    monitor.publish(ServableId("late", 1), LOADING)
    monitor.publish(ServableId("late", 1), AVAILABLE)
    thread.join(WAIT_S)
    assert outcome == [()]


def test_interrupt_ends_a_wait_at_once_and_every_later_one() -> None:
    monitor, outcome = Monitor(), list[str]()

    def wait() -> None:
        with pytest.raises(Cancelled):
            wait_until_available(monitor, {"m"})
        outcome.append("cancelled")

    thread = threading.Thread(target=wait)
    thread.start()
    monitor.interrupt()
    thread.join(WAIT_S)
    wait()
    assert outcome == ["cancelled", "cancelled"]


def test_ends_before_the_wait_began_decide_nothing() -> None:
    monitor = monitor_of((V2, START))
    monitor.publish(V2, END, FAILURE)
    since = monitor.now()
    monitor.publish(V1, START)
    monitor.publish(V1, AVAILABLE)
    assert wait_until_available(monitor, {"m"}, since=since) == ()


def test_unload_of_an_earlier_life_is_no_failure_of_the_present_one() -> None:
    monitor = monitor_of((V2, START), (V2, AVAILABLE), (V2, UNLOADING))
    since = monitor.now()
    monitor.publish(V2, END)
    monitor.publish(V1, AVAILABLE)
    assert wait_until_available(monitor, {"m"}, since=since) == ()


def test_failure_after_the_wait_began_decides_even_for_a_load_that_began_before() -> None:
    monitor = monitor_of((V2, START), (V2, LOADING))
    since = monitor.now()
    monitor.publish(V2, END, FAILURE)
    assert wait_until_available(monitor, {"m"}, since=since) == (VersionStatus(V2, END, FAILURE),)


def test_version_loaded_and_unloaded_during_the_wait_decides() -> None:
    monitor = Monitor()
    since = monitor.now()
    for state in START, LOADING, AVAILABLE, UNLOADING, END:
        monitor.publish(V1, state)
    assert wait_until_available(monitor, {"m"}, since=since) == (VersionStatus(V1, END),)


def test_failure_decides_even_when_its_version_is_being_tried_anew() -> None:
    monitor = monitor_of((V1, START))
    since = monitor.now()
    monitor.publish(V1, END, FAILURE)
    monitor.publish(V1, START)
    monitor.publish(V1, LOADING)
    ended = VersionStatus(V1, END, FAILURE)
    assert wait_until_available(monitor, {"m"}, since=since) == (ended,)
    assert monitor.status(V1) == VersionStatus(V1, LOADING)
    monitor.publish(V1, AVAILABLE)
    assert wait_until_available(monitor, {"m"}, since=since) == ()


def test_last_error_is_that_of_the_highest_version_that_failed() -> None:
    monitor = monitor_of((V1, START), (V2, START), (V3, START))
    assert monitor.last_error("m") is None
    first, second = NotFound("first"), NotFound("second")
    monitor.try_failed(V2, first)
    monitor.try_failed(V1, second)
    assert monitor.last_error("m") is first
    assert monitor.status(V2) == VersionStatus(V2, START)
    monitor.publish(V2, LOADING)
    assert monitor.last_error("m") is first
    monitor.publish(V2, AVAILABLE)
    assert monitor.last_error("m") is second
    monitor.publish(V1, END, FAILURE)
    assert monitor.last_error("m") is FAILURE
    assert monitor.last_error("other") is None


def test_load_given_up_because_nobody_wants_it_is_no_trouble() -> None:
    monitor = monitor_of((V1, START))
    monitor.publish(V1, END, Cancelled("Loading of servable cancelled"))
    assert monitor.last_error("m") is None
    assert not monitor.wait_until_settled({"m"}, 0)


def test_wait_for_settling_ends_with_the_first_failed_try() -> None:
    monitor, outcome = monitor_of((V1, LOADING), (ServableId("n", 1), AVAILABLE)), list[bool]()
    assert not monitor.wait_until_settled({"m", "n"}, 0)
    thread = threading.Thread(target=lambda: outcome.append(monitor.wait_until_settled({"m", "n"})))
    thread.start()
    monitor.try_failed(V1, FAILURE)
    thread.join(WAIT_S)
    assert outcome == [True]


def test_wait_for_settling_can_be_interrupted() -> None:
    monitor = Monitor()
    monitor.interrupt()
    with pytest.raises(Cancelled):
        monitor.wait_until_settled({"m"})


def test_a_load_given_up_in_an_earlier_life_is_no_failure_of_the_present_one() -> None:
    monitor = monitor_of((V1, START), (V1, LOADING))
    since = monitor.now()
    monitor.publish(V1, END, Cancelled("Loading of servable cancelled"))
    monitor.publish(V1, START)
    monitor.publish(V1, LOADING)
    monitor.publish(V1, AVAILABLE)
    assert wait_until_available(monitor, ["m"], since=since) == ()


def test_a_load_given_up_in_the_present_life_ends_the_wait() -> None:
    monitor = monitor_of((V1, END))
    since = monitor.now()
    monitor.publish(V1, START)
    error = Cancelled("Loading of servable cancelled")
    monitor.publish(V1, END, error)
    assert wait_until_available(monitor, ["m"], since=since) == (VersionStatus(V1, END, error),)


def test_only_so_many_ends_of_a_name_are_remembered_and_the_oldest_are_forgotten() -> None:
    monitor = Monitor(max_ended=2)
    other = ServableId("other", 1)
    monitor.publish(other, END)
    for id in (V2, V1, V3):
        monitor.publish(id, START)
    monitor.publish(V2, END)
    monitor.publish(V3, END, FAILURE)
    assert monitor.status(V2) == VersionStatus(V2, END)
    monitor.publish(V1, END)
    assert monitor.status(V2) is None
    assert monitor.statuses("m") == (VersionStatus(V3, END, FAILURE), VersionStatus(V1, END))
    assert monitor.statuses("other") == (VersionStatus(other, END),)


def test_version_that_ends_again_counts_as_one_and_as_the_latest() -> None:
    monitor = Monitor(max_ended=2)
    for id in (V1, V2, V1, V3):
        monitor.publish(id, START)
        monitor.publish(id, END)
    assert [status.id for status in monitor.statuses("m")] == [V3, V1]


def test_version_that_was_forgotten_may_come_back() -> None:
    monitor = Monitor(max_ended=1)
    monitor.publish(V1, END, FAILURE)
    monitor.publish(V2, END)
    assert monitor.status(V1) is None
    monitor.publish(V1, START)
    monitor.publish(V1, AVAILABLE)
    assert wait_until_available(monitor, ["m"]) == (VersionStatus(V2, END),)
    assert monitor.last_error("m") is None


def test_without_a_bound_every_end_is_remembered() -> None:
    monitor = Monitor()
    for number in range(300):
        monitor.publish(ServableId("m", number), END)
    assert len(monitor.statuses("m")) == 300


def test_each_change_of_a_name_is_told() -> None:
    told: list[str] = []
    monitor = Monitor(on_change=told.append)
    monitor.publish(ServableId("m", 1), VersionState.START)
    monitor.try_failed(ServableId("m", 1), Internal("broken"))
    monitor.publish(ServableId("n", 1), VersionState.AVAILABLE)
    assert told == ["m", "m", "n"]


# -- waits that others look at ---------------------------------------------------------------------


def test_a_wait_can_be_ended_by_others_before_and_while_it_is_waited() -> None:
    monitor, wait = Monitor(), Wait({"m": 0})
    assert monitor.undecided(wait) == ("m",)
    monitor.end(wait, Aborted("enough"))
    monitor.end(wait, Aborted("too late"))
    assert monitor.undecided(wait) == ()
    for _ in range(2):
        with pytest.raises(Aborted, match="enough"):
            monitor.wait(wait)

    outcome, other = list[str](), Wait({"m": 0})

    def stand() -> None:
        with pytest.raises(Aborted):
            monitor.wait(other)
        outcome.append("ended")

    thread = threading.Thread(target=stand)
    thread.start()
    monitor.end(other, Aborted("enough"))
    thread.join(WAIT_S)
    assert outcome == ["ended"]


def test_a_wait_whose_names_are_decided_ends_by_that_whatever_comes_after() -> None:
    monitor, wait = monitor_of((V1, AVAILABLE)), Wait({"m": 0})
    monitor.end(wait, Aborted("enough"))
    monitor.publish(V1, UNLOADING)
    monitor.publish(V1, END)
    assert monitor.wait(wait) == ()


def test_a_wait_that_is_over_cannot_be_ended() -> None:
    monitor, wait = monitor_of((V1, AVAILABLE)), Wait({"m": 0})
    assert monitor.wait(wait) == ()
    monitor.publish(V1, UNLOADING)
    monitor.end(wait, Aborted("enough"))
    assert monitor.wait(wait) == ()


def test_what_is_waited_for_yet_is_told_in_order() -> None:
    monitor = monitor_of((V1, AVAILABLE))
    assert monitor.undecided(Wait({"z": 0, "m": 0, "a": 0})) == ("a", "z")


def test_a_model_is_under_way_while_a_version_loads_that_has_not_failed() -> None:
    monitor = Monitor()
    assert not monitor.is_under_way("m")
    monitor.publish(V1, START)
    assert monitor.is_under_way("m")
    monitor.publish(V1, LOADING)
    assert monitor.is_under_way("m")
    monitor.try_failed(V1, FAILURE)
    assert not monitor.is_under_way("m")
    monitor.publish(V2, AVAILABLE)
    assert not monitor.is_under_way("m")


def test_who_watches_looks_at_each_change_and_when_asked_to() -> None:
    monitor, looks, seen = Monitor(), list[int](), threading.Semaphore(0)

    def pause_s() -> float | None:
        looks.append(len(looks))
        seen.release()
        return None if len(looks) == 3 else 3600.0

    thread = threading.Thread(target=monitor.wait_while, args=(pause_s,))
    thread.start()
    assert seen.acquire(timeout=WAIT_S)
    monitor.publish(V1, START)
    assert seen.acquire(timeout=WAIT_S)
    monitor.wake_all()
    thread.join(WAIT_S)
    assert looks == [0, 1, 2]


def test_who_watches_looks_again_when_its_pause_is_over() -> None:
    pauses = iter([0.0, 0.0, None])
    Monitor().wait_while(lambda: next(pauses))
    assert list(pauses) == []


def test_who_watches_is_interrupted() -> None:
    monitor = Monitor()
    monitor.interrupt()
    with pytest.raises(Cancelled):
        monitor.wait_while(lambda: 3600.0)


def test_a_note_is_told_until_the_state_changes() -> None:
    told: list[str] = []
    monitor = Monitor(on_change=told.append)
    monitor.publish(V1, LOADING)
    monitor.note(V1, "still loading")
    assert monitor.status(V1) == VersionStatus(V1, LOADING, note="still loading")
    monitor.publish(V1, AVAILABLE)
    assert monitor.status(V1) == VersionStatus(V1, AVAILABLE)
    assert told == ["m"] * 3


# -- what cannot come ------------------------------------------------------------------------------


def test_models_that_cannot_be_looked_for_have_failed_and_tell_why() -> None:
    told: list[str] = []
    monitor, away = Monitor(on_change=told.append), Unimplemented("no such scheme")
    monitor.set_unreachable({"m": away})
    assert monitor.last_error("m") is away
    assert monitor.wait_until_settled(["m"], timeout_s=0)
    monitor.set_unreachable({"m": away, "n": away})
    monitor.set_unreachable({"n": away})
    assert monitor.last_error("m") is None
    assert told == ["m", "n", "m"]


def test_a_model_is_hopeless_when_all_its_versions_need_what_is_missing() -> None:
    monitor, missing = Monitor(), NotInstalled("install it")
    assert monitor.is_hopeless("m") is False  # a version may come
    monitor.publish(V1, LOADING)
    assert monitor.is_hopeless("m") is None
    monitor.try_failed(V1, missing)
    assert monitor.is_hopeless("m") is True
    monitor.publish(V2, LOADING)
    assert monitor.is_hopeless("m") is None
    monitor.try_failed(V2, NotFound("half copied"))
    assert monitor.is_hopeless("m") is False
    monitor.publish(V2, END, missing)
    assert monitor.is_hopeless("m") is True
    monitor.publish(V3, AVAILABLE)
    assert monitor.is_hopeless("m") is False


def test_a_model_that_cannot_be_looked_for_is_hopeless_unless_a_version_is_there() -> None:
    monitor = monitor_of((V1, AVAILABLE))
    away = Unimplemented("no such scheme")
    monitor.set_unreachable({"m": away, "n": away})
    assert monitor.is_hopeless("m") is False
    assert monitor.is_hopeless("n") is True


def test_where_files_were_fetched_to_is_told_until_the_version_ends() -> None:
    monitor = Monitor()
    id = ServableId("m", 1)
    monitor.publish(id, VersionState.LOADING)
    monitor.fetched(id, "/cache/1")
    for state, directory in (
        (VersionState.LOADING, "/cache/1"),
        (VersionState.AVAILABLE, "/cache/1"),
        (VersionState.UNLOADING, "/cache/1"),
        (VersionState.END, None),
        (VersionState.START, None),
    ):
        monitor.publish(id, state)
        assert monitor.statuses("m")[0].directory == directory


def test_a_remark_stands_with_a_version_while_it_is_available_and_has_no_note() -> None:
    told: list[str] = []
    monitor = Monitor(on_change=told.append)
    one = ServableId("m", 1)
    monitor.set_remarks("m", {1: "stale"})
    assert told == ["m"]
    for state in VersionState:
        monitor.publish(one, state)
        status = monitor.status(one)
        assert status is not None
        assert status.note == ("stale" if state is VersionState.AVAILABLE else None)
    monitor.publish(one, VersionState.AVAILABLE)
    monitor.note(one, "restarts")
    assert [status.note for status in monitor.statuses("m")] == ["restarts"]
    monitor.note(one, None)
    assert [status.note for status in monitor.statuses("m")] == ["stale"]
    monitor.set_remarks("m", {})
    assert [status.note for status in monitor.statuses("m")] == [None]
