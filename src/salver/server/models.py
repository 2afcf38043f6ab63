"""The models of a server, from its configuration: run threads, core."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from salver.config.options import schedulable_cpus
from salver.config.start_up import Configuration
from salver.lifecycle.loader import LoadOptions
from salver.server.core import CoreOptions, ServerCore
from salver.server.lazy import LazyModels, is_lazy
from salver.server.loading import Loader

__all__ = ["core_options", "make_core", "run_threads"]


def run_threads(configuration: Configuration) -> int:
    """How many threads the run pool may have: the larger number of the APIs that are served."""
    options = configuration.options
    for_rest = options.rest_api_num_threads if options.rest_api_port != 0 else 0
    for_grpc = options.grpc_max_threads if configuration.grpc is not None else 0
    return max(1, for_rest, for_grpc)


def make_core(
    configuration: Configuration,
    loader: Loader,
    *,
    after_change: Callable[[], None],
    update_logs: Callable[[Mapping[str, bytes]], None],
    on_status: Callable[[str], None] = lambda _name: None,
) -> ServerCore:
    """A core without models.

    Args:
        configuration: says how models are kept.
        loader: loads them.
        after_change: called after each load and unload, from the manager's thread.
        update_logs: see `ServerCore`.
        on_status: see there.
    """
    options = core_options(configuration)
    lazy = None
    if is_lazy(configuration.options):
        lazy = LazyModels(
            loader,
            configuration.options,
            transient_load_bytes=options.load.transient_load_bytes,
            after_change=after_change,
        )
        # What is only looked at takes no memory; `lazy` sees to what does.
        options = replace(options, load=replace(options.load, max_model_memory_bytes=0))
    return ServerCore(
        lazy or loader,
        loader.platforms,
        options,
        lazy=lazy,
        after_change=after_change,
        update_logs=update_logs,
        on_status=on_status,
    )


def core_options(configuration: Configuration, *, num_copies: int = 1) -> CoreOptions:
    """How the flags want models kept.

    Args:
        configuration: the flags.
        num_copies: how many processes load each of them.
    """
    options = configuration.options
    transient = [platform.transient_load_bytes for platform in configuration.platforms.values()]
    return CoreOptions(
        load=LoadOptions(
            num_load_threads=options.num_load_threads,
            num_initial_load_threads=4 * schedulable_cpus(),
            num_unload_threads=options.num_unload_threads,
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval_micros=options.load_retry_interval_micros,
            flush_filesystem_caches=options.flush_filesystem_caches,
            max_model_memory_bytes=options.max_model_memory_bytes,
            transient_load_bytes=max(transient, default=0),
            num_copies=num_copies,
            load_timeout_s=configuration.options.load_timeout_seconds,
        ),
        file_system_poll_wait_seconds=options.file_system_poll_wait_seconds,
        allow_version_labels_for_unavailable_models=(
            options.allow_version_labels_for_unavailable_models
        ),
        max_ended_versions=options.max_ended_versions,
    )
