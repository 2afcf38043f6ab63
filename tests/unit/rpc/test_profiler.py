import asyncio
import inspect
from typing import Any

import pytest

from salver._pb import message_class
from salver.errors import InvalidArgument, Unimplemented
from salver.rpc.profiler import Profiler
from salver.rpc.table import Call
from salver.servable import ServableId

_Request = message_class("tensorflow.MonitorRequest")
_Response = message_class("tensorflow.MonitorResponse")


class _Machine:
    """Half a CPU is in use while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.used_s = 5.0
        self.slept: list[float] = []
        self.profiler = Profiler(
            lambda: {ServableId("m", 1): 2, ServableId("n", 3): 0},
            now=lambda: self.now_s,
            cpu_s=lambda: self.used_s,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        self.used_s += seconds / 2

    async def monitor(self, **fields: Any) -> str:
        data = _Request(**fields).SerializeToString()
        return str(_Response.FromString(await self.profiler.monitor(data, Call())).data)


async def test_monitoring_tells_what_is_in_use_meanwhile() -> None:
    machine = _Machine()
    text = await machine.monitor(duration_ms=2000, monitoring_level=1)
    assert text == "CPUs in use: 0.50\nRequests in flight: 2\n"
    assert machine.slept == [2.0]


async def test_level_2_tells_of_each_version() -> None:
    text = await _Machine().monitor(duration_ms=1, monitoring_level=2)
    assert text.splitlines()[1:] == [
        "Requests in flight: 2",
        "  m version 1: 2",
        "  n version 3: 0",
    ]


async def test_a_moment_has_no_usage() -> None:
    assert await _Machine().monitor(duration_ms=0) == "Requests in flight: 2\n"


async def test_the_time_is_told_to_who_asks() -> None:
    first, *_ = (await _Machine().monitor(duration_ms=1, timestamp=True)).splitlines()
    head, _, clock = first.partition(" ")
    assert head == "Timestamp:"
    assert [part.isdigit() and len(part) for part in clock.split(":")] == [2, 2, 2]


async def test_monitoring_takes_a_minute_at_most() -> None:
    machine = _Machine()
    await machine.monitor(duration_ms=1 << 63)
    assert machine.slept == [60.0]


async def test_monitoring_ends_when_the_service_is_closed() -> None:
    is_asleep = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        is_asleep.set()
        await asyncio.Event().wait()

    profiler = Profiler(dict, now=lambda: 0.0, sleep=sleep)
    data = _Request(duration_ms=60_000).SerializeToString()
    monitoring = asyncio.ensure_future(profiler.monitor(data, Call()))
    await is_asleep.wait()
    profiler.close()
    for answering in (monitoring, profiler.monitor(data, Call())):  # and so does the next
        answer = await asyncio.wait_for(answering, 10)
        assert _Response.FromString(answer).data == "Requests in flight: 0\n"


async def test_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        await _Machine().profiler.monitor(b"\x0a\xff", Call())
    assert caught.value.message == "could not parse request"


async def test_the_process_and_the_loop_are_what_is_watched() -> None:
    profiler = Profiler(dict, now=lambda: 0.0)
    data = _Request(duration_ms=1).SerializeToString()
    answer = _Response.FromString(await profiler.monitor(data, Call()))
    assert answer.data == "Requests in flight: 0\n"


def _answer(method: str) -> Any:
    called = _Machine().profiler.methods()[f"/tensorflow.ProfilerService/{method}"]
    assert inspect.isroutine(called)
    return called(b"", Call())


@pytest.mark.parametrize(
    "method",
    ["Profile", "StartContinuousProfiling", "StopContinuousProfiling", "GetSnapshot"],
)
def test_traces_are_refused_and_it_is_said_why(method: str) -> None:
    with pytest.raises(Unimplemented, match=r"cannot record a trace.*C API"):
        _answer(method)


def test_ending_a_session_that_never_was_is_no_error() -> None:
    assert _answer("Terminate") == b""
