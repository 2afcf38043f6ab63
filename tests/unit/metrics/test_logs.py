from salver.errors import Code
from salver.metrics.logs import LogMetrics


def test_what_is_written_and_what_is_lost_are_counted() -> None:
    metrics = LogMetrics()
    metrics.written("m")
    metrics.written("m")
    metrics.dropped("m", Code.RESOURCE_EXHAUSTED, "queue_full")
    counts, dropped = metrics.families()
    assert dict(counts.cells) == {("m", "OK"): 2, ("m", "RESOURCE_EXHAUSTED"): 1}
    assert dropped.cells == [(("request", "queue_full"), 1)]
