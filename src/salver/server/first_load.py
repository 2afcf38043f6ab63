"""The first configuration of a server: made the present one, and waited for."""

from contextlib import suppress

from salver.config.options import ServeMode
from salver.config.start_up import Configuration
from salver.management.core import ServerCore
from salver.management.waits import Superseded
from salver.server.announcing import ANNOUNCE_AFTER_S

__all__ = ["apply_first", "settle"]


def apply_first(core: ServerCore, configuration: Configuration, mode: ServeMode) -> None:
    """Apply it, and wait for its models if each of them has to come up; see `ServerCore.apply`.

    Where failures are tolerated there is nothing to wait for, and a model that never comes must
    not keep the next configuration waiting.
    """
    with suppress(Superseded):  # by a reload, where the ports are open first
        core.apply(configuration.models, is_awaited=not mode.tolerate_failed_models)


def settle(core: ServerCore, *, is_polled: bool) -> None:
    """Wait until each model is up, or has failed once, or takes its time.

    Args:
        core: has the models.
        is_polled: whether another configuration may come from a file.

    Raises:
        ServingError: nothing is left to serve, and no other configuration can come.
    """
    core.wait_until_settled(core.model_names(), ANNOUNCE_AFTER_S)
    core.end_initial_load()
    if not is_polled and (error := core.hopeless(ANNOUNCE_AFTER_S)) is not None:
        raise error
