from salver.lifecycle.callers import Caller


def test_a_caller_is_told_once_its_configuration_is_in_effect() -> None:
    told: list[str] = []
    Caller(on_taken=lambda: told.append("taken")).taken()
    assert told == ["taken"]
    Caller().taken()  # who does not want to know


def test_who_waits_for_a_caller_to_leave_is_told_once() -> None:
    told: list[int] = []
    caller = Caller()
    caller.on_leave(lambda: told.append(1))
    caller.on_leave(lambda: told.append(2))
    assert not caller.has_left
    caller.leave()
    caller.leave()
    assert told == [1, 2]
    assert caller.has_left


def test_who_asks_after_a_caller_has_left_is_told_at_once() -> None:
    told: list[int] = []
    caller = Caller()
    caller.leave()
    caller.on_leave(lambda: told.append(1))
    assert told == [1]
