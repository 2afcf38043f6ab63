from tests.unit.transport.http2.talk import Clock

from salver.transport.http2.table import TokenBucket


def _spend(tokens: TokenBucket, most: int = 1000) -> int:
    for spent in range(most):
        if not tokens.take():
            return spent
    return most


def test_holds_the_burst_at_first() -> None:
    assert _spend(TokenBucket(5, 1, Clock())) == 5


def test_earns_by_the_clock_a_burst_at_most() -> None:
    clock = Clock()
    tokens = TokenBucket(5, 2, clock)
    _spend(tokens)
    clock.now += 1.5
    assert _spend(tokens) == 8 - 5
    clock.now += 100
    assert _spend(tokens) == 5


def test_fractions_of_a_token_are_not_lost_by_asking() -> None:
    clock = Clock()
    tokens = TokenBucket(1, 1, clock)
    assert _spend(tokens) == 1
    clock.now += 0.6
    assert _spend(tokens) == 0
    clock.now += 0.6
    assert _spend(tokens) == 1


def test_what_was_earned_by_work_is_capped() -> None:
    tokens = TokenBucket(5, 1, Clock())
    tokens.left += 100
    tokens.cap()
    assert _spend(tokens) == 5
