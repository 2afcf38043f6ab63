"""How many runs of each model are made at a time, and how many may wait.

The configuration says so, the flags, or a file beside a version: of a model whose options say
nothing.
"""

import threading
from collections.abc import Mapping

from salver.children.model import Children
from salver.config.model_options import ModelOptions
from salver.config.options import ServerOptions
from salver.management.placing import limits_of
from salver.management.platforms import PlatformTable
from salver.scheduling.run_pool import RunLimits, RunPool

__all__ = ["Limits"]


class Limits:
    """Has all that runs models keep to them. Safe to use from any thread."""

    def __init__(
        self,
        options: ServerOptions,
        pool: RunPool,
        platforms: PlatformTable,
        children: Children | None,
    ) -> None:
        """Know of no model yet.

        Args:
            options: the flags.
            pool: makes the runs that are not merged.
            platforms: make those that are.
            children: make those that are not made here; None where there are none.
        """
        self._options = options
        self._pool = pool
        self._platforms = platforms
        self._children = children
        self._lock = threading.Lock()  # guards what follows
        self._model_options: Mapping[str, ModelOptions] = {}
        self._instances: dict[str, int] = {}  # of models that say it in a file beside them

    def set(self, options: Mapping[str, ModelOptions]) -> None:
        """Keep to what a configuration says.

        Args:
            options: of all its models.
        """
        with self._lock:
            self._model_options = options
        self._limit()

    def set_instances(self, name: str, count: int) -> None:
        """Have a model run so often at a time, as a file beside it says; 0 where none does."""
        with self._lock:
            if self._instances.get(name, 0) == count:
                return
            self._instances[name] = count
        self._limit()

    def _limit(self) -> None:
        with self._lock:
            options, instances = self._model_options, dict(self._instances)
        if self._options.max_concurrent_runs_per_model:
            instances = {}
        running = {
            name: (instances.get(name) if own.max_concurrent_runs is None else 0)
            or own.max_concurrent_runs
            or None
            for name, own in options.items()
        }
        self._pool.limit(
            {
                name: RunLimits(running[name], own.max_queued_runs)
                for name, own in options.items()
                if running[name] is not None or own.max_queued_runs is not None
            }
        )
        if self._children is not None:
            self._children.limit({name: limits_of(own) for name, own in options.items()})
        self._platforms.limit({n: most for n, most in running.items() if most is not None})
