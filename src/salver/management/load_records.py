"""How the versions of each model are loaded now, and how those in memory were.

What was loaded in another way than it would be now is outdated, and loaded again.
"""

from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig, load_settings
from salver.inference.servable import Servable
from salver.vocabulary.servable import ServableId

__all__ = ["LoadModel", "LoadRecords"]

LoadModel = Callable[[LoadSettings, ServableId, str], Servable]
"""Loads a version: (how, id, directory). Called from load threads."""


class LoadRecords:
    """The settings of all models. Changed under the lock of configurations, read by any thread."""

    def __init__(self, load: LoadModel) -> None:
        """Know of no model yet.

        Args:
            load: loads one version.
        """
        self._load = load
        self._settings: dict[str, LoadSettings] = {}
        self._reloads: dict[str, int] = {}  # model → how often it was to be loaded again
        self._loaded_as: WeakKeyDictionary[Servable, tuple[str, LoadSettings, int]]
        self._loaded_as = WeakKeyDictionary()

    def set(self, models: Iterable[ModelConfig]) -> list[str]:
        """Load versions as a configuration says from now on.

        Models that it has no more keep their settings: versions of them may be on their way.

        Returns:
            The models known before whose versions are to be loaded in another way.
        """
        before = self._settings
        self._settings = now = before | {model.name: load_settings(model) for model in models}
        return [name for name, settings in before.items() if now[name] != settings]

    def outdate(self, name: str) -> None:
        """Have whatever is loaded of a model be outdated."""
        self._reloads[name] = self._reloads.get(name, 0) + 1

    def load(self, id: ServableId, path: str) -> Servable:
        """Load a version as its model is to be loaded now; in a load thread.

        Args:
            id: the version.
            path: its directory.

        Raises:
            ServingError: it cannot be loaded.
        """
        settings, number = self._settings[id.name], self._reloads.get(id.name, 0)
        servable = self._load(settings, id, path)
        self._loaded_as[servable] = id.name, settings, number
        return servable

    def is_current(self, servable: Servable) -> bool:
        """Whether a version was loaded as it would be now."""
        name, settings, number = self._loaded_as[servable]
        return self._settings[name] == settings and self._reloads.get(name, 0) == number

    def num_processes(self, id: ServableId) -> int:
        """How many processes of one worker hold a version."""
        settings = self._settings.get(id.name)
        return 1 if settings is None else settings.instances or 1
