import pytest

from salver.errors import InvalidArgument
from salver.tracing.environment import ExportSettings, export_settings
from salver.tracing.sampling import Sampling

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True"},
    ],
)
def test_nothing_is_exported_that_nobody_has_asked_for(environment: dict[str, str]) -> None:
    assert export_settings(environment) is None


@pytest.mark.parametrize(
    "environment",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_SDK_DISABLED": "false",
            "OTEL_BSP_MAX_QUEUE_SIZE": "",
        },
    ],
)
def test_an_exporter_or_an_endpoint_asks_for_it(environment: dict[str, str]) -> None:
    assert export_settings(environment) == ExportSettings()


def test_all_variables_are_honoured() -> None:
    environment = {
        **ENDPOINT,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        "OTEL_TRACES_SAMPLER": "PARENTBASED_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.5",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_BSP_MAX_QUEUE_SIZE": "1000",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50",
        "OTEL_PROPAGATORS": "b3, baggage",
    }
    assert export_settings(environment) == ExportSettings(
        "otlp",
        "grpc",
        Sampling(0.5),
        delay_s=0.1,
        most_queued=1000,
        most_at_once=50,
        has_parents=False,
        unknown=("b3",),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}={value}"):
        export_settings({**ENDPOINT, name: value})
