"""Answers of a model, and how two of them differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from salver.codecs.json.text import base64_text, bytes_of, decode_base64
from salver.codecs.protobuf.prediction_log import LogKind
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.codecs.protobuf.wire import parse_message
from salver.errors import DataLoss
from salver.request_log.json_forms import (
    MESSAGE_NAMES,
    classification_of,
    message_from_json,
    outputs_of,
    regression_of,
)
from salver.vocabulary.requests import Array

__all__ = ["Answer", "Comparison", "Tolerance", "answer_of_json", "answer_of_message", "compare"]

_ONLY: Final = ""  # REST does not name an output that is the only one


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered.

    Attributes:
        outputs: name → array; `""` for the only output of a REST answer.
        is_typed: whether the dtypes are the model's own, and not those JSON was read as.
    """

    outputs: Mapping[str, Array]
    is_typed: bool


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Floating-point numbers are the same when |a - b| <= atol + rtol * |b|; b is expected."""

    rtol: float = 1e-5
    atol: float = 1e-6


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one output compares.

    Attributes:
        output: its name.
        largest: largest absolute difference of numbers; 0 for strings and where none is to be had.
        problem: what differs, in words; empty where it is the same.
    """

    output: str
    largest: float
    problem: str = ""


# -- reading ---------------------------------------------------------------------------------------


def answer_of_message(kind: LogKind, data: bytes) -> Answer:
    """The answer in a serialized response.

    Raises:
        ServingError: it cannot be read.
    """
    message = parse_message(MESSAGE_NAMES[kind][1], data)
    match kind:
        case LogKind.PREDICT:
            outputs = outputs_of(message.outputs)
        case LogKind.CLASSIFY:
            outputs = _classification(message.result)
        case LogKind.REGRESS:
            outputs = {"outputs": regression_of(message.result).values}
        case LogKind.MULTI_INFERENCE:
            outputs = {}
            for result in message.results:
                for name, array in _result(result).items():
                    outputs[f"{result.model_spec.signature_name}/{name}"] = array
        case _:
            outputs = {
                named.name: decode_tensor(named.tensor.SerializeToString())
                for named in message.tensor
            }
    return Answer(outputs, is_typed=True)


def _result(result: Any) -> dict[str, Array]:
    if result.WhichOneof("result") == "regression_result":
        return {"outputs": regression_of(result.regression_result).values}
    return _classification(result.classification_result)


def _classification(result: Any) -> dict[str, Array]:
    found = classification_of(result)
    assert found.labels is not None
    assert found.scores is not None
    return {"classes": _strings(found.labels, found.scores.shape), "scores": found.scores}


def _strings(rows: Sequence[Sequence[bytes]], shape: tuple[int, ...]) -> Array:
    array = np.empty(shape, object)
    array.reshape(-1)[:] = [text for row in rows for text in row]
    return array


def answer_of_json(kind: LogKind, value: Any) -> Answer:
    """The answer in the JSON of REST, or of a log in its form.

    Raises:
        DataLoss: this is none.
    """
    try:
        match kind:
            case LogKind.PREDICT:
                return Answer(_predictions(value), is_typed=False)
            case LogKind.CLASSIFY:
                rows = value["results"]
                labels = [[bytes_of(label) for label, _ in row] for row in rows]
                scores = np.array([[score for _, score in row] for row in rows], np.float32)
                scores = scores.reshape(len(rows), -1)
                classes = _strings(labels, scores.shape)
                return Answer({"classes": classes, "scores": scores}, is_typed=True)
            case LogKind.REGRESS:
                values = np.array(value["results"], np.float32)
                return Answer({"outputs": values}, is_typed=True)
            case _:
                return answer_of_message(kind, message_from_json(kind, value, part=1))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataLoss(f"This is no answer to {kind.name.lower()}: {error!r}") from error


def _predictions(value: Any) -> dict[str, Array]:
    if "predictions" in value:
        rows = value["predictions"]
        if rows and _is_named(rows[0]):
            return {name: _array([row[name] for row in rows]) for name in rows[0]}
        return {_ONLY: _array(rows)}
    outputs = value["outputs"]
    if _is_named(outputs):
        return {name: _array(output) for name, output in outputs.items()}
    return {_ONLY: _array(outputs)}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and base64_text(value) is None


def _array(value: Any) -> Array:
    """Nested lists of numbers, booleans or strings as an array."""
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if not isinstance(first, str | dict):
        return np.array(value)
    array = np.array(value, dtype=object)
    flat = np.empty(array.size, object)
    flat[:] = [_string(element) for element in array.reshape(-1).tolist()]
    return flat.reshape(array.shape)


