import asyncio
from collections.abc import Callable

import pytest
from tests.unit.bench.conftest import ScriptedServer, answer_bytes

from salver.bench.http_lines import HttpLines, http_request
from salver.bench.lines import Done, Line
from salver.bench.loops import Tally, closed_loop, open_loop


class FakeLines:
    """Answers in a time of its own: each answer turns the clock on by what it takes."""

    def __init__(self, answer: Callable[[int], tuple[float, str]]) -> None:
        self.now_s = 0.0
        self.sent: list[bytes] = []
        self._answer = answer

    def clock(self) -> float:
        return self.now_s

    async def open(self, count: int) -> list[Line]:
        return [self] * count

    async def close(self) -> None:
        pass

    def send(self, request: bytes, done: Done) -> None:
        self.sent.append(request)
        seconds, failure = self._answer(len(self.sent) - 1)

        def answer() -> None:
            self.now_s += seconds
            done(failure, f"words {len(self.sent)}" if failure else "", 10)

        asyncio.get_running_loop().call_soon(answer)


async def closed(lines: FakeLines, duration_s: float) -> Tally:
    tally = Tally()
    await closed_loop(
        lines, [b"a", b"bc"], clients=1, duration_s=duration_s, stop=asyncio.Event(), tally=tally,
        clock=lines.clock,
    )  # fmt: skip
    return tally


async def test_a_closed_loop_asks_again_after_each_answer() -> None:
    lines = FakeLines(lambda number: (0.1 if number % 10 == 9 else 0.01, ""))
    tally = await closed(lines, 1.9)  # ten take 0.19
    assert tally.answered == len(lines.sent) == 100
    assert tally.seconds == pytest.approx(1.9)
    assert tally.latencies.percentile(90) == pytest.approx(0.01, rel=0.003)
    assert tally.latencies.percentile(91) == pytest.approx(0.1, rel=0.003)
    assert tally.latencies.mean_s == pytest.approx(0.019)
    assert (tally.sent_bytes, tally.received_bytes) == (150, 1000)
    assert lines.sent[:3] == [b"a", b"bc", b"a"]


async def test_failures_are_counted_by_status_with_the_first_words() -> None:
    failures = ["", "503", "timeout", "503"]
    tally = await closed(FakeLines(lambda number: (0.25, failures[number % 4])), 1.0)
    assert tally.answered == 1
    assert tally.failed == 3
    assert {status: (f.count, f.message) for status, f in tally.failures.items()} == {
        "503": (2, "words 2"), "timeout": (1, "words 3"),
    }  # fmt: skip
    assert tally.latencies.count == 2  # the answer, and the wait that was in vain
    twice = Tally()
    twice.add(tally)
    twice.add(tally)
    assert twice.failures["503"].count == 4
    assert twice.answered == 2
    assert twice.seconds == pytest.approx(2.0)


async def test_without_a_connection_the_next_try_waits() -> None:
    lines = FakeLines(lambda number: (0.5, "no connection" if number == 0 else ""))
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    tally = await closed(lines, 1.0)
    assert loop.time() - begun_s >= 0.045
    assert (tally.failed, tally.answered) == (1, 1)


async def test_a_loop_that_is_stopped_leaves_what_is_under_way(server: ScriptedServer) -> None:
    address = await server.start()
    stop = asyncio.Event()

    def answer(number: int) -> tuple[float, bytes]:
        if number == 5:
            stop.set()
            return 60, b""
        return 0, answer_bytes()

    server.answer = answer
    for rate in (None, 1000.0):
        stop.clear()
        server.received.clear()
        lines, tally = HttpLines(address, None, 10), Tally()
        requests = [http_request(address, "/", b"")]
        if rate is None:
            work = closed_loop(lines, requests, clients=1, duration_s=60, stop=stop, tally=tally)
        else:
            work = open_loop(
                lines, requests, rate=rate, clients=1, duration_s=60, timeout_s=10, stop=stop,
                tally=tally,
            )  # fmt: skip
        await asyncio.wait_for(work, 10)
        await lines.close()
        assert tally.answered == 5
        assert 0 < tally.seconds < 10


