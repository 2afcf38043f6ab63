"""When requests are sent, and what is noted of each. Driven by callbacks: no task per request.

*Closed loop*: each of N clients asks again once it has its answer; the server sets the pace. *Open
loop*: requests come at fixed times, whatever the server does, and each latency is counted from the
time at which the request was due, not from when it could be sent. So a server that stands still for
a while is charged with all who came meanwhile, as it would be by real clients ("coordinated
omission", Gil Tene).
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from salver.bench.alarm import Alarm
from salver.bench.latencies import Latencies
from salver.bench.lines import Line, Lines

__all__ = ["TIMEOUT", "Clock", "Failure", "Tally", "closed_loop", "open_loop"]

_PAUSE_S: Final = 0.05  # before the next try where there is no connection
_UNCONNECTED: Final = frozenset({"no connection", "connection lost", "UNAVAILABLE"})
TIMEOUT: Final = "timeout"


@dataclass(slots=True)
class Failure:
    """One way to fail: how often, and the first message."""

    count: int
    message: str


@dataclass(slots=True)
class Tally:
    """What came of a load.

    Attributes:
        latencies: of answers that are no errors, and of requests whose time was over.
        late: how long after the time it was due a request was sent though a line was free: what the
            generator itself adds. Of the open loop.
        failures: by status.
        answered: answers that are no errors.
        seconds: from the first request to the last answer.
        cpu_s: that this process used meanwhile.
        loop_s: that the thread of the loop used, of which there is one.
    """

    latencies: Latencies = field(default_factory=Latencies)
    late: Latencies = field(default_factory=Latencies)
    failures: dict[str, Failure] = field(default_factory=dict)
    answered: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    loop_s: float = 0.0

    @property
    def failed(self) -> int:
        """Requests that were not answered, or by an error."""
        return sum(failure.count for failure in self.failures.values())

    def add(self, other: "Tally") -> None:
        """Count what another counted."""
        self.latencies.add_all(other.latencies)
        self.late.add_all(other.late)
        for status, failure in other.failures.items():
            self.note_failure(status, failure.message, failure.count)
        self.answered += other.answered
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self.seconds += other.seconds
        self.cpu_s += other.cpu_s
        self.loop_s += other.loop_s

    def note_failure(self, status: str, message: str, count: int = 1) -> None:
        """Count a failure."""
        noted = self.failures.get(status)
        if noted is None:
            self.failures[status] = Failure(count, message)
        else:
            noted.count += count


Clock = Callable[[], float]
"""Seconds, monotonic."""


async def closed_loop(
    lines: Lines,
    requests: Sequence[bytes],
    *,
    clients: int,
    duration_s: float,
    stop: asyncio.Event,
    tally: Tally,
    clock: Clock = time.perf_counter,
) -> None:
    """Ask with so many clients for so long; wait for the last answers.

    Args:
        lines: to the server.
        requests: sent in turn.
        clients: each with one request at a time.
        duration_s: in which requests are sent.
        stop: when set, what is under way is given up.
        tally: counts, also while this runs.
        clock: seconds, monotonic.

    Raises:
        Unavailable: the server does not answer.
    """
    opened = await lines.open(clients)
    run = _Run(requests, tally, clock)
    with _Measured(run):
        end_s = clock() + duration_s
        for line in opened:
            _Client(line, run, end_s).ask()
        await run.ended(stop)


async def open_loop(
    lines: Lines,
    requests: Sequence[bytes],
    *,
    rate: float,
    clients: int,
    duration_s: float,
    timeout_s: float,
    stop: asyncio.Event,
    tally: Tally,
    clock: Clock = time.perf_counter,
) -> None:
    """Send `rate` requests a second, evenly; wait for the last answers.

    Args:
        lines: to the server.
        requests: sent in turn.
        rate: requests per second.
        clients: most requests under way; beyond that they wait, and the wait counts.
        duration_s: in which requests come.
        timeout_s: a request that has waited so long is not sent any more.
        stop: when set, what is under way is given up.
        tally: counts, also while this runs.
        clock: seconds, monotonic.

    Raises:
        Unavailable: the server does not answer.
    """
    opened = await lines.open(clients)
    run = _Run(requests, tally, clock)
    with _Measured(run):
        arrivals = _Arrivals(opened, run, rate, duration_s, timeout_s)
        try:
            arrivals.tick()
            await run.ended(stop)
        finally:
            arrivals.close()


class _Run:
    """What the clients of a loop share."""

    def __init__(self, requests: Sequence[bytes], tally: Tally, clock: Clock) -> None:
        self.clock = clock
        self.tally = tally
        self.under_way = 0
        self.last_s = clock()
        self.least_s = 0.0  # how long it lasts, however soon the last answer comes
        self.is_over = False  # nobody asks any more
        self._requests: Iterator[bytes] = itertools.cycle(requests)
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def request(self) -> bytes:
        request = next(self._requests)
        self.tally.sent_bytes += len(request)
        self.under_way += 1
        return request

    def note(self, since_s: float, failure: str, message: str, received: int) -> float:
        """Count what came of a request; gives the time."""
        now_s = self.last_s = self.clock()
        tally = self.tally
        tally.received_bytes += received
        self.under_way -= 1
        if not failure:
            tally.answered += 1
            tally.latencies.add(now_s - since_s)
        else:
            tally.note_failure(failure, message)
            if failure == TIMEOUT:
                tally.latencies.add(now_s - since_s)
        return now_s

    def end(self) -> None:
        if not self._end.done():
            self._end.set_result(None)

    async def ended(self, stop: asyncio.Event) -> None:
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: self.end())
        await self._end
        self.is_over = True
        stopping.cancel()


class _Measured:
    """Takes the time of a run and the CPU it costs."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._begun = self._run.clock(), time.process_time(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        begun_s, cpu_s, loop_s = self._begun
        tally = self._run.tally
        tally.seconds = max(self._run.last_s - begun_s, self._run.least_s, 1e-9)
        tally.cpu_s = time.process_time() - cpu_s
        tally.loop_s = time.thread_time() - loop_s


