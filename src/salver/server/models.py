"""The models of a server, from its configuration: run threads, core."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from salver.config.options import ServerOptions, schedulable_cpus
from salver.config.start_up import Configuration
from salver.instruments.cache import Cache
from salver.instruments.cache_size import CacheSize
from salver.lifecycle.loader import LoadOptions
from salver.management.applied import Applied
from salver.management.base_paths import BasePaths, are_all_paths_allowed
from salver.management.core import CoreOptions, ServerCore
from salver.management.lazy import LazyModels, is_lazy
from salver.management.loading import Loader
from salver.metrics.fetches import FetchMetrics
from salver.request_log.loggers import check_logs
from salver.sources.by_scheme import Sources
from salver.sources.fetching import is_kept
from salver.sources.file_system import FileSystem
from salver.sources.settings import SourceSettings
from salver.sources.table import make_source
from salver.sources.verification import Verification

__all__ = ["core_options", "make_core", "make_sources", "run_threads"]


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
    fetches: FetchMetrics,
    on_status: Callable[[str], None] = lambda _name: None,
    on_applied: Callable[[Applied], None] = lambda _applied: None,
) -> ServerCore:
    """A core without models.

    Args:
        configuration: says how models are kept.
        loader: loads them.
        after_change: called after each load and unload, from the manager's thread.
        update_logs: see `ServerCore`.
        fetches: count what is fetched.
        on_status: see `ServerCore`.
        on_applied: see there.
    """
    options = core_options(configuration)
    sources = make_sources(configuration.options, fetches)
    lazy = None
    if is_lazy(configuration.options):
        lazy = LazyModels(
            loader,
            configuration.options,
            transient_load_bytes=options.load.transient_load_bytes,
            check=lambda directory: sources.check(directory, loader.check),
            fetcher=sources,
            look=sources.look,
            after_change=after_change,
        )
        # What is only looked at takes no memory; `lazy` sees to what does.
        options = replace(options, load=replace(options.load, max_model_memory_bytes=0))
    core = ServerCore(
        lazy or loader,
        loader.platforms,
        options,
        sources,
        lazy=lazy,
        after_change=after_change,
        update_logs=update_logs,
        check_logs=check_logs,
        on_status=on_status,
        on_applied=on_applied,
        on_configured=lambda: loader.limit(core.configured),
    )
    return core


def make_sources(options: ServerOptions, fetches: FetchMetrics) -> Sources:
    """What finds and fetches the models that the flags may name."""

    def cache() -> Cache:
        return Cache(options.conversion_cache, max_bytes=options.conversion_cache_max_bytes)

    fetches.cache_bytes = CacheSize(lambda: cache().directory)
    settings = SourceSettings(
        poll_wait_s=options.remote_poll_wait_seconds,
        settle_s=options.remote_settle_seconds,
        stale_wait_s=options.remote_stale_wait_seconds,
        timeout_s=options.remote_timeout_seconds,
        bytes_per_second=options.fetch_bandwidth_bytes_per_second,
        config_file=options.remote_config_file,
        allowed_base_paths=tuple(options.allowed_base_paths.split(",")),
        is_behind=True,
        count=fetches.requested,
        is_kept=lambda number, version: is_kept(number, version, cache()),
    )
    return Sources(
        FileSystem(options.file_system_poll_wait_seconds),
        cache,
        verification=Verification.of(
            is_required=options.require_manifest,
            public_key_file=options.manifest_public_key_file,
        ),
        make=lambda scheme: make_source(scheme, settings),
        on_fetched=fetches.fetched,
        stale_wait_s=settings.stale_wait_s,
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
        allow_version_labels_for_unavailable_models=(
            options.allow_version_labels_for_unavailable_models
        ),
        max_ended_versions=options.max_ended_versions,
        base_paths=BasePaths.of(options),
        may_name_log_files=not options.auth_config_file and are_all_paths_allowed(options),
    )
