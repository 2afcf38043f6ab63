from salver.lifecycle.state import FINAL, TRANSITIONS, Event, State


def test_only_a_version_that_is_gone_has_no_way_out() -> None:
    assert {start for start, _ in TRANSITIONS} == set(State) - {State.DISABLED}


def test_a_final_state_is_left_by_a_retry_alone() -> None:
    assert {event for start, event in TRANSITIONS if start in FINAL} == {Event.RETRY}


def test_every_state_can_be_reached() -> None:
    assert set(TRANSITIONS.values()) == set(State)


def test_every_event_means_something_somewhere() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)
