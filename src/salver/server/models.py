"""The models of a server, from its configuration: backends, run pool, core."""

from collections.abc import Callable

from salver.backends.registry import PLATFORMS, BackendOptions, open_backend
from salver.batching.runner import MeasuredProgram, RunPool
from salver.config.options import ServerOptions, schedulable_cpus
from salver.config.start_up import Configuration
from salver.inference.servable import Servable
from salver.lifecycle.loader import LoadOptions
from salver.servable import ServableId
from salver.server.core import CoreOptions, ServerCore

__all__ = ["make_core", "run_threads"]


def run_threads(configuration: Configuration) -> int:
    """How many threads the run pool may have: the larger number of the APIs that are served."""
    options = configuration.options
    for_rest = options.rest_api_num_threads if options.rest_api_port != 0 else 0
    for_grpc = options.grpc_max_threads if configuration.grpc is not None else 0
    return max(1, for_rest, for_grpc)


def make_core(
    configuration: Configuration,
    pool: RunPool,
    *,
    after_change: Callable[[], None],
    describe: Callable[[bytes], object],
) -> ServerCore:
    """A core without models, whose models will run in `pool`.

    Args:
        configuration: says how models are loaded.
        pool: for the runs that are too long for the loop.
        after_change: called after each load and unload, from the manager's thread.
        describe: called with the signatures of each model, in the thread that loads it.
    """
    session = configuration.session
    backend_options = BackendOptions(
        saved_model_tags=session.saved_model_tags,
        session_config=session.config_proto,
        custom_op_libraries=session.custom_op_libraries,
    )
    backends = {platform: open_backend(platform, backend_options) for platform in PLATFORMS}

    def load(platform: str, _id: ServableId, directory: str) -> Servable:
        model = backends[platform].load(directory)
        describe(model.signature_def_map)
        return Servable(model, lambda program, _names: MeasuredProgram(program, pool))

    return ServerCore(
        load, PLATFORMS.keys(), _core_options(configuration.options), after_change=after_change
    )


def _core_options(options: ServerOptions) -> CoreOptions:
    return CoreOptions(
        load=LoadOptions(
            num_load_threads=options.num_load_threads,
            num_initial_load_threads=4 * schedulable_cpus(),
            num_unload_threads=options.num_unload_threads,
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval_micros=options.load_retry_interval_micros,
        ),
        file_system_poll_wait_seconds=options.file_system_poll_wait_seconds,
        allow_version_labels_for_unavailable_models=(
            options.allow_version_labels_for_unavailable_models
        ),
    )