def _string(element: Any) -> bytes:
    text = base64_text(element)
    return bytes_of(element) if text is None else decode_base64(text)


# -- comparing -------------------------------------------------------------------------------------


def compare(expected: Answer, got: Answer, tolerance: Tolerance) -> list[Comparison]:
    """Compare two answers, output by output, in the order of their names."""
    before, after = _same_names(expected.outputs, got.outputs)
    are_typed = expected.is_typed and got.is_typed
    found = []
    for name in sorted({**before, **after}):
        if name not in after:
            found.append(Comparison(name, 0.0, "is missing"))
        elif name not in before:
            found.append(Comparison(name, 0.0, "was not there before"))
        else:
            found.append(_compare_one(name, before[name], after[name], tolerance, are_typed))
    return found


def _same_names(
    before: Mapping[str, Array], after: Mapping[str, Array]
) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """Call the only output that has no name as the other side does."""
    if len(before) == len(after) == 1 and before.keys() != after.keys():
        if _ONLY in before:
            return dict(zip(after, before.values(), strict=True)), after
        if _ONLY in after:
            return before, dict(zip(before, after.values(), strict=True))
    return before, after


def _compare_one(
    name: str, expected: Array, got: Array, tolerance: Tolerance, are_typed: bool
) -> Comparison:
    is_empty = not expected.size and not got.size  # in JSON nobody can tell [0, 3] from [0]
    if expected.shape != got.shape and (are_typed or not is_empty):
        return Comparison(name, 0.0, f"has shape {_shape(got)}, not {_shape(expected)}")
    if is_empty:
        return Comparison(name, 0.0)
    if expected.dtype != got.dtype:
        if are_typed or "O" in expected.dtype.kind + got.dtype.kind:
            return Comparison(name, 0.0, f"has dtype {got.dtype}, not {expected.dtype}")
        expected, got = _of_one_dtype(expected, got)
    if expected.dtype.kind in "Obiu":
        return _compare_exactly(name, expected, got)
    return _compare_closely(name, expected, got, tolerance)


def _of_one_dtype(expected: Array, got: Array) -> tuple[Array, Array]:
    """One of them was read from JSON: what it says is meant as the other's dtype."""
    if expected.dtype.kind in "iu" and got.dtype.kind in "iu":
        is_unsigned = np.dtype(np.uint64) in (expected.dtype, got.dtype)
        wide = np.dtype(np.uint64 if is_unsigned else np.int64)
        return expected.astype(wide), got.astype(wide)
    narrow = min(expected.dtype, got.dtype, key=lambda dtype: dtype.itemsize)
    if narrow.kind not in "fV":
        narrow = np.dtype(np.float64)
    with np.errstate(all="ignore"):
        return expected.astype(narrow), got.astype(narrow)


def _compare_exactly(name: str, expected: Array, got: Array) -> Comparison:
    differ = np.asarray(expected != got)
    if not differ.any():
        return Comparison(name, 0.0)
    largest = 0.0
    if expected.dtype.kind != "O":
        largest = float(np.abs(expected.astype(np.float64) - got.astype(np.float64)).max())
    return Comparison(name, largest, _where(differ, expected, got))


def _compare_closely(name: str, expected: Array, got: Array, tolerance: Tolerance) -> Comparison:
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    before, after = expected.astype(wide), got.astype(wide)
    with np.errstate(all="ignore"):
        is_close = np.isclose(
            after, before, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True
        )
        distance = np.abs(after - before)
    is_same = (before == after) | (np.isnan(before) & np.isnan(after))
    distance = np.where(is_same, 0.0, np.where(np.isnan(distance), np.inf, distance))
    largest = float(distance.max())
    if is_close.all():
        return Comparison(name, largest)
    return Comparison(name, largest, _where(~is_close, expected, got))


def _where(differ: Array, expected: Array, got: Array) -> str:
    """How many elements differ, and the first of them."""
    index = tuple(int(at) for at in np.argwhere(differ)[0])
    place = f" at {list(index)}" if index else ""
    first = f"{_text(got[index])}, not {_text(expected[index])}{place}"
    count = int(np.count_nonzero(differ))
    return f"is {first}" + (f"; {count} of {differ.size} differ" if differ.size > 1 else "")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        text = repr(value.decode(errors="backslashreplace"))
        return text if len(text) <= _LONG_TEXT else f"{text[:_LONG_TEXT]}…"
    return str(value)


_LONG_TEXT: Final = 60


def _shape(array: Array) -> str:
    return str(list(array.shape))
