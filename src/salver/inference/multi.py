"""MultiInference: several classifications and regressions of the same examples.

Source: TensorFlow Serving, `servables/tensorflow/multi_inference.cc`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from salver.errors import InvalidArgument, Unimplemented
from salver.inference.examples import (
    check_classify_signature,
    check_regress_signature,
    classify_result,
    regress_result,
)
from salver.inference.servable import Servable, Start
from salver.vocabulary.hints import signatures_hint
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult
from salver.vocabulary.signature import CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME

__all__ = ["MultiRun", "MultiTask", "RunsTogether", "check_tasks", "multi_results", "multi_run"]

_CHECKS = {
    CLASSIFY_METHOD_NAME: check_classify_signature,
    REGRESS_METHOD_NAME: check_regress_signature,
}


@dataclass(frozen=True, slots=True)
class MultiTask:
    """One of the questions.

    Attributes:
        model_name: as the request has it, empty where it has none.
        signature_name: never empty: `serving_default` where the request has none.
        method_name: what is asked, as signatures name it (`tensorflow/serving/classify`).
    """

    model_name: str
    signature_name: str
    method_name: str


@dataclass(frozen=True, slots=True)
class MultiRun:
    """The run that answers all tasks.

    Attributes:
        start: begins it.
        num_feeds: how often the examples are fed.
        places: of each task, alias of an output → which output of the run it is.
    """

    start: Start
    num_feeds: int
    places: Sequence[Mapping[str, int]]


def check_tasks(tasks: Sequence[MultiTask], info: ModelInfo, *, is_method_checked: bool) -> None:
    """Refuse tasks that cannot be answered together.

    Args:
        tasks: at least one.
        info: of the version that answers.
        is_method_checked: `--enable_signature_method_name_check`.

    Raises:
        InvalidArgument: a task is wrong, or its signature is not made for it.
        Unimplemented: a task asks for something else than classes or values.
    """
    seen: set[str] = set()
    for task in tasks:
        _check_task(task, tasks[0].model_name, seen)
        name = task.signature_name
        seen.add(name)
        if name not in info.signatures:
            raise InvalidArgument(
                f"Requested signature not found in model graph: {name}",
                hint=signatures_hint(info.signatures),
            )
        check = _CHECKS.get(task.method_name)
        if check is None:
            raise Unimplemented(f"Unsupported signature method_name: {task.method_name}")
        check(name, info, is_method_checked=is_method_checked)


def multi_run(tasks: Sequence[MultiTask], servable: Servable) -> MultiRun:
    """Join the signatures of tasks that were checked.

    In a graph they are one run, which feeds and fetches each tensor once; otherwise each signature
    runs by itself.

    Raises:
        ServingError: a signature cannot be run.
    """
    if servable.model.graph is None:
        calls = [servable.require_call(task.signature_name) for task in tasks]
        numbers = count()
        places = [{alias: next(numbers) for alias in call.output_names} for call in calls]
        return MultiRun(RunsTogether([call.start for call in calls]).start, len(calls), places)
    names = [servable.graph.names[task.signature_name] for task in tasks]
    feeds = sorted({tensor for of in names for tensor in of.inputs.values()})
    fetches = sorted({tensor for of in names for tensor in of.outputs.values()})
    return MultiRun(
        servable.program_in_graph(feeds, fetches).start,
        len(feeds),
        [{alias: fetches.index(name) for alias, name in of.outputs.items()} for of in names],
    )


def _check_task(task: MultiTask, model_name: str, seen: set[str]) -> None:
    if not task.model_name:
        raise InvalidArgument("Found ModelSpec with an empty model name.")
    if task.model_name != model_name:
        raise InvalidArgument(
            "All ModelSpecs in a MultiInferenceRequest must access the same model name."
        )
    if task.signature_name in seen:
        raise InvalidArgument(f"Duplicate evaluation of signature: {task.signature_name}")


def multi_results(
    tasks: Sequence[MultiTask], run: MultiRun, outputs: Sequence[Array], n_examples: int
) -> list[ClassifyResult | RegressResult]:
    """Check what the model gave and share it out.

    Args:
        tasks: those of the run.
        run: that was made.
        outputs: what it gave.
        n_examples: number of examples fed.

    Returns:
        One result per task, in order.

    Raises:
        InvalidArgument: a shape or dtype is not as a result needs it.
    """
    results: list[ClassifyResult | RegressResult] = []
    for task, places in zip(tasks, run.places, strict=True):
        named = {alias: outputs[place] for alias, place in places.items()}
        make = classify_result if task.method_name == CLASSIFY_METHOD_NAME else regress_result
        results.append(make(named, n_examples))
    return results


# -- runs that are one -----------------------------------------------------------------------------


class RunsTogether:
    """Runs of a model, each with one feed; see `StartableProgram`."""

    def __init__(self, starts: Sequence[Start]) -> None:
        """Join runs.

        Args:
            starts: begin one run each; at least one.
        """
        self._starts: Final = starts

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]":
        """Begin all runs; called in the loop.

        Args:
            feeds: one for each run.
            timeout_s: of each.
            on_end: called once, when no run goes on any more.

        Returns:
            The outputs of all, one behind the other; or a future, whose cancelling drops the runs
            that no thread has taken up.

        Raises:
            ServingError: one of them failed here.
        """
        # The last to count is the one behind the last run: the loop, if all have ended by then.
        ended, last = count(1), len(self._starts) + 1

        def one_ended() -> None:
            if next(ended) == last:  # atomic
                on_end()

        begun: list[list[Array] | asyncio.Future[list[Array]]] = []
        try:
            for start, feed in zip(self._starts, feeds, strict=True):
                begun.append(start([feed], timeout_s=timeout_s, on_end=one_ended))
        except BaseException:
            for each in begun:
                if not isinstance(each, list):
                    each.cancel()
            # The run that failed has ended; those behind it never began.
            for _ in range(len(self._starts) - len(begun) - 1):
                one_ended()
            raise
        finally:
            one_ended()
        waiting = [each for each in begun if not isinstance(each, list)]
        return _answer(begun, waiting) if waiting else _outputs(begun)


_Begun = Sequence["list[Array] | asyncio.Future[list[Array]]"]


def _outputs(begun: _Begun) -> list[Array]:
    ended = [each if isinstance(each, list) else each.result() for each in begun]
    return [output for outputs in ended for output in outputs]


def _answer(
    begun: _Begun, waiting: "Sequence[asyncio.Future[list[Array]]]"
) -> "asyncio.Future[list[Array]]":
    """A future of the outputs, which fails as soon as one run does."""
    answer: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
    all_ended = asyncio.gather(*waiting)

    def settle(ended: "asyncio.Future[list[list[Array]]]") -> None:
        if answer.done():
            return
        if ended.cancelled():
            answer.cancel()
        elif (error := ended.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(_outputs(begun))

    def answered(_answer: "asyncio.Future[list[Array]]") -> None:
        for each in waiting:
            each.cancel()

    all_ended.add_done_callback(settle)
    answer.add_done_callback(answered)
    return answer
