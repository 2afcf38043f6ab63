from tests.unit.transport.http2.talk import Clock

from salver.transport.http2.purse import Purse


def _spend(purse: Purse, most: int = 1000) -> int:
    for spent in range(most):
        if not purse.pay():
            return spent
    return most


def test_holds_the_burst_at_first() -> None:
    assert _spend(Purse(5, 1, Clock())) == 5


def test_earns_by_the_clock_a_burst_at_most() -> None:
    clock = Clock()
    purse = Purse(5, 2, clock)
    _spend(purse)
    clock.now += 1.5
    assert _spend(purse) == 8 - 5
    clock.now += 100
    assert _spend(purse) == 5


def test_fractions_of_a_token_are_not_lost_by_asking() -> None:
    clock = Clock()
    purse = Purse(1, 1, clock)
    assert _spend(purse) == 1
    clock.now += 0.6
    assert _spend(purse) == 0
    clock.now += 0.6
    assert _spend(purse) == 1


def test_what_was_earned_by_work_is_capped() -> None:
    purse = Purse(5, 1, Clock())
    purse.left += 100
    purse.cap()
    assert _spend(purse) == 5
