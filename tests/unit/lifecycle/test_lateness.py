from salver.lifecycle.lateness import WARN_S, Late, Lateness


def due_of(lateness: Lateness[str]) -> float | None:
    return lateness.due_s


def wanted(_key: str) -> bool:
    return True


def unwanted(_key: str) -> bool:
    return False


def test_a_load_is_told_of_after_a_minute_and_then_less_and_less() -> None:
    lateness: Lateness[str] = Lateness()
    assert due_of(lateness) is None
    lateness.begin("a", 100.0)
    told: list[Late[str]] = []
    for _ in range(9):
        due_s = due_of(lateness)
        assert due_s is not None
        assert lateness.check(due_s - 0.1, wanted) == []
        told += lateness.check(due_s, wanted)
    assert [late.for_s for late in told] == [60, 120, 240, 480, 960, 1920, 3840, 7440, 11040]
    assert [late.is_first for late in told] == [True] + [False] * 8
    assert not any(late.is_over for late in told)
    assert lateness.end("a")
    assert due_of(lateness) is None


def test_a_load_that_returns_in_time_is_not_told_of() -> None:
    lateness: Lateness[str] = Lateness()
    lateness.begin("a", 0.0)
    assert not lateness.end("a")
    assert not lateness.end("a")
    assert lateness.check(1000.0, wanted) == []


def test_a_load_is_given_up_when_its_time_is_over() -> None:
    lateness: Lateness[str] = Lateness(90.0)
    lateness.begin("a", 0.0)
    assert lateness.check(60.0, wanted) == [Late("a", 60.0, is_first=True, is_over=False)]
    assert due_of(lateness) == 90.0
    assert lateness.check(90.0, wanted) == [Late("a", 90.0, is_first=False, is_over=True)]
    assert due_of(lateness) is None
    assert not lateness.end("a")  # it is forgotten


def test_a_short_time_may_be_over_before_a_load_is_told_of() -> None:
    lateness: Lateness[str] = Lateness(2.0)
    lateness.begin("a", 0.0)
    assert due_of(lateness) == 2.0
    assert lateness.check(2.5, wanted) == [Late("a", 2.5, is_first=True, is_over=True)]


def test_a_load_that_nobody_wants_is_given_up_once_it_is_late() -> None:
    lateness: Lateness[str] = Lateness()
    lateness.begin("a", 0.0)
    lateness.hurry("a")
    assert due_of(lateness) == WARN_S
    assert lateness.check(WARN_S, unwanted) == [Late("a", WARN_S, is_first=True, is_over=True)]


def test_a_late_load_that_nobody_wants_any_more_is_looked_at_at_once() -> None:
    lateness: Lateness[str] = Lateness()
    lateness.begin("a", 0.0)
    lateness.check(WARN_S, wanted)
    lateness.hurry("a")
    lateness.hurry("unknown")
    assert lateness.check(WARN_S + 1, unwanted) == [
        Late("a", WARN_S + 1, is_first=False, is_over=True)
    ]


def test_each_load_has_its_own_time() -> None:
    lateness: Lateness[str] = Lateness(10.0)
    lateness.begin("a", 0.0)
    lateness.begin("b", 5.0)
    assert [late.key for late in lateness.check(12.0, wanted)] == ["a"]
    assert due_of(lateness) == 15.0
