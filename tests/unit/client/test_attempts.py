import pytest

from salver.client.attempts import Deadline, Retries
from salver.errors import DeadlineExceeded, InvalidArgument


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_pauses_double_up_to_a_limit_and_then_there_is_none() -> None:
    retries = Retries(6, first_s=0.1, longest_s=1.0, random=lambda: 1.0)
    assert [retries.pause_s(n) for n in range(7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1, None])


def test_a_pause_is_random_but_at_least_half() -> None:
    assert Retries(1, first_s=1.0, random=lambda: 0.0).pause_s(0) == 0.5
    assert Retries(1, first_s=1.0, random=lambda: 0.5).pause_s(0) == 0.75
    assert {Retries().pause_s(0) for _ in range(5)} != {Retries().pause_s(0)}


def test_a_deadline_counts_down_and_ends() -> None:
    clock = Clock()
    deadline = Deadline(2.0, clock)
    assert deadline.left_s() == 2.0
    clock.now_s += 1.5
    assert deadline.left_s() == 0.5
    assert deadline.is_after(0.4)
    assert not deadline.is_after(0.5)
    clock.now_s += 0.5
    with pytest.raises(DeadlineExceeded, match=r"^No answer within 2 s$"):
        deadline.left_s()


def test_without_a_limit_there_is_always_time() -> None:
    deadline = Deadline(None, Clock())
    assert deadline.left_s() is None
    assert deadline.is_after(1e9)


@pytest.mark.parametrize("timeout_s", [float("inf"), 1e12])
def test_more_time_than_clocks_can_count_is_no_limit(timeout_s: float) -> None:
    assert Deadline(timeout_s).left_s() is None


def test_a_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="A timeout is a number of seconds, or None"):
        Deadline(float("nan"))
