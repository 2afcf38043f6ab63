"""What is one worker's share of the machine, where no flag says it."""

from dataclasses import replace
from typing import Any

from salver.config.options import FLAGS, ServerOptions, schedulable_cpus
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
    changes: dict[str, Any] = {
        flag.name: flag.per_cpu * share
        for flag in FLAGS
        if flag.per_cpu and getattr(options, flag.name) == flag.default
    }
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
