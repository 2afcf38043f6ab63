import threading
from collections.abc import Sequence

import pytest

from salver.server.tracing import Tracing
from salver.tracing.environment import ExportSettings
from salver.tracing.exporting import Exporting
from salver.tracing.spans import Span


class Collector:
    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.is_here = threading.Event()

    def export(self, spans: Sequence[Span]) -> bool:
        self.spans += spans
        self.is_here.set()
        return True

    def shutdown(self) -> None: ...


@pytest.mark.parametrize("is_success", [True, False])
@pytest.mark.parametrize("what", ["load", "fetch"])
def test_what_the_server_does_of_itself_says_whether_it_came_to_something(
    what: str, is_success: bool
) -> None:
    collector = Collector()
    tracing = Tracing(exporting=Exporting(lambda: collector, ExportSettings(delay_s=0.01)))
    tell = tracing.loaded if what == "load" else tracing.fetched
    tell("m", 7, 2.0, is_success)
    assert collector.is_here.wait(10)
    tracing.close(10)
    (span,) = collector.spans
    assert (span.name, span.attributes["salver.model.name"]) == (what, "m")
    assert span.error == (None if is_success else f"the {what} failed")
    assert span.end_ns - span.begin_ns == pytest.approx(2e9)
