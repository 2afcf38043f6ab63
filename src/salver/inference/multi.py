"""MultiInference: several classifications and regressions of the same examples in one run. Pure.

Source: TensorFlow Serving, `servables/tensorflow/multi_inference.cc`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from salver.errors import InvalidArgument, Unimplemented
from salver.hints import signatures_hint
from salver.inference.examples import (
    check_classify_signature,
    check_regress_signature,
    classify_result,
    regress_result,
)
from salver.requests import Array, ClassifyResult, RegressResult
from salver.signature import CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME, Signature

__all__ = ["MultiPlan", "MultiTask", "multi_plan", "multi_results"]

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
class MultiPlan:
    """The one run that answers all tasks.

    Attributes:
        feeds: tensors of the graph, each to be fed the examples.
        fetches: tensors of the graph.
    """

    feeds: tuple[str, ...]
    fetches: tuple[str, ...]


def multi_plan(
    tasks: Sequence[MultiTask],
    signatures: Mapping[str, Signature],
    signature_def_map: bytes,
    *,
    is_method_checked: bool,
) -> MultiPlan:
    """Check the tasks and join their signatures.

    Args:
        tasks: at least one.
        signatures: of the version that answers.
        signature_def_map: the same, for the text of an error.
        is_method_checked: `--enable_signature_method_name_check`.

    Raises:
        InvalidArgument: a task is wrong, or its signature is not made for it.
        Unimplemented: a task asks for something else than classes or values.
    """
    feeds: set[str] = set()
    fetches: set[str] = set()
    seen: set[str] = set()
    for task in tasks:
        _check_task(task, tasks[0].model_name, seen)
        name = task.signature_name
        seen.add(name)
        signature = signatures.get(name)
        if signature is None:
            raise InvalidArgument(
                f"Requested signature not found in model graph: {name}",
                hint=signatures_hint(signatures),
            )
        check = _CHECKS.get(task.method_name)
        if check is None:
            raise Unimplemented(f"Unsupported signature method_name: {task.method_name}")
        check(name, signature, signature_def_map, is_method_checked=is_method_checked)
        feeds.update(spec.tensor_name for spec in signature.inputs.values())
        fetches.update(spec.tensor_name for spec in signature.outputs.values())
    return MultiPlan(tuple(sorted(feeds)), tuple(sorted(fetches)))


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
    tasks: Sequence[MultiTask],
    signatures: Mapping[str, Signature],
    fetched: Mapping[str, Array],
    n_examples: int,
) -> list[ClassifyResult | RegressResult]:
    """Check what the model gave and share it out.

    Args:
        tasks: those of the plan.
        signatures: of the version that answered.
        fetched: tensor of the graph → its value.
        n_examples: number of examples fed.

    Returns:
        One result per task, in order.

    Raises:
        InvalidArgument: a shape or dtype is not as a result needs it.
    """
    results: list[ClassifyResult | RegressResult] = []
    for task in tasks:
        outputs = {
            alias: fetched[spec.tensor_name]
            for alias, spec in signatures[task.signature_name].outputs.items()
        }
        make = classify_result if task.method_name == CLASSIFY_METHOD_NAME else regress_result
        results.append(make(outputs, n_examples))
    return results
