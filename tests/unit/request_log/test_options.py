import math

from salver.config.options import ServerOptions
from salver.request_log.options import RequestLogOptions, options_of
from salver.request_log.rotation import FileLimits
from salver.request_log.writer import QueueLimits


def test_the_defaults_of_the_flags_are_those_of_the_logs() -> None:
    assert options_of(ServerOptions(), ("serve",)) == RequestLogOptions(saved_model_tags=("serve",))


def test_flags_set_the_limits_and_zero_is_none() -> None:
    flags = ServerOptions(
        request_log_max_file_bytes=1,
        request_log_max_file_seconds=2,
        request_log_max_total_bytes=3,
        request_log_max_queued_records=4,
        request_log_max_queued_bytes=5,
        request_log_dc="aa",
        request_log_task_index=6,
    )
    found = options_of(flags, ())
    assert found.files == FileLimits(1, 2, 3)
    assert found.queue == QueueLimits(4, 5)
    assert (found.dc, found.task_index) == ("aa", 6)
    none = ServerOptions(
        request_log_max_file_bytes=0,
        request_log_max_file_seconds=-1,
        request_log_max_total_bytes=-1,
    )
    assert options_of(none, ()).files == FileLimits(math.inf, math.inf, 0)
