from salver.remote.pace import Pace


def looks(pace: Pace, until_s: int, bytes_per_s: float, *, is_held: bool = False) -> list[int]:
    """The seconds at which a fetch of such a rate is found to have stalled."""
    return [s for s in range(until_s + 1) if pace.look(s, int(s * bytes_per_s), is_held=is_held)]


def test_a_store_that_drips_has_stalled_after_a_minute() -> None:
    assert looks(Pace(0.0, 60.0), 70, 999.0) == [60]
    assert looks(Pace(0.0, 60.0), 70, 0.0) == [60]


def test_a_store_that_is_only_slow_has_not() -> None:
    assert looks(Pace(0.0, 60.0), 1000, 1001.0) == []


def test_a_store_that_has_been_quick_may_stall_too() -> None:
    pace = Pace(0.0, 60.0)
    assert looks(pace, 60, 1e8) == []
    stalled = [s for s in range(61, 200) if pace.look(s, int(60e8) + s, is_held=False)]
    assert stalled == [120, 180]


def test_the_time_in_which_we_are_slow_does_not_count() -> None:
    pace = Pace(0.0, 60.0)
    assert looks(pace, 1000, 0.0, is_held=True) == []
    assert not pace.look(1059.0, 0, is_held=False)
    assert pace.look(1060.0, 0, is_held=False)


def test_it_is_quick_while_it_goes_on_fast() -> None:
    pace = Pace(0.0, 60.0)
    seen = [pace.is_quick]
    for now_s in (1.0, 4.0):
        pace.look(now_s, 2_000_000, is_held=False)
        seen.append(pace.is_quick)
    assert seen == [False, True, False]