class _Client:
    """Asks one request after the other."""

    __slots__ = ("_end_s", "_line", "_run", "_since_s")

    def __init__(self, line: Line, run: _Run, end_s: float) -> None:
        self._line = line
        self._run = run
        self._end_s = end_s
        self._since_s = 0.0

    def ask(self) -> None:
        run = self._run
        if run.is_over:
            return
        request = run.request()
        self._since_s = run.clock()
        self._line.send(request, self._done)

    def _done(self, failure: str, message: str, received: int) -> None:
        run = self._run
        now_s = run.note(self._since_s, failure, message, received)
        if now_s >= self._end_s:
            if not run.under_way:
                run.end()
        elif failure in _UNCONNECTED:
            run.under_way += 1  # still a client that will ask
            asyncio.get_running_loop().call_later(_PAUSE_S, self._try_again)
        else:
            self.ask()

    def _try_again(self) -> None:
        self._run.under_way -= 1
        self.ask()


class _Arrivals:
    """Requests that come at their times, and the lines that are free for them."""

    def __init__(
        self,
        lines: Sequence[Line],
        run: _Run,
        rate: float,
        duration_s: float,
        timeout_s: float,
    ) -> None:
        self._idle = list(lines)
        self._run = run
        self._rate = rate
        self._timeout_s = timeout_s
        self._arrived = 0
        self._all = max(1, round(rate * duration_s))
        self._waiting: deque[float] = deque()  # when they were due
        self._alarm = Alarm(asyncio.get_running_loop(), self.tick)
        self._begun_s = run.clock()

    def close(self) -> None:
        """Take in nothing more."""
        self._alarm.close()

    def tick(self) -> None:
        """Take in what has become due."""
        run = self._run
        now_s = run.clock()
        while self._arrived < self._all:
            due_s = self._begun_s + self._arrived / self._rate
            if due_s > now_s:
                self._alarm.set(due_s - run.clock())
                break
            self._arrived += 1
            self._waiting.append(due_s)
            if len(self._idle) >= len(self._waiting):
                run.tally.late.add(now_s - due_s)
        if self._arrived == self._all:
            run.least_s = self._all / self._rate
        self._send()

    def _send(self) -> None:
        run = self._run
        while self._idle and self._waiting:
            due_s = self._waiting.popleft()
            if run.clock() - due_s >= self._timeout_s:
                run.under_way += 1
                run.note(due_s, TIMEOUT, "the server did not keep up: never sent", 0)
                continue
            line = self._idle.pop()

            def done(
                failure: str, message: str, received: int, line: Line = line, due_s: float = due_s
            ) -> None:
                run.note(due_s, failure, message, received)
                self._idle.append(line)
                if not run.is_over:
                    self._send()

            line.send(run.request(), done)
        if self._arrived == self._all and not run.under_way and not self._waiting:
            run.end()
