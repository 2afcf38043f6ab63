"""What is one worker's share of the machine, where no flag says it."""

from dataclasses import replace
from typing import Any

from salver.config.options import ServerOptions, schedulable_cpus
from salver.transport.in_flight import default_bytes_in_flight

__all__ = ["share_of_worker"]


def share_of_worker(
    options: ServerOptions, num_workers: int, *, cpus: int | None = None
) -> ServerOptions:
    """The same flags, with threads for one of several processes where they have their defaults.

    Args:
        options: as they were given.
        num_workers: how many processes share the CPUs.
        cpus: how many there are; those this process may run on when None.
    """
    cpus = schedulable_cpus() if cpus is None else cpus
    share = max(1, cpus // num_workers)
    defaults = ServerOptions()
    changes: dict[str, Any] = {}
    for name, per_cpu in (
        ("rest_api_num_threads", 4),
        ("grpc_max_threads", 4),
        ("num_tflite_pools", 1),
    ):
        if getattr(options, name) == getattr(defaults, name):
            changes[name] = per_cpu * share
    if _leaves_it_to_tensorflow(options):
        changes["tensorflow_intra_op_parallelism"] = share
        changes["tensorflow_inter_op_parallelism"] = share
    in_flight_bytes = options.max_memory_in_flight_bytes or default_bytes_in_flight()
    changes["max_memory_in_flight_bytes"] = max(1, in_flight_bytes // num_workers)
    return replace(options, **changes)


def _leaves_it_to_tensorflow(options: ServerOptions) -> bool:
    return not (
        options.tensorflow_session_parallelism
        or options.tensorflow_intra_op_parallelism
        or options.tensorflow_inter_op_parallelism
        or options.tensorflow_session_config_file
        or options.platform_config_file
    )
