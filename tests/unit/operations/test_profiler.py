import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from salver._pb import message_class
from salver.backends.tensorflow.recorder import Trace
from salver.errors import FailedPrecondition, InvalidArgument, Unavailable, Unimplemented
from salver.operations.profiler import Profiler
from salver.protocols.methods import Call
from salver.vocabulary.servable import ServableId

_Request = message_class("tensorflow.MonitorRequest")
_Response = message_class("tensorflow.MonitorResponse")
_ProfileRequest = message_class("tensorflow.ProfileRequest")
_ProfileResponse = message_class("tensorflow.ProfileResponse")
_ProfileOptions = message_class("tensorflow.ProfileOptions")


async def _in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(call)


class _Machine:
    """Half a CPU is in use while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.used_s = 5.0
        self.slept: list[float] = []
        self.profiler = Profiler(
            lambda: {ServableId("m", 1): 2, ServableId("n", 3): 0},
            in_thread=_in_thread,
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

    profiler = Profiler(dict, in_thread=_in_thread, now=lambda: 0.0, sleep=sleep)
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
    profiler = Profiler(dict, in_thread=_in_thread, now=lambda: 0.0)
    data = _Request(duration_ms=1).SerializeToString()
    answer = _Response.FromString(await profiler.monitor(data, Call()))
    assert answer.data == "Requests in flight: 0\n"


def _answer(method: str) -> Any:
    called = _Machine().profiler.methods()[f"/tensorflow.ProfilerService/{method}"]
    assert inspect.isroutine(called)
    return called(b"", Call())


@pytest.mark.parametrize(
    "method", ["StartContinuousProfiling", "StopContinuousProfiling", "GetSnapshot"]
)
def test_continuous_profiling_is_refused(method: str) -> None:
    with pytest.raises(Unimplemented, match="Continuous profiling is not served"):
        _answer(method)


class _Recorder:
    """Records until it is ended, and notes with what."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[bytes, float]] = []
        self.began = threading.Event()
        self.has_ended = threading.Event()
        self.error = error
        self.profiler = Profiler(dict, in_thread=_in_thread, record=self.record, now=lambda: 0.0)

    def record(self, options: bytes, duration_s: float, ended: threading.Event) -> Trace:
        self.asked.append((options, duration_s))
        self.began.set()
        if self.error is not None:
            raise self.error
        assert ended.wait(10)
        self.has_ended.set()
        return Trace(b"space", is_empty=False)

    def begin(self, **fields: Any) -> "asyncio.Future[bytes]":
        data = _ProfileRequest(**fields).SerializeToString()
        return asyncio.ensure_future(self.profiler.profile(data, Call()))

    async def until_it_records(self) -> None:
        assert await asyncio.to_thread(self.began.wait, 10)

    def terminate(self, session: str) -> None:
        data = message_class("tensorflow.TerminateRequest")(session_id=session)
        method: Any = self.profiler.methods()["/tensorflow.ProfilerService/Terminate"]
        assert method(data.SerializeToString(), Call()) == b""


async def test_a_trace_goes_back_for_the_client_to_write() -> None:
    recorder = _Recorder()
    asked = {"version": 1, "host_tracer_level": 3, "duration_ms": 2500, "repository_path": "/etc"}
    tracing = recorder.begin(opts=asked, session_id="s", repository_root="/etc")
    await recorder.until_it_records()
    recorder.terminate("another")
    assert not recorder.has_ended.is_set()
    recorder.terminate("s")
    response = _ProfileResponse.FromString(await tracing)
    assert [(tool.name, tool.data) for tool in response.tool_data] == [("xplane.pb", b"space")]
    assert not response.empty_trace
    ((options, duration_s),) = recorder.asked
    assert duration_s == 2.5
    own = _ProfileOptions.FromString(options)
    assert (own.host_tracer_level, own.repository_path) == (3, "")


async def test_one_trace_at_a_time_is_recorded() -> None:
    recorder = _Recorder()
    first = recorder.begin()
    await recorder.until_it_records()
    with pytest.raises(Unavailable, match="Another trace"):
        await recorder.begin()
    recorder.profiler.close()
    await first
    await recorder.begin()  # which ends at once, as the service is closed


async def test_a_client_that_leaves_ends_its_trace() -> None:
    recorder = _Recorder()
    tracing = recorder.begin(duration_ms=1 << 40)
    await recorder.until_it_records()
    tracing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tracing
    assert await asyncio.to_thread(recorder.has_ended.wait, 10)
    assert recorder.asked[0][1] == 60.0


async def test_what_cannot_be_recorded_is_told_and_the_next_is_tried() -> None:
    recorder = _Recorder(FailedPrecondition("no TensorFlow"))
    for _ in range(2):
        with pytest.raises(FailedPrecondition):
            await recorder.begin()
    with pytest.raises(InvalidArgument, match="could not parse"):
        await recorder.profiler.profile(b"\xff", Call())


def test_ending_a_session_that_never_was_is_no_error() -> None:
    assert _answer("Terminate") == b""
