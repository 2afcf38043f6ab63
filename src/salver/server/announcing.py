"""What can be said of the models when the server starts to answer."""

from collections.abc import Iterable

from salver.config.models import ModelConfig
from salver.config.options import ServedModel
from salver.errors import NotFound, ServingError
from salver.lifecycle.monitor import VersionState
from salver.requests import ServableRequest
from salver.server.core import ServerCore

__all__ = ["served_models"]


def served_models(core: ServerCore, models: Iterable[ModelConfig]) -> tuple[ServedModel, ...]:
    """Each model with its available versions, or with what keeps it from having one."""
    return tuple(_served(core, model) for model in models)


def _served(core: ServerCore, model: ModelConfig) -> ServedModel:
    try:
        handle = core.acquire(ServableRequest(model.name))
    except ServingError:
        error = _error_of(core, model.name)
        return ServedModel(name=model.name, base_path=model.base_path, error=error)
    try:
        versions = tuple(
            status.id.version
            for status in core.statuses(model.name)
            if status.state is VersionState.AVAILABLE
        )
        signatures = handle.model.signatures
    finally:
        handle.release()
    return ServedModel(
        name=model.name, base_path=model.base_path, versions=versions, signatures=signatures
    )


def _error_of(core: ServerCore, name: str) -> str:
    error = core.last_error(name)
    if error is not None:
        return error.message
    try:
        core.statuses(name)
    except NotFound:
        return "no version found on disk"
    return "still loading"
