"""What all request logs of a server have in common, from its flags."""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from salver.config.options import ServerOptions
from salver.request_log.rotation import FileLimits, open_new
from salver.request_log.writer import QueueLimits

__all__ = ["RequestLogOptions", "options_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLogOptions:
    """What all loggers of a server have in common.

    Attributes:
        files: when files are complete.
        queue: what may wait, in each log.
        dc: data center of this task.
        task_index: its number.
        saved_model_tags: by which the models were loaded.
        now: seconds since 1970.
        clock: seconds, monotonic.
        uniform: a number from 0 to 1, 1 excluded, each time another.
        opener: see `rotation.open_new`.
    """

    files: FileLimits = field(default_factory=FileLimits)
    queue: QueueLimits = field(default_factory=QueueLimits)
    dc: str = ""
    task_index: int = 0
    saved_model_tags: Sequence[str] = ()
    now: Callable[[], float] = time.time  # noqa: TID251 - the clock that is injected
    clock: Callable[[], float] = time.monotonic
    uniform: Callable[[], float] = random.random
    opener: Callable[[str], int] = open_new


def options_of(flags: ServerOptions, saved_model_tags: Sequence[str]) -> RequestLogOptions:
    """What the flags `--request_log_…` say.

    Args:
        flags: of the server.
        saved_model_tags: by which its models are loaded.
    """
    return RequestLogOptions(
        files=FileLimits(
            max_file_bytes=_limit(flags.request_log_max_file_bytes),
            max_file_s=_limit(flags.request_log_max_file_seconds),
            max_total_bytes=max(0, flags.request_log_max_total_bytes),
        ),
        queue=QueueLimits(
            max_records=flags.request_log_max_queued_records,
            max_bytes=flags.request_log_max_queued_bytes,
        ),
        dc=flags.request_log_dc,
        task_index=flags.request_log_task_index,
        saved_model_tags=tuple(saved_model_tags),
    )


def _limit(value: int) -> float:
    return value if value > 0 else math.inf
