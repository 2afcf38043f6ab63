import threading
from collections.abc import Iterator

import pytest

from salver.sources.silence import Silence

WAIT_S = 10
AFTER_S = 0.05


class Bench:
    """A silence that is listened for, and how often it was noticed."""

    def __init__(self, *, is_begun: bool = True) -> None:
        self.noticed = threading.Semaphore(0)
        self.begin = threading.Event()
        if is_begun:
            self.begin.set()
        self.silence = Silence("test", AFTER_S, self.noticed.release, self.begin)

    def is_noticed(self, within_s: float = WAIT_S) -> bool:
        return self.noticed.acquire(timeout=within_s)


def test_what_is_said_is_passed_on_and_the_thread_ends_with_it() -> None:
    bench = Bench()
    assert list(bench.silence.heard(lambda: [1, 2, 3])) == [1, 2, 3]
    assert "test" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("is_said_before", [False, True])
def test_each_silence_is_noticed_before_and_between_what_is_said(*, is_said_before: bool) -> None:
    bench = Bench()

    def say() -> Iterator[int]:
        if is_said_before:
            yield 0
        assert bench.is_noticed()
        assert bench.is_noticed()  # and again
        yield 1

    assert 1 in list(bench.silence.heard(say))


def test_a_source_that_says_nothing_when_it_is_called_is_noticed_too() -> None:
    bench = Bench()

    def say() -> list[int]:
        assert bench.is_noticed()
        return [1]

    assert list(bench.silence.heard(say)) == [1]


def test_the_time_that_the_listener_takes_is_no_silence() -> None:
    bench = Bench()
    for _ in bench.silence.heard(lambda: [1, 2]):
        assert not bench.is_noticed(within_s=3 * AFTER_S)


def test_what_is_before_the_beginning_is_no_silence() -> None:
    bench = Bench(is_begun=False)

    def say() -> Iterator[int]:
        assert not bench.is_noticed(within_s=3 * AFTER_S)
        bench.begin.set()
        assert bench.is_noticed()
        yield 1

    assert list(bench.silence.heard(say)) == [1]


def test_an_error_is_passed_on() -> None:
    bench = Bench()

    def say() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    with pytest.raises(KeyError):
        list(bench.silence.heard(say))
    assert "test" not in {thread.name for thread in threading.enumerate()}
