"""TensorFlow's ProfilerService, for its own clients and TensorBoard.

`tf.profiler.experimental.client.monitor` gets what this server knows of itself, and `…client.trace`
what TensorFlow does in the process that answers. The trace goes back in the answer, and the client
writes it where TensorBoard looks; the reference writes it by itself, to a path that the client
names. Continuous profiling is not served.

Source of the messages: TensorFlow, `tsl/profiler/protobuf/profiler_service.proto`. The reference
makes traces and leaves Monitor unimplemented.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.errors import InvalidArgument, Unavailable, Unimplemented
from salver.instruments.threads import InThread
from salver.protocols.api import Api, ApiParts
from salver.protocols.methods import Call, MethodTable
from salver.vocabulary.servable import ServableId

if TYPE_CHECKING:
    from salver.backends.tensorflow.recorder import Trace

__all__ = ["Profiler", "make_api"]

_MonitorRequest: Any = message_class("tensorflow.MonitorRequest")
_MonitorResponse: Any = message_class("tensorflow.MonitorResponse")
_ProfileRequest: Any = message_class("tensorflow.ProfileRequest")
_ProfileResponse: Any = message_class("tensorflow.ProfileResponse")
_ProfileOptions: Any = message_class("tensorflow.ProfileOptions")
_TerminateRequest: Any = message_class("tensorflow.TerminateRequest")

_SERVICE: Final = "/tensorflow.ProfilerService"
_LONGEST_MS: Final = 60_000  # of a call; one without end would hold up every drain
_TOOL: Final = "xplane.pb"  # the client writes HOST.xplane.pb, which TensorBoard reads
_NOT_CONTINUOUS: Final = "Continuous profiling is not served; Profile and Monitor are."

RecordTrace = Callable[[bytes, float, threading.Event], "Trace"]
"""Records, in a thread: the options, seconds, and what ends it; see `recorder.record`."""


def make_api(parts: ApiParts) -> Api | None:
    """The service, where the flags ask for it."""
    if not parts.configuration.options.enable_profiler:
        return None
    profiler = Profiler(
        parts.models.in_flight,
        in_thread=parts.in_control,
        now=time.time,  # noqa: TID251 - the clock
    )
    return Api(methods=profiler.methods(), administrative=(f"{_SERVICE}/",), close=profiler.close)


class Profiler:
    """Tells how busy the server is. Belongs to the loop."""

    def __init__(
        self,
        in_flight: Callable[[], Mapping[ServableId, int]],
        *,
        in_thread: InThread,
        record: RecordTrace | None = None,
        now: Callable[[], float],
        cpu_s: Callable[[], float] = time.process_time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Make the service.

        Args:
            in_flight: how many requests hold each available version.
            in_thread: runs what waits.
            record: makes a trace; by default of what TensorFlow does here.
            now: seconds since the epoch.
            cpu_s: what this process has used of the processors, all threads together.
            sleep: waits for so many seconds.
        """
        self._in_flight = in_flight
        self._now = now
        self._cpu_s = cpu_s
        self._sleep = sleep
        self._in_thread = in_thread
        self._record = record or _record
        self._closed = asyncio.Event()
        self._recording: tuple[str, threading.Event] | None = None  # the session, and what ends it

    def methods(self) -> MethodTable:
        """Its part of the table."""
        return {
            f"{_SERVICE}/Profile": self.profile,
            f"{_SERVICE}/Terminate": self._terminate,
            f"{_SERVICE}/Monitor": self.monitor,
            f"{_SERVICE}/StartContinuousProfiling": _not_continuous,
            f"{_SERVICE}/StopContinuousProfiling": _not_continuous,
            f"{_SERVICE}/GetSnapshot": _not_continuous,
        }

    def close(self) -> None:
        """End every monitoring and the trace; each tells what it has seen so far."""
        self._closed.set()
        if self._recording is not None:
            self._recording[1].set()

    async def profile(self, data: bytes, _call: Call) -> bytes:
        """Record what TensorFlow does in this process, for at most a minute.

        It ends early at `close`, when `Terminate` says so, and when the client leaves.

        Raises:
            InvalidArgument: the request is no ProfileRequest.
            Unavailable: a trace is being recorded already.
            ServingError: see `recorder.record`.
        """
        try:
            request = _ProfileRequest.FromString(data)
        except DecodeError:
            raise InvalidArgument("could not parse request") from None
        if self._recording is not None:
            raise Unavailable("Another trace of this process is being recorded")
        ended = threading.Event()
        self._recording = request.session_id, ended
        if self._closed.is_set():
            ended.set()
        duration_s = min(request.opts.duration_ms or request.duration_ms, _LONGEST_MS) / 1000
        options = _own_options(request.opts)
        job = asyncio.ensure_future(
            self._in_thread(lambda: self._record(options, duration_s, ended))
        )
        job.add_done_callback(self._recorded)
        try:
            trace = await asyncio.shield(job)
        except asyncio.CancelledError:
            ended.set()
            raise
        response = _ProfileResponse(empty_trace=trace.is_empty)
        response.tool_data.add(name=_TOOL, data=trace.xspace)
        return bytes(response.SerializeToString())

    def _recorded(self, job: "asyncio.Future[Trace]") -> None:
        self._recording = None
        if not job.cancelled():
            job.exception()  # which is no news where nobody waits any more

    def _terminate(self, data: bytes, _call: Call) -> bytes:
        """End the trace of a session; of one that it does not know the reference says nothing."""
        try:
            session = _TerminateRequest.FromString(data).session_id
        except DecodeError:
            raise InvalidArgument("could not parse request") from None
        if self._recording is not None and self._recording[0] == session:
            self._recording[1].set()
        return b""

    async def monitor(self, data: bytes, _call: Call) -> bytes:
        """Watch for as long as the client wants, at most a minute, and tell in words.

        It ends early at `close`.

        Level 2 tells of each version.

        Raises:
            InvalidArgument: the request is no MonitorRequest.
        """
        try:
            request = _MonitorRequest.FromString(data)
        except DecodeError:
            raise InvalidArgument("could not parse request") from None
        duration_s = min(request.duration_ms, _LONGEST_MS) / 1000
        began_s, used_s = self._now(), self._cpu_s()
        await self._wait(duration_s)
        used_s, ended_s = self._cpu_s() - used_s, self._now()
        lines = []
        if request.timestamp:
            # Local time, as TensorFlow prints it.
            lines.append(f"Timestamp: {datetime.fromtimestamp(ended_s):%H:%M:%S}")  # noqa: DTZ006
        if ended_s > began_s:
            lines.append(f"CPUs in use: {used_s / (ended_s - began_s):.2f}")
        in_flight = self._in_flight()
        lines.append(f"Requests in flight: {sum(in_flight.values())}")
        if request.monitoring_level > 1:
            lines += [f"  {id.name} version {id.version}: {n}" for id, n in in_flight.items()]
        text = "".join(f"{line}\n" for line in lines)
        return bytes(_MonitorResponse(data=text).SerializeToString())

    async def _wait(self, duration_s: float) -> None:
        waits = (
            asyncio.ensure_future(self._sleep(duration_s)),
            asyncio.ensure_future(self._closed.wait()),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()


def _record(options: bytes, duration_s: float, ended: threading.Event) -> "Trace":
    from salver.backends.tensorflow import recorder  # for the few who ask

    return recorder.record(options, duration_s, ended)


def _own_options(asked: Any) -> bytes:
    """What of a client's options concerns a recorder: no path, and nothing of Python's."""
    options = _ProfileOptions(
        version=1,
        host_tracer_level=asked.host_tracer_level if asked.version else 2,
        device_tracer_level=asked.device_tracer_level if asked.version else 1,
        include_dataset_ops=asked.include_dataset_ops,
        device_type=asked.device_type,
        enable_hlo_proto=asked.enable_hlo_proto,
    )
    return bytes(options.SerializeToString())


def _not_continuous(_data: bytes, _call: Call) -> bytes:
    raise Unimplemented(_NOT_CONTINUOUS)
