import pytest

from salver.errors import Cancelled
from salver.remote.bandwidth import Bandwidth


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_no_more_than_the_limit_passes_in_a_second() -> None:
    clock = Clock()
    bandwidth = Bandwidth(1000, clock, clock.sleep)
    for _ in range(20):
        bandwidth.take(500, lambda: None)
    assert clock.now_s == pytest.approx(10.0)


def test_what_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    bandwidth = Bandwidth(1000, clock, clock.sleep)
    clock.now_s = 100.0
    bandwidth.take(1000, lambda: None)
    assert clock.now_s == pytest.approx(101.0)


def test_no_limit_lets_everything_pass() -> None:
    clock = Clock()
    Bandwidth(0, clock, clock.sleep).take(10**12, lambda: None)
    assert clock.now_s == 0.0


def test_nobody_waits_for_what_nobody_wants_any_more() -> None:
    clock = Clock()

    def check() -> None:
        if clock.now_s > 1.0:
            raise Cancelled("unwanted")

    with pytest.raises(Cancelled):
        Bandwidth(10, clock, clock.sleep).take(10_000, check)
    assert clock.now_s < 1.5


def test_chunks_are_smaller_under_a_limit() -> None:
    assert Bandwidth(0).chunk_bytes == 1 << 18
    assert Bandwidth(1_000_000).chunk_bytes == 100_000
    assert Bandwidth(10).chunk_bytes == 1 << 14
