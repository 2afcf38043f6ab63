import asyncio
import sys

import pytest

from salver.bench.alarm import Alarm


@pytest.fixture(params=["linux", "other", "no timers"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "linux" and sys.platform != "linux":
        pytest.skip("Linux alone has such timers")
    if request.param == "other":
        monkeypatch.setattr(sys, "platform", "darwin")
    if request.param == "no timers":
        monkeypatch.setattr("salver.bench.alarm._MONOTONIC", 12345)  # there is no such clock
    return str(request.param)


class Bell:
    """An alarm, and how often and when it rang."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self.count = 0
        self.alarm = Alarm(self._loop, self._ring)

    def _ring(self) -> None:
        self.count += 1
        self._rung.set()

    async def wait(self, delay_s: float) -> float:
        """How long it takes to ring."""
        self._rung.clear()
        begun_s = self._loop.time()
        self.alarm.set(delay_s)
        await asyncio.wait_for(self._rung.wait(), 10)
        return self._loop.time() - begun_s


@pytest.mark.usefixtures("platform")
async def test_rings_when_it_is_set_and_once_each_time() -> None:
    bell = Bell()
    assert await bell.wait(0.01) >= 0.0099
    await bell.wait(-1.0)  # at once, for what is due already
    assert bell.count == 2
    bell.alarm.close()


@pytest.mark.usefixtures("platform")
async def test_what_it_is_set_to_last_counts_and_once_closed_nothing() -> None:
    bell = Bell()
    bell.alarm.set(60.0)
    assert await bell.wait(0.002) < 10
    bell.alarm.set(0.0)
    bell.alarm.close()
    await asyncio.sleep(0.005)  # longer than it was set to
    assert bell.count == 1


@pytest.mark.usefixtures("platform")
async def test_one_that_was_never_set_closes_too() -> None:
    Bell().alarm.close()


async def test_a_ring_that_came_already_is_no_error() -> None:
    times: list[float] = []
    alarm = Alarm(asyncio.get_running_loop(), lambda: times.append(0.0))
    alarm._read()  # the loop may call for a timer that was set again meanwhile
    alarm.close()
    assert times == [0.0]
