import logging
from pathlib import Path

import pytest

from salver.config.monitoring import MonitoringConfig, read_monitoring_config
from salver.errors import InvalidArgument, NotFound


def paths_of(tmp_path: Path, text: str) -> tuple[str, ...]:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    return read_monitoring_config(str(file)).paths


def test_without_a_file_metrics_are_at_the_references_path_and_ours() -> None:
    assert read_monitoring_config("") == MonitoringConfig()
    assert MonitoringConfig().paths == ("/monitoring/prometheus/metrics", "/metrics")


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("prometheus_config { enable: true }", ("/monitoring/prometheus/metrics", "/metrics")),
        ('prometheus_config { enable: true path: "/x/y" }', ("/x/y", "/metrics")),
        ('prometheus_config { enable: true path: "/metrics" }', ("/metrics",)),
        ('prometheus_config { enable: false path: "/x" }', ()),
        ('prometheus_config { path: "/x" }', ()),
        ("# nothing", ()),
    ],
)
def test_a_file_decides(tmp_path: Path, text: str, paths: tuple[str, ...]) -> None:
    assert paths_of(tmp_path, text) == paths


def test_a_path_that_no_url_has_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        text = 'prometheus_config { enable: true path: "metrics" }'
        assert paths_of(tmp_path, text) == ("metrics", "/metrics")
    assert 'No URL has the path "metrics"' in caplog.text


def test_a_wrong_or_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="Invalid protobuf file: "):
        paths_of(tmp_path, "prometheus { }")
    with pytest.raises(NotFound, match="; No such file or directory"):
        read_monitoring_config(str(tmp_path / "none"))
