import threading

import pytest

from salver.errors import Cancelled
from salver.sources.polling import Polling

WAIT_S = 10


class Counting(Polling):
    """Counts its polls, and ends its waits when the test says so."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("salver-counting", what="a thing", is_watching=False, wait=self._waits)
        self.polls = 0
        self.error = error
        self.timeouts: list[float | None] = []
        self.is_waiting = threading.Semaphore(0)

    def _poll(self) -> None:
        self.polls += 1
        if self.error is not None:
            raise self.error

    def _pause_s(self) -> float | None:
        return self.polls * 10.0

    def _waits(self, wake: threading.Event, timeout_s: float | None) -> bool:
        self.timeouts.append(timeout_s)
        self.is_waiting.release()
        return wake.wait(WAIT_S)

    def until_waiting(self) -> None:
        assert self.is_waiting.acquire(timeout=WAIT_S)


def test_each_poll_is_followed_by_its_pause_unless_it_is_woken() -> None:
    polling = Counting()
    polling.start()
    polling.until_waiting()
    polling.poke()
    polling.until_waiting()
    assert polling.close(WAIT_S)
    assert (polling.polls, polling.timeouts) == (2, [10.0, 20.0])


def test_what_a_poll_raises_ends_that_poll_alone(caplog: pytest.LogCaptureFixture) -> None:
    polling = Counting(KeyError("x"))
    polling.start()
    polling.until_waiting()
    polling.poke()
    polling.until_waiting()
    assert polling.close(WAIT_S)
    assert caplog.messages == ["The poll of a thing failed"] * 2


def test_a_poll_that_is_cancelled_is_the_last() -> None:
    polling = Counting(Cancelled("the server stops"))
    polling.start()
    polling._thread.join(WAIT_S)
    assert not polling._thread.is_alive()
    assert polling.timeouts == []


def test_a_stop_before_the_first_poll_is_heard() -> None:
    polling = Counting()
    polling.stop()
    polling.start()
    assert polling.close(WAIT_S)
    assert polling.polls == 0
