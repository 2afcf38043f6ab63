"""What takes notes of requests, as the flags and OpenTelemetry's variables say."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from time import perf_counter
from typing import Final

from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.instruments.installing import install_command
from salver.management.lazy import is_lazy
from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Family
from salver.tracing.environment import ExportSettings, export_settings
from salver.tracing.exporting import Exporter, Exporting
from salver.tracing.sampling import NEVER
from salver.tracing.spans import Work
from salver.tracing.tracer import Tracer

__all__ = ["Tracing", "make_exporting", "make_tracing"]

_log = logging.getLogger(__name__)

_MODEL: Final = "salver.model.name"
_VERSION: Final = "salver.model.version"
_NOT_INSTALLED: Final = "Nothing is traced, though OTEL_… variables ask for it: %s"


@dataclass(frozen=True, slots=True)
class Tracing:
    """Of one process.

    Attributes:
        tracer: takes the notes; None where no flag and no variable asks for any.
        exporting: sends them; None where they are not sent.
    """

    tracer: Tracer | None = None
    exporting: Exporting | None = None

    def families(self) -> Iterable[Family]:
        """What is counted of it."""
        if self.exporting is not None:
            dropped = self.exporting.dropped_spans
            yield Family(BY_NAME["salver_dropped_spans_total"], [((), dropped)])

    def loaded(self, model: str, version: int, seconds: float, is_success: bool) -> None:
        """A try to load a version is over; see `LoadMetrics.on_load`."""
        attributes: dict[str, str | int] = {_MODEL: model, _VERSION: version}
        self._worked("load", seconds, attributes, is_success=is_success)

    def fetched(self, model: str, count: int, seconds: float, is_success: bool) -> None:
        """A fetch has ended; see `FetchMetrics.on_fetch`."""
        attributes: dict[str, str | int] = {_MODEL: model, "salver.fetched_bytes": count}
        self._worked("fetch", seconds, attributes, is_success=is_success)

    def _worked(
        self, name: str, seconds: float, attributes: Mapping[str, str | int], *, is_success: bool
    ) -> None:
        if self.exporting is not None:
            now_s = perf_counter()
            work = Work(name, now_s - seconds, now_s, not is_success, attributes)
            self.exporting.put_work(work)

    def close(self, timeout_s: float) -> None:
        """Send what waits, and nothing more."""
        if self.exporting is not None:
            self.exporting.close(timeout_s)


def make_tracing(
    options: ServerOptions, environment: Mapping[str, str] = os.environ, *, who: str = ""
) -> Tracing:
    """What the flags and the variables ask for.

    Args:
        options: the flags.
        environment: of the process.
        who: this process among those of the server.

    Raises:
        InvalidArgument: they make no sense.
    """
    if options.slow_request_ms < 0:
        raise InvalidArgument("--slow_request_ms must not be negative")
    slow_s = options.slow_request_ms / 1000 or inf
    settings = export_settings(environment)
    exporting = None if settings is None else make_exporting(settings, who=who)
    if settings is None or exporting is None:
        lone = Tracer(slow_s=slow_s, has_lazy_models=is_lazy(options))
        return Tracing(None if slow_s == inf else lone)
    sampling = settings.sampling
    tracer = Tracer(
        slow_s=slow_s,
        sampling=sampling,
        sink=exporting,
        has_parents=settings.has_parents,
        has_lazy_models=is_lazy(options),
    )
    return Tracing(tracer, exporting)


def make_exporting(settings: ExportSettings, *, who: str = "") -> Exporting | None:
    """What sends spans; None where it is not installed, of which the log hears.

    Args:
        settings: see there.
        who: see `make_tracing`.
    """
    from salver.tracing.opentelemetry import SdkExporter, is_installed

    if settings.sampling is NEVER or settings.sampling.is_off:
        return None
    if not is_installed(settings):
        _log.warning(_NOT_INSTALLED, install_command("otel"))
        return None
    if settings.unknown:
        _log.warning("OTEL_PROPAGATORS: %s is not there", ", ".join(settings.unknown))
    attributes = {"salver.process": who} if who else {}

    def make() -> Exporter:
        return SdkExporter(settings, attributes)

    return Exporting(make, settings)
