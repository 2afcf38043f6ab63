from typing import Any

import pytest
from google.protobuf import text_format

from salver._pb import POOL, message_class
from salver.config.request_log import LoggingConfig, parse_logging_config


def _bytes(text: str) -> bytes:
    message = message_class("tensorflow.serving.LoggingConfig")()
    parsed: Any = text_format.Parse(text, message, descriptor_pool=POOL)
    return bytes(parsed.SerializeToString())


SAMPLED = """
log_collector_config { type: "file" filename_prefix: "/logs/m" }
sampling_config {
  sampling_rate: 0.25
  per_task_sampling_configs { dc: "aa" task_index: 0 sampling_rate: 1.0 }
  per_task_sampling_configs { dc: "aa" sampling_rate: 0.0 }
  per_task_sampling_configs { task_index: 7 sampling_rate: 0.5 }
}
"""


def test_type_prefix_and_rate_are_read() -> None:
    found = parse_logging_config(_bytes(SAMPLED))
    assert (found.collector_type, found.filename_prefix) == ("file", "/logs/m")
    assert found.sampling_rate == 0.25


def test_what_is_not_there_is_empty() -> None:
    assert parse_logging_config(b"") == LoggingConfig("", "", 0.0, b"")


@pytest.mark.parametrize(
    ("dc", "task_index", "rate"),
    [("aa", 0, 1.0), ("aa", 7, 0.0), ("bb", 0, 0.25), ("bb", 7, 0.5), ("", 7, 0.5)],
)
def test_the_first_entry_for_this_task_says_the_rate(dc: str, task_index: int, rate: float) -> None:
    found = parse_logging_config(_bytes(SAMPLED), dc=dc, task_index=task_index)
    assert found.sampling_rate == rate
    sampling = message_class("tensorflow.serving.SamplingConfig").FromString(found.sampling_config)
    assert sampling.sampling_rate == rate
    assert len(sampling.per_task_sampling_configs) == 3
