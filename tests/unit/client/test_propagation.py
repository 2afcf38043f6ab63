import sys

import pytest

from salver.client.propagation import trace_headers
from salver.tracing.parent import Parent, parent_of


def test_a_program_that_does_not_trace_sends_nothing_and_imports_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert trace_headers() == {}
    assert "opentelemetry.trace" not in sys.modules


def test_the_span_that_the_caller_is_in_is_sent() -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = trace.TracerProvider(trace.sampling.ALWAYS_ON).get_tracer("test")
    assert trace_headers() == {}
    with tracer.start_as_current_span("caller") as span:
        own = span.get_span_context()
        sent = parent_of(trace_headers()["traceparent"].encode())
        assert sent == Parent(own.trace_id, own.span_id, is_sampled=True)
