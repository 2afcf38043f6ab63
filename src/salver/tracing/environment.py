"""How tracing is set up: by the variables that OpenTelemetry's specification has for it.

It is on where `OTEL_TRACES_EXPORTER` or an endpoint is set, and off without: a server sends nothing
that nobody has asked for. What the exporters read by themselves (endpoint, headers, certificates,
compression, timeout) is not read here.

Source: OpenTelemetry, "Environment Variable Specification".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from salver.errors import InvalidArgument
from salver.tracing.sampling import ALWAYS, Sampling, sampling_of

__all__ = ["ExportSettings", "export_settings"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS: Final = ("grpc", "http/protobuf")
_PROPAGATORS: Final = frozenset({"tracecontext", "baggage", "none"})


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is exported, and how.

    Attributes:
        exporter: `otlp` or `console`.
        protocol: of OTLP: `grpc` or `http/protobuf`.
        sampling: see there.
        delay_s: the most between two exports.
        most_queued: spans that may wait for one; further ones are dropped.
        most_at_once: spans in one export.
        has_parents: whether `traceparent` is read.
        unknown: propagators that are asked for and not there.
    """

    exporter: str = "otlp"
    protocol: str = "http/protobuf"
    sampling: Sampling = ALWAYS
    delay_s: float = 5.0
    most_queued: int = 2048
    most_at_once: int = 512
    has_parents: bool = True
    unknown: tuple[str, ...] = ()


def export_settings(environment: Mapping[str, str]) -> ExportSettings | None:
    """What the variables say; None where nothing is to be exported. Empty is as good as not set.

    Raises:
        InvalidArgument: they make no sense.
    """

    def read(name: str, default: str = "") -> str:
        return environment.get(name, "").strip() or default

    if read("OTEL_SDK_DISABLED").lower() == "true":
        return None
    exporter = read("OTEL_TRACES_EXPORTER")
    if exporter == "none" or not (exporter or any(map(read, _ENDPOINTS))):
        return None
    if exporter not in ("", "otlp", "console"):
        raise InvalidArgument(
            f"OTEL_TRACES_EXPORTER={exporter} is not known",
            hint="otlp, console or none",
        )
    default = read("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    protocol = read("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", default)
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not known",
            hint=f"{' or '.join(_PROTOCOLS)}",
        )
    propagators = {each.strip() for each in read("OTEL_PROPAGATORS", "tracecontext").split(",")}
    sampling = sampling_of(read("OTEL_TRACES_SAMPLER").lower(), read("OTEL_TRACES_SAMPLER_ARG"))
    most_at_once = _number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)
    return ExportSettings(
        exporter or "otlp",
        protocol,
        sampling,
        delay_s=_number(environment, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
        most_queued=max(most_at_once, _number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)),
        most_at_once=most_at_once,
        has_parents="tracecontext" in propagators,
        unknown=tuple(sorted(propagators - _PROPAGATORS)),
    )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise InvalidArgument(f"{name}={text} is no number from 1 up")
    return number
