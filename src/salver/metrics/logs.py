"""What becomes of the calls that are to be logged. Any thread may call anything here."""

from salver.errors import Code
from salver.metrics.catalogue import BY_NAME
from salver.metrics.cells import Counters
from salver.metrics.text import Family

__all__ = ["LogMetrics"]


class LogMetrics:
    """Counts what the request logs write and what they lose."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._counts = Counters(BY_NAME["/tensorflow/serving/request_log_count"])
        self._dropped = Counters(BY_NAME["salver_dropped_log_records_total"])

    def written(self, model_name: str) -> None:
        """A call is in the file."""
        self._counts.add(model_name, Code.OK.name)

    def dropped(self, model_name: str, code: Code, reason: str) -> None:
        """A call is lost."""
        self._counts.add(model_name, code.name)
        self._dropped.add("request", reason)

    def families(self) -> list[Family]:
        """What has been counted by now."""
        return [self._counts.family(), self._dropped.family()]
