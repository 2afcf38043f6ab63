"""The slow requests of late, with their stages: for a person who asks why."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from salver.instruments.redaction import redacted
from salver.tracing.request import RequestTrace
from salver.tracing.stages import stages_of

__all__ = ["MOST_KEPT", "SlowRequests", "newest"]

MOST_KEPT: Final = 100
_LONGEST_TARGET: Final = 200  # characters that are shown


class SlowRequests:
    """The last ones of a process. Put in by the loop, told in any thread."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, RequestTrace]] = deque(maxlen=MOST_KEPT)

    def put(self, moment: float, trace: RequestTrace) -> None:
        """Keep one.

        Args:
            moment: at which it ended, in seconds since the epoch.
            trace: nothing more is noted of it.
        """
        self._kept.append((moment, trace))

    def told(self) -> list[dict[str, Any]]:
        """What is said of each, the newest first."""
        return [_told(moment, trace) for moment, trace in reversed(self._kept.copy())]


def newest(of_all: Iterable[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """Of what several processes tell the last ones, the newest first."""
    every = [each for told in of_all for each in told]
    return sorted(every, key=lambda each: str(each["time"]), reverse=True)[:MOST_KEPT]


def _told(moment: float, trace: RequestTrace) -> dict[str, Any]:
    time = datetime.fromtimestamp(moment, timezone.utc)
    told: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "protocol": trace.protocol,
        "method": trace.method,
        "target": redacted(trace.target)[:_LONGEST_TARGET],
        "status": trace.status,
        "seconds": _seconds(trace.ended_s - trace.begun_s),
        "model": redacted(trace.model),
        "version": trace.version,
        "stages": [
            {"name": each.name, "seconds": _seconds(each.end_s - each.begin_s)}
            for each in stages_of(trace)
        ],
    }
    if trace.batches:
        told["batches"] = [
            {"tasks": batch.tasks, "rows": batch.rows, "execution_rows": batch.execution_rows}
            for batch in trace.batches
        ]
    if trace.trace_id:
        told["trace_id"] = f"{trace.trace_id:032x}"
    return told


def _seconds(seconds: float) -> float:
    return round(max(0.0, seconds), 6)
