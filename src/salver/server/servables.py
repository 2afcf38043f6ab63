"""The models of a configuration as a source polls for them."""

from collections.abc import Iterable

from salver.config import models as config
from salver.config.models import ModelConfig
from salver.errors import ServingError
from salver.files import unreachable
from salver.sources import versions
from salver.sources.file_system import MonitoredServable

__all__ = ["monitored", "servables_of", "unreachable_models"]


def monitored(model: ModelConfig) -> MonitoredServable:
    """One model."""
    policy: versions.Policy
    match model.version_policy:
        case config.Latest(num_versions):
            policy = versions.Latest(num_versions)
        case config.All():
            policy = versions.All()
        case config.Specific(numbers):  # pragma: no branch - the last one there is
            policy = versions.Specific(numbers)
    return MonitoredServable(model.name, model.base_path, policy)


def servables_of(models: Iterable[ModelConfig]) -> dict[str, MonitoredServable]:
    """All by their names, in their order."""
    return {model.name: monitored(model) for model in models}


def unreachable_models(models: Iterable[ModelConfig]) -> dict[str, ServingError]:
    """Those that lie where nobody here can look, by their names, and why."""
    return {m.name: error for m in models if (error := unreachable(m.base_path)) is not None}
