"""What a model's `logging_config` asks for, as this task of a job has to read it.

Source: TensorFlow Serving, `config/logging_config.proto` and `core/request_logger.cc`.
"""

from dataclasses import dataclass
from typing import Any

from salver._pb import message_class

__all__ = ["LoggingConfig", "parse_logging_config"]


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """Which calls of a model are logged, and where to.

    Attributes:
        collector_type: what writes them.
        filename_prefix: the names of its files start with this.
        sampling_rate: share of the calls; none at 0 and below, all at 1 and above, as there.
        sampling_config: a serialized `tensorflow.serving.SamplingConfig` that says this rate.
    """

    collector_type: str
    filename_prefix: str
    sampling_rate: float
    sampling_config: bytes


def parse_logging_config(data: bytes, *, dc: str = "", task_index: int = 0) -> LoggingConfig:
    """Read a serialized `tensorflow.serving.LoggingConfig`.

    Args:
        data: the message.
        dc: data centre of this task; of the entries of `per_task_sampling_configs` the first that
            is for it, or for any, and for this index, or for any, says the rate.
        task_index: number of this task.
    """
    message = message_class("tensorflow.serving.LoggingConfig").FromString(data)
    sampling = message.sampling_config
    for entry in sampling.per_task_sampling_configs:
        if _is_for(entry, dc, task_index):
            sampling.sampling_rate = entry.sampling_rate
            break
    return LoggingConfig(
        collector_type=message.log_collector_config.type,
        filename_prefix=message.log_collector_config.filename_prefix,
        sampling_rate=sampling.sampling_rate,
        sampling_config=sampling.SerializeToString(deterministic=True),
    )


def _is_for(entry: Any, dc: str, task_index: int) -> bool:
    return entry.dc in ("", dc) and (
        not entry.HasField("task_index") or entry.task_index == task_index
    )
