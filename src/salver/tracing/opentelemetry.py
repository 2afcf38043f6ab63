"""Spans as OpenTelemetry's SDK has them, sent by its own exporters: the extra `otel`."""

import logging
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

import salver
from salver.tracing.environment import ExportSettings
from salver.tracing.spans import Span

__all__ = ["SdkExporter", "is_installed"]

_SERVICE: Final = "salver"
_SAMPLED: Final = 1


def is_installed(settings: ExportSettings) -> bool:
    """Whether what the settings need is there; nothing is imported."""
    needed = ["opentelemetry.sdk.trace"]
    if settings.exporter == "otlp":
        form = "grpc" if settings.protocol == "grpc" else "http"
        needed.append(f"opentelemetry.exporter.otlp.proto.{form}")
    try:
        return all(find_spec(name) is not None for name in needed)
    except ModuleNotFoundError:  # of a package above it
        return False


class SdkExporter:
    """An `Exporter`. Made in the thread that uses it, since it imports the SDK: 0.2 s."""

    def __init__(self, settings: ExportSettings, attributes: Mapping[str, str]) -> None:
        """Import, and make the exporter that the settings name; it connects when it has something.

        Args:
            settings: name it.
            attributes: of this process, behind those that the environment names.

        Raises:
            Exception: whatever the SDK raises where its own variables make no sense.
        """
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        # It tells of each try, with a traceback, and of the collector's address; we tell once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        named = {SERVICE_NAME: _SERVICE} if not os.environ.get("OTEL_SERVICE_NAME") else {}
        resource = Resource.create({"service.version": salver.__version__, **attributes})
        own_name = resource.attributes.get(SERVICE_NAME, "")
        if named and str(own_name).startswith("unknown_service"):
            resource = resource.merge(Resource(named))
        self._resource = resource
        self._scope = InstrumentationScope(_SERVICE, salver.__version__)
        self._exporter = _exporter(settings)

    def export(self, spans: Sequence[Span]) -> bool:
        """See `Exporter`."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        result: Any = self._exporter.export([self._readable(span) for span in spans])
        return bool(result is SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        """See `Exporter`."""
        self._exporter.shutdown()

    def _readable(self, span: Span) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode

        parent = None
        if span.parent_id:
            parent = _context(
                span.trace_id, span.parent_id, span.trace_state, is_remote=span.is_parent_remote
            )
        return ReadableSpan(
            span.name,
            context=_context(span.trace_id, span.span_id, span.trace_state),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.attributes),
            links=[Link(_context(trace_id, span_id)) for trace_id, span_id in span.links],
            kind=SpanKind.SERVER if span.is_server else SpanKind.INTERNAL,
            status=Status() if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.begin_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )


def _context(trace_id: int, span_id: int, state: str = "", *, is_remote: bool = False) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    trace_state = TraceState.from_header([state]) if state else None
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(_SAMPLED), trace_state)


def _exporter(settings: ExportSettings) -> Any:
    if settings.exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

    return Http()
