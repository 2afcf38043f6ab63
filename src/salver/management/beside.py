"""What a `config.pbtxt` beside a version asks for, as far as the server's configuration is silent.

The flags, the batching parameters and what a model says by itself go before it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from salver.about.config_file import ConfigFile, config_beside
from salver.config.batching import BatchingParameters
from salver.errors import InvalidArgument, ServingError
from salver.inference.servable import ProgramNames, Runner, StartableProgram
from salver.vocabulary.model import InternalBatching, Merging, Model, Program
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature, TensorSpec

__all__ = ["Rules", "limited", "merging_of", "requested", "rules_of"]

_log = logging.getLogger(__name__)

_MOST_WAITING: Final = 10_000  # batches; as `--max_queued_runs_per_model`
_DEFAULT_ROWS: Final = 1000  # of batching parameters that do not say

Rules = BatchingParameters | InternalBatching
"""How the requests of a version are merged."""


def requested(id: ServableId, directory: str) -> ConfigFile | None:
    """What the file beside a version asks for; None where there is none, or it is wrong.

    A file that is wrong keeps no model from being served: TensorFlow Serving knows no such file.
    """
    try:
        config = config_beside(directory)
    except ServingError as error:
        _log.warning("What is beside %s is not obeyed: %s", id, error.message)
        return None
    if config is not None and config.ignored:
        names = ", ".join(config.ignored)
        _log.info("%s: these fields of %s are not obeyed: %s", id, config.path, names)
    return config


def rules_of(config: ConfigFile | None, model: Model, id: ServableId) -> InternalBatching | None:
    """How the file wants the requests of a model merged; None where it does not, or cannot.

    A batch of a preferred size is run at once, so none grows beyond the largest of them; what is
    larger than that by itself is split.
    """
    if config is None or not config.is_merging:
        return None
    if not _have_rows(model.signatures):
        _log.warning(
            "%s: dynamic_batching of %s is not obeyed: not all inputs and outputs have a first "
            "axis of any size",
            *(id, config.path),
        )
        return None
    most = max(config.preferred_batch_sizes, default=config.max_batch_size)
    return InternalBatching(
        num_batch_threads=config.instances or 1,
        max_batch_size=config.max_batch_size,
        max_execution_batch_size=most,
        max_enqueued_batches=_MOST_WAITING,
        batch_timeout_micros=config.delay_micros,
    )


def _have_rows(signatures: Mapping[str, Signature]) -> bool:
    specs: list[TensorSpec] = []
    for signature in signatures.values():
        specs += [*signature.inputs.values(), *signature.outputs.values()]
    return all(spec.shape is None or spec.shape[:1] == (-1,) for spec in specs)


def merging_of(rules: Rules | None, config: ConfigFile | None) -> Merging | None:
    """What is reported of the rules of a version."""
    if rules is None:
        return None
    if isinstance(rules, BatchingParameters):
        return Merging(
            max_batch_size=rules.max_batch_size or _DEFAULT_ROWS,
            delay_micros=rules.batch_timeout_micros or 0,
            preferred_batch_sizes=rules.allowed_batch_sizes,
        )
    merging = Merging(
        max_batch_size=min(rules.max_batch_size, rules.max_execution_batch_size),
        delay_micros=rules.batch_timeout_micros,
    )
    if config is None or rules.max_batch_size != config.max_batch_size:
        return merging
    return replace(
        merging,
        max_batch_size=config.max_batch_size,
        preferred_batch_sizes=config.preferred_batch_sizes,
    )


def limited(runner: Runner, config: ConfigFile | None, name: str) -> Runner:
    """The same runner; requests with more rows than the file allows are refused."""
    most = 0 if config is None else config.max_batch_size
    if not most:
        return runner

    def make(program: Program, names: ProgramNames) -> StartableProgram:
        return _Limited(runner(program, names), most, name)

    return make


class _Limited:
    """See `StartableProgram`."""

    __slots__ = ("_most", "_name", "_start")

    def __init__(self, program: StartableProgram, most: int, name: str) -> None:
        self._start = program.start
        self._most = most
        self._name = name

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]":
        if any(feed.ndim and feed.shape[0] > self._most for feed in feeds):
            on_end()
            # Source: Triton `core/src/infer_request.cc`, Normalize.
            raise InvalidArgument(
                f"inference request batch-size must be <= {self._most} for '{self._name}'"
            )
        return self._start(feeds, timeout_s=timeout_s, on_end=on_end)
