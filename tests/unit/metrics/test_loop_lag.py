from collections.abc import Callable

import pytest

from salver.metrics.loop_lag import LoopLag
from salver.metrics.text import Distribution


class Handle:
    def __init__(self, loop: "Loop") -> None:
        self.loop = loop

    def cancel(self) -> None:
        self.loop.callback = None


class Loop:
    """A loop whose one timer is called when somebody says so."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.due_s = 0.0
        self.callback: Callable[[], None] | None = None

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Handle:
        self.due_s, self.callback = self.now_s + delay, callback
        return Handle(self)

    def come(self, late_s: float) -> None:
        assert self.callback is not None
        self.now_s = self.due_s + late_s
        self.callback()


def test_it_takes_down_how_late_each_timer_is() -> None:
    loop = Loop()
    lag = LoopLag(loop.time)
    lag.start(loop)
    loop.come(0.2)
    loop.come(-1e-9)  # clocks are no better than that
    _, value = lag.family().cells[0]
    assert isinstance(value, Distribution)
    assert sum(value.counts) == 2
    assert value.total == pytest.approx(0.2)


def test_it_ends() -> None:
    loop = Loop()
    lag = LoopLag(loop.time)
    lag.stop()
    lag.start(loop)
    lag.stop()
    assert loop.callback is None