async def test_a_client_that_waits_for_a_connection_does_not_ask_once_it_is_over() -> None:
    stop = asyncio.Event()

    def answer(_: int) -> tuple[float, str]:
        stop.set()
        return 0.1, "no connection"

    lines = FakeLines(answer)
    await closed_loop(
        lines, [b"a"], clients=1, duration_s=9, stop=stop, tally=Tally(), clock=lines.clock
    )
    await asyncio.sleep(0.06)  # longer than the pause before the next try
    assert len(lines.sent) == 1


async def test_an_answer_that_comes_when_it_is_over_starts_nothing() -> None:
    stop, pending = asyncio.Event(), list[Done]()

    class Slow(FakeLines):
        def send(self, request: bytes, done: Done) -> None:
            self.sent.append(request)
            pending.append(done)
            stop.set()

    lines = Slow(lambda _: (0, ""))
    await open_loop(
        lines, [b"a"], rate=1000, clients=1, duration_s=9, timeout_s=9, stop=stop, tally=Tally()
    )
    pending[0]("", "", 0)
    assert len(lines.sent) == 1


class Stalling:
    """Answers after a millisecond, but while it stands still not before that is over."""

    def __init__(self, from_s: float, to_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun_s = self._loop.time()
        self._stall = (from_s, to_s)

    async def open(self, count: int) -> list[Line]:
        return [self] * count

    async def close(self) -> None:
        pass

    def send(self, request: bytes, done: Done) -> None:
        passed_s = self._loop.time() - self._begun_s
        from_s, to_s = self._stall
        wait_s = to_s - passed_s if from_s <= passed_s < to_s else 0.001
        self._loop.call_later(wait_s, done, "", "", len(request))


async def test_in_an_open_loop_a_stall_is_charged_for_all_who_came_meanwhile() -> None:
    tally = Tally()
    await open_loop(
        Stalling(0.1, 0.3), [b"x"], rate=200, clients=1, duration_s=0.6, timeout_s=5,
        stop=asyncio.Event(), tally=tally,
    )  # fmt: skip
    assert tally.answered == 120
    assert tally.seconds >= 0.6
    slow = sum(bar.count for bar in tally.latencies.bars(1000) if bar.from_s > 0.1)
    assert (
        slow >= 15
    )  # of 40 that came in the 200 ms half waited more than 100; a closed loop has 1
    assert tally.latencies.most_s >= 0.19
    closed_tally = Tally()
    await closed_loop(
        Stalling(0.1, 0.3), [b"x"], clients=1, duration_s=0.4, stop=asyncio.Event(),
        tally=closed_tally,
    )  # fmt: skip
    assert sum(b.count for b in closed_tally.latencies.bars(1000) if b.from_s > 0.1) == 1


async def test_a_request_that_waited_too_long_is_not_sent() -> None:
    tally = Tally()
    lines = Stalling(0.0, 0.3)
    await open_loop(
        lines, [b"x"], rate=100, clients=1, duration_s=0.1, timeout_s=0.15,
        stop=asyncio.Event(), tally=tally,
    )  # fmt: skip
    assert tally.answered == 1
    assert tally.failures["timeout"].count == 9
    assert tally.failures["timeout"].message == "the server did not keep up: never sent"
    assert tally.latencies.count == 10


async def test_an_open_loop_says_how_late_it_was_itself() -> None:
    tally = Tally()
    await open_loop(
        Stalling(9, 9), [b"x"], rate=500, clients=8, duration_s=0.1, timeout_s=5,
        stop=asyncio.Event(), tally=tally,
    )  # fmt: skip
    assert tally.late.count == 50
    assert tally.late.percentile(50) < 0.05
    assert tally.cpu_s > 0
    assert tally.loop_s > 0
