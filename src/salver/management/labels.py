"""Which version labels a configuration may give, and which move once their version is there."""

from collections.abc import Callable, Collection, Iterable

from salver.config.models import ModelConfig
from salver.errors import Cancelled, FailedPrecondition, ServingError
from salver.inference.servable import Servable
from salver.lifecycle.handles import ServingMap
from salver.lifecycle.monitor import Monitor, VersionState, VersionStatus
from salver.management.servables import monitored
from salver.sources.protocol import MonitoredServable
from salver.vocabulary.servable import ServableId

__all__ = ["LabelRules"]


class LabelRules:
    """Assigns the labels of configurations, one after the other.

    Source: TensorFlow Serving `model_servers/server_core.cc`, UpdateModelVersionLabelMap.
    """

    def __init__(
        self,
        serving: ServingMap[Servable],
        monitor: Monitor,
        *,
        are_unavailable_allowed: bool,
        find: Callable[[MonitoredServable], Collection[int]],
        describe: Callable[[str], str | None],
    ) -> None:
        """Assign none yet.

        Args:
            serving: has the labels.
            monitor: knows the states.
            are_unavailable_allowed: `--allow_version_labels_for_unavailable_models`.
            find: the versions that a model asks for, as far as they can be known; may raise
                `ServingError`.
            describe: what there is of a model, for a person.
        """
        self._serving = serving
        self._monitor = monitor
        self._are_unavailable_allowed = are_unavailable_allowed
        self._find = find
        self._describe = describe

    def assign(self, models: Iterable[ModelConfig], *, is_first: bool) -> None:
        """Give all labels of a configuration, and take away all others.

        Args:
            models: the configuration.
            is_first: whether no configuration has reached the models before.

        Raises:
            FailedPrecondition: a label names a version that is not available; nothing changes.
        """
        self._serving.assign_labels(*self.plan(models, is_first=is_first))

    def plan(
        self, models: Iterable[ModelConfig], *, is_first: bool
    ) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
        """The labels that `assign` would give, and those that would move later; changes nothing.

        Raises:
            FailedPrecondition: see `assign`.
        """
        labels: dict[str, dict[str, int]] = {}
        moving: dict[str, dict[str, int]] = {}
        for model in models:
            present = self._serving.labels.get(model.name, {})
            for label, version in model.version_labels.items():
                now = present.get(label)
                if self._may_assign(model.name, now, version):
                    labels.setdefault(model.name, {})[label] = version
                elif not is_first and self._is_coming(model, label, version):
                    moving.setdefault(model.name, {})[label] = version
                    if now is not None:
                        labels.setdefault(model.name, {})[label] = now
                else:
                    raise FailedPrecondition(
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference",
                        hint=self._describe(model.name),
                    )
        return labels, moving

    def _may_assign(self, name: str, now: int | None, version: int) -> bool:
        if self._are_unavailable_allowed and now in (None, version):
            return True
        status = self._status(name, version)
        return status is not None and status.state is VersionState.AVAILABLE

    def _is_coming(self, model: ModelConfig, label: str, version: int) -> bool:
        """Whether this configuration itself brings the version that its label is to name.

        The reference refuses such a configuration before it touches the models, so the version
        never comes and the label never moves. Here the label moves when the version is available.
        A configuration at start-up is still refused, as users know it.
        """
        status = self._status(model.name, version)
        # One that was given up on its way is not tried less when it is wanted again.
        error = None if status is None else status.error
        if error is not None and not isinstance(error, Cancelled):
            return False
        if self._serving.moving_labels.get(model.name, {}).get(label) == version:
            return True
        if status is not None and status.state is not VersionState.END:
            return False
        try:
            return version in self._find(monitored(model))
        except ServingError:
            return False

    def _status(self, name: str, version: int) -> VersionStatus | None:
        return self._monitor.status(ServableId(name, version)) if version >= 0 else None
