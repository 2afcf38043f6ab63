"""TensorFlow's ProfilerService, as far as it can be served honestly.

`tf.profiler.experimental.client.monitor` gets what this server knows of itself. A trace it cannot
make, since TensorFlow's C API has no door to the profiler: `…client.trace` gets UNIMPLEMENTED.

Source of the messages: TensorFlow, `tsl/profiler/protobuf/profiler_service.proto`. The reference
makes traces and leaves Monitor unimplemented.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final

from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.errors import InvalidArgument, Unimplemented
from salver.rpc.table import Call, MethodTable
from salver.servable import ServableId

__all__ = ["Profiler"]

_MonitorRequest: Any = message_class("tensorflow.MonitorRequest")
_MonitorResponse: Any = message_class("tensorflow.MonitorResponse")

_LONGEST_MS: Final = 60_000  # of a monitoring; a call without end would hold up every drain
_NO_TRACE: Final = (
    "This server cannot record a trace: it runs TensorFlow through the C API, which gives no "
    "access to the profiler. Monitor is served."
)


class Profiler:
    """Tells how busy the server is. Belongs to the loop."""

    def __init__(
        self,
        in_flight: Callable[[], Mapping[ServableId, int]],
        *,
        now: Callable[[], float],
        cpu_s: Callable[[], float] = time.process_time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Make the service.

        Args:
            in_flight: how many requests hold each available version.
            now: seconds since the epoch.
            cpu_s: what this process has used of the processors, all threads together.
            sleep: waits for so many seconds.
        """
        self._in_flight = in_flight
        self._now = now
        self._cpu_s = cpu_s
        self._sleep = sleep
        self._closed = asyncio.Event()

    def methods(self) -> MethodTable:
        """Its part of the table."""
        service = "/tensorflow.ProfilerService"
        return {
            f"{service}/Profile": _no_trace,
            f"{service}/Terminate": _nothing_to_end,
            f"{service}/Monitor": self.monitor,
            f"{service}/StartContinuousProfiling": _no_trace,
            f"{service}/StopContinuousProfiling": _no_trace,
            f"{service}/GetSnapshot": _no_trace,
        }

    def close(self) -> None:
        """End every monitoring; each tells what it has seen so far."""
        self._closed.set()

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


def _no_trace(_data: bytes, _call: Call) -> bytes:
    raise Unimplemented(_NO_TRACE)


def _nothing_to_end(_data: bytes, _call: Call) -> bytes:
    return b""  # what the reference answers for a session it does not know
