"""The batching parameters that models have of their own: checked, and obeyed by what is loaded."""

import logging
import threading
from collections.abc import Iterable, Mapping
from weakref import WeakKeyDictionary

from salver.config.batching import BatchingParameters
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.errors import InvalidArgument
from salver.scheduling.batched import VersionBatching
from salver.scheduling.plan import BatchRules

__all__ = ["OwnBatching", "check_batching"]

_log = logging.getLogger(__name__)


def check_batching(models: Iterable[ModelConfig]) -> None:
    """Refuse models whose parameters contradict each other.

    Raises:
        InvalidArgument: one is such.
    """
    for model in models:
        if model.options.batching is None:
            continue
        try:
            BatchRules.of(model.options.batching)
        except InvalidArgument as error:
            text = f"salver.batching of model {model.name}: {error.message}"
            raise InvalidArgument(text) from None


class OwnBatching:
    """Has the versions of each model merge requests as the configuration says now. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._of: dict[str, BatchingParameters] = {}
        # Versions that are loaded, with what they go by where the model has none of its own.
        # A load that fails leaves none behind.
        self._versions: WeakKeyDictionary[VersionBatching, tuple[str, BatchingParameters]]
        self._versions = WeakKeyDictionary()

    def of(self, name: str) -> BatchingParameters | None:
        """Those of a model; None where it has none of its own."""
        with self._lock:
            return self._of.get(name)

    def add(self, name: str, batching: VersionBatching, usual: BatchingParameters) -> None:
        """Have a version that comes up follow, until `remove`.

        Args:
            name: of its model.
            batching: merges its requests.
            usual: what it goes by where the model has no parameters of its own.
        """
        with self._lock:
            self._versions[batching] = name, usual
            # They may have changed since the load began.
            batching.set_parameters(self._of.get(name, usual))

    def remove(self, batching: VersionBatching) -> None:
        """A version is unloaded."""
        with self._lock:
            self._versions.pop(batching, None)

    def set(self, options: Mapping[str, ModelOptions]) -> None:
        """Go by these from now on.

        Args:
            options: of all models, checked by `check_batching`.
        """
        new = {name: own.batching for name, own in options.items() if own.batching is not None}
        with self._lock:
            before, self._of = self._of, new
            for batching, (name, usual) in list(self._versions.items()):
                parameters = new.get(name, usual)
                if parameters != before.get(name, usual):
                    _log.info("Requests of model %s are merged in another way", name)
                    batching.set_parameters(parameters)
