"""Where versions run, and how their requests are merged: alone, in batches, in children.

What a version is to be batched by is found before its model loads; the rest when it has.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from salver.about.config_file import ConfigFile
from salver.backends.protocol import Backend
from salver.children.model import ChildModel
from salver.config.batching import BatchingParameters
from salver.inference.servable import Runner
from salver.management.beside import Rules, limited, merging_of, rules_of
from salver.management.merging import OwnBatching
from salver.management.obeying import is_serial
from salver.management.placing import giving_up, lone_by_children, started_by_children
from salver.management.platforms import Platform
from salver.metrics.batches import BatchMetrics
from salver.scheduling.batched import StartsLone, VersionBatching
from salver.scheduling.run_pool import RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.scheduling.scheduler import BatchScheduler
from salver.vocabulary.model import Merging, Model, Program
from salver.vocabulary.servable import ServableId

__all__ = ["Made", "Plan", "Runners"]

_log = logging.getLogger(__name__)

_MOST_BATCH_THREADS: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How a version is to be batched, as far as that is known before its model.

    Attributes:
        platform: of the version.
        parameters: by which it is batched.
        usual: by which it would be, if its model said nothing. Both are None where it is not.
    """

    platform: Platform
    parameters: BatchingParameters | None
    usual: BatchingParameters | None


@dataclass(slots=True)
class Made:
    """Where a version runs.

    Attributes:
        runner: starts its runs.
        close: ends that; None where nothing is to end.
        merging: tells how its requests are merged now.
    """

    runner: Runner
    close: Callable[[], None] | None
    merging: Callable[[], Merging | None]


