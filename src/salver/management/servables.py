"""The models of a configuration as a source polls for them."""

from collections.abc import Iterable
from dataclasses import replace

from salver.about.config_file import policy_in
from salver.backends.selection import Selector
from salver.config.models import ModelConfig
from salver.sources.protocol import MonitoredServable
from salver.vocabulary.servable import Latest

__all__ = ["is_version", "monitored", "servables_of"]


def monitored(model: ModelConfig) -> MonitoredServable:
    """One model. Where its configuration names no versions, a file in its base path may."""
    servable = MonitoredServable(model.name, model.base_path, model.version_policy, is_version)
    is_said = model.names_versions or model.version_policy != Latest()
    return servable if is_said else replace(servable, policy_in=policy_in)


def is_version(directory: str) -> bool:
    """Whether a base path is one version itself, of files by which a model is known.

    A SavedModel is none, as in the reference: its directory may be any.
    """
    found = Selector().found(directory)
    return bool(found) and all(each.match is not None and each.match.files for each in found)


def servables_of(models: Iterable[ModelConfig]) -> dict[str, MonitoredServable]:
    """All by their names, in their order."""
    return {model.name: monitored(model) for model in models}
