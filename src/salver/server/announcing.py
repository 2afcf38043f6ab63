"""What can be said of the models when the server starts to answer."""

from collections.abc import Iterable
from typing import Final

from salver.config.models import ModelConfig
from salver.config.options import Announcement, ServedModel
from salver.config.start_up import Configuration
from salver.errors import NotFound, ServingError
from salver.lifecycle.monitor import VersionState
from salver.lifecycle.seats import NotLoaded
from salver.requests import ServableRequest
from salver.server.core import ServerCore
from salver.server.ports import crossing_of

__all__ = ["ANNOUNCE_AFTER_S", "announcement", "served_models"]

ANNOUNCE_AFTER_S: Final = 5.0  # what still loads by then is announced as loading


def announcement(
    core: ServerCore, configuration: Configuration, *, rest_url: str, grpc_addresses: Iterable[str]
) -> Announcement:
    """What is to be announced of a server that answers there."""
    has_page = configuration.options.enable_playground and rest_url
    grpc_address = next(iter(grpc_addresses), "")
    if not grpc_address and crossing_of(configuration).grpc_on_rest:
        grpc_address = rest_url.partition("://")[2]
    return Announcement(
        rest_url=rest_url,
        grpc_address=grpc_address,
        playground_url=f"{rest_url}/" if has_page else "",
        models=served_models(core, configuration.models or ()),
    )


def served_models(core: ServerCore, models: Iterable[ModelConfig]) -> tuple[ServedModel, ...]:
    """Each model with its available versions, or with what keeps it from having one."""
    return tuple(_served(core, model) for model in models)


def _served(core: ServerCore, model: ModelConfig) -> ServedModel:
    try:
        handle = core.acquire(ServableRequest(model.name))
    except NotLoaded:
        return ServedModel(
            name=model.name, base_path=model.base_path, versions=_available(core, model.name)
        )
    except ServingError:
        error = _error_of(core, model.name)
        return ServedModel(name=model.name, base_path=model.base_path, error=error)
    try:
        versions = _available(core, model.name)
        signatures = handle.model.signatures
    finally:
        handle.release()
    return ServedModel(
        name=model.name, base_path=model.base_path, versions=versions, signatures=signatures
    )


def _available(core: ServerCore, name: str) -> tuple[int, ...]:
    return tuple(s.id.version for s in core.statuses(name) if s.state is VersionState.AVAILABLE)


def _error_of(core: ServerCore, name: str) -> str:
    error = core.last_error(name)
    if error is not None:
        return error.message
    try:
        core.statuses(name)
    except NotFound:
        return "no version found on disk"
    return "still loading"
