from typing import Any

import pytest

from salver.tracing.environment import ExportSettings
from salver.tracing.opentelemetry import SdkExporter, is_installed
from salver.tracing.spans import Span

pytest.importorskip("opentelemetry.sdk.trace")

SPAN = Span(
    "POST /v1/models/{model}:predict", 0xABC, 0xDEF, 5, 1_000, 2_000,
    is_server=True, is_parent_remote=True, error="Service Unavailable",
    attributes={"salver.model.name": "m", "salver.model.version": 7}, links=((8, 9),),
    trace_state="a=b",
)  # fmt: skip


class Memory:
    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Any) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self.spans += spans
        return SpanExportResult.SUCCESS if len(self.spans) < 3 else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Nothing is open."""


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> tuple[SdkExporter, Memory]:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    made = SdkExporter(ExportSettings(exporter="console"), {"salver.process": "worker 1"})
    memory = Memory()
    made._exporter = memory
    return made, memory


def test_a_span_is_what_the_sdk_has(exporter: tuple[SdkExporter, Memory]) -> None:
    made, memory = exporter
    assert made.export([SPAN])
    (span,) = memory.spans
    assert span.name == SPAN.name
    assert (span.context.trace_id, span.context.span_id) == (0xABC, 0xDEF)
    assert (span.parent.span_id, span.parent.is_remote) == (5, True)
    assert span.context.trace_state.to_header() == "a=b"
    assert (span.start_time, span.end_time) == (1_000, 2_000)
    assert dict(span.attributes) == dict(SPAN.attributes)
    assert [link.context.trace_id for link in span.links] == [8]
    assert span.kind.name == "SERVER"
    assert (span.status.status_code.name, span.status.description) == ("ERROR", SPAN.error)


def test_the_resource_is_named_by_the_environment_or_after_this_server(
    exporter: tuple[SdkExporter, Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, memory = exporter
    made.export([SPAN])
    attributes = memory.spans[0].resource.attributes
    assert attributes["service.name"] == "salver"
    assert attributes["deployment.environment"] == "test"
    assert attributes["salver.process"] == "worker 1"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "scoring")
    named = SdkExporter(ExportSettings(exporter="console"), {})
    assert named._resource.attributes["service.name"] == "scoring"
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=of-attributes")
    named = SdkExporter(ExportSettings(exporter="console"), {})
    assert named._resource.attributes["service.name"] == "of-attributes"


def test_an_export_that_fails_is_told(exporter: tuple[SdkExporter, Memory]) -> None:
    made, _ = exporter
    assert not made.export([SPAN] * 3)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_exporters_of_the_sdk_are_there(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "grpc" if protocol == "grpc" else "http"
    pytest.importorskip(f"opentelemetry.exporter.otlp.proto.{module}.trace_exporter")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    settings = ExportSettings(protocol=protocol)
    assert is_installed(settings)
    SdkExporter(settings, {}).shutdown()