class Runners:
    """Makes the runners of versions, in the load threads."""

    def __init__(
        self,
        pool: RunPool,
        batches: BatchMetrics,
        own_batching: OwnBatching,
        *,
        may_run_inline: bool,
    ) -> None:
        """Make none yet.

        Args:
            pool: for the runs that are too long for the loop.
            batches: counts what is merged.
            own_batching: the parameters that models have of their own.
            may_run_inline: whether runs that are known to be short may be made in the loop.
        """
        self._pool = pool
        self._batches = batches
        self._own_batching = own_batching
        self._may_run_inline = may_run_inline

    def plan(self, platform: Platform, name: str, directory: str) -> Plan:
        """How a version is to be batched.

        Args:
            platform: see `Plan`.
            name: of its model.
            directory: of the version, which may say it.

        Raises:
            ServingError: what is there cannot be read.
        """
        usual, own = platform.parameters(directory), self._own_batching.of(name)
        if own is None:
            return Plan(platform, usual, usual)
        if platform.scheduler is None:
            _log.warning("salver.batching of model %s does nothing without --enable_batching", name)
            return Plan(platform, usual, usual)
        return Plan(platform, own, usual or own)

    def of(
        self, plan: Plan, model: Model, id: ServableId, backend: Backend, config: ConfigFile | None
    ) -> Made:
        """The runner of a version whose model is in this process.

        Args:
            plan: made before the model was loaded.
            model: which it has loaded.
            id: the version.
            backend: of the model.
            config: what is said beside it.
        """
        rules = _rules(plan, model, id, backend, config)
        runner, close = self._runner(plan, rules, id, backend)
        return self._made(runner, close, plan, rules, model, id, config)

    def of_children(
        self,
        plan: Plan,
        model: ChildModel,
        id: ServableId,
        backend: Backend,
        config: ConfigFile | None,
    ) -> Made:
        """The runner of a version whose model is in children; as `of`."""
        rules = _rules(plan, model, id, backend, config)
        runner, close = self._child_runner(plan, rules, model, id, backend)
        return self._made(runner, close, plan, rules, model, id, config)

    def _made(
        self,
        runner: Runner,
        close: Callable[[], None] | None,
        plan: Plan,
        rules: Rules | None,
        model: Model,
        id: ServableId,
        config: ConfigFile | None,
    ) -> Made:
        runner = runner if model.batching is not None else limited(runner, config, id.name)
        return Made(runner, close, self._merging(plan, rules, config, id.name))

    def _merging(
        self, plan: Plan, rules: Rules | None, config: ConfigFile | None, name: str
    ) -> Callable[[], Merging | None]:
        usual = plan.usual
        if not isinstance(rules, BatchingParameters) or usual is None:
            fixed = merging_of(rules, config)
            return lambda: fixed
        return lambda: merging_of(self._own_batching.of(name) or usual, config)

    def _runner(
        self, plan: Plan, rules: Rules | None, id: ServableId, backend: Backend
    ) -> tuple[Runner, Callable[[], None] | None]:
        """Where a version runs, and what ends that; None where nothing is to end."""
        is_alone = is_serial(backend.capabilities)
        lane = self._pool.lane(id.name)
        observer = self._batches.of(id.name, id.version)
        scheduler, num_threads = None, 1
        if isinstance(rules, BatchingParameters):
            _log.info("Wrapping session to perform batch processing")
            scheduler = plan.platform.scheduler if not is_alone else None
        elif rules is not None:
            num_threads = 1 if is_alone else rules.num_batch_threads
        else:
            return (
                lambda program, _names: MeasuredProgram(
                    program, lane, may_run_inline=self._may_run_inline
                )
            ), None

        if scheduler is not None:
            batching = VersionBatching(
                *(rules, scheduler, lane, observer),
                owner=id.name,
                may_run_inline=self._may_run_inline,
            )
            return batching.runner, self._follow(id.name, batching, rules, plan.usual)
        return self._batched_alone(rules, num_threads, id, backend, plan.usual)

    def _follow(
        self, name: str, batching: VersionBatching, rules: Rules, usual: BatchingParameters | None
    ) -> Callable[[], None]:
        """Have a version go by the parameters of its model as they change; what ends it."""
        if not isinstance(rules, BatchingParameters) or usual is None:
            return batching.close

        def close() -> None:
            self._own_batching.remove(batching)
            batching.close()

        self._own_batching.add(name, batching, usual)
        return close

    def _batched_alone(
        self,
        rules: Rules,
        num_threads: int,
        id: ServableId,
        backend: Backend,
        usual: BatchingParameters | None,
        lone: Callable[[Program], StartsLone] | None = None,
    ) -> tuple[Runner, Callable[[], None]]:
        """Batches in threads of its own: those that all share would wait for the runs of this."""
        own = BatchScheduler(num_threads, thread_pool_name=f"{backend.name}_batch_threads")
        batching = VersionBatching(
            *(rules, own, self._pool.lane(id.name)),
            self._batches.of(id.name, id.version),
            owner=id.name,
            may_run_inline=self._may_run_inline,
            lone=lone,
        )
        end = self._follow(id.name, batching, rules, usual)

        def close() -> None:
            end()
            own.close()

        return batching.runner, close

    def _child_runner(
        self,
        plan: Plan,
        rules: Rules | None,
        model: ChildModel,
        id: ServableId,
        backend: Backend,
    ) -> tuple[Runner, Callable[[], None] | None]:
        """Where a version in children runs, and what ends that; as `_runner`."""
        if isinstance(rules, BatchingParameters):
            _log.info("Wrapping session to perform batch processing")
        if rules is None:
            return started_by_children, None
        # A thread waits for each run.
        num_threads = min(model.instances.most_together, _MOST_BATCH_THREADS)
        runner, close = self._batched_alone(
            rules, num_threads, id, backend, plan.usual, lone_by_children
        )
        return giving_up(runner, model), close


def _rules(
    plan: Plan, model: Model, id: ServableId, backend: Backend, config: ConfigFile | None
) -> Rules | None:
    """How the requests of a version are merged; None where each is run alone."""
    batches_itself = backend.capabilities.batches_itself
    if plan.platform.scheduler is not None and plan.parameters is not None and not batches_itself:
        return plan.parameters
    if model.batching is not None or batches_itself:
        return model.batching
    return rules_of(config, model, id)
