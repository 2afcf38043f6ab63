"""The classification extension: scores → the best classes, as `score:index:label`. Pure.

Source: Triton, `docs/protocol/extension_classification.md`, and what its server writes.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from salver.codecs.oip.dtypes import datatype_of_array
from salver.errors import InvalidArgument
from salver.vocabulary.requests import Array

__all__ = ["MOST_SCORES", "classified"]

MOST_SCORES: Final = 1_000_000
"""So many scores are put in order at most, as in Triton: each may become a text."""

_STEP: Final = 1 << 14  # scores between two calls of `check`: some ten milliseconds


def classified(
    scores: Array,
    count: int,
    labels: Sequence[str] | None,
    *,
    has_rows: bool,
    name: str,
    check: Callable[[], None] | None = None,
) -> Array:
    """The best classes of each row.

    Args:
        scores: of any shape; behind the rows, all axes are classes.
        count: how many classes are wanted at most.
        labels: of the classes; one beyond the last has none. None: no class has.
        has_rows: whether axis 0 counts rows.
        name: of the output, for the text of an error.
        check: called now and then; what it raises ends the work.

    Returns:
        Strings in the order of their scores, shape (rows, classes), or (classes,) without rows.

    Raises:
        InvalidArgument: they are no numbers, or too many.
    """
    if scores.dtype.kind not in "iuf" and scores.dtype.name != "bfloat16":
        raise InvalidArgument(
            f"class result not available for output '{name}' due to unsupported type "
            f"'{datatype_of_array(scores.dtype)}'"
        )
    if scores.size > MOST_SCORES:
        raise InvalidArgument(f"classification output tensor '{name}' too large")
    if scores.dtype.kind not in "iu":
        scores = scores.astype(np.float64)
    has_rows = has_rows and scores.ndim > 0
    n_classes = prod(scores.shape[1:] if has_rows else scores.shape)
    rows = scores.reshape(len(scores) if has_rows else 1, n_classes)
    kept = min(count, n_classes)
    texts: list[bytes] = []
    n_together = max(1, _STEP // max(1, n_classes))
    for begin in range(0, len(rows) if kept else 0, n_together):
        if check is not None:
            check()
        texts += _best(rows[begin : begin + n_together], kept, labels or ())
    array = np.empty(len(texts), object)
    array[:] = texts
    return array.reshape((len(rows), kept) if has_rows else (kept,))


def _best(rows: "np.ndarray[Any, Any]", count: int, labels: Sequence[str]) -> list[bytes]:
    """The texts of some rows, the highest score first, of equals the first class."""
    is_float = rows.dtype.kind == "f"
    compared = np.where(np.isnan(rows), -np.inf, rows) if is_float else rows
    # Backwards, so that of equals the first class comes first when all is turned around.
    ascending = np.argsort(compared[:, ::-1], axis=1, kind="stable")
    order = rows.shape[1] - 1 - ascending[:, ::-1][:, :count]
    values = np.take_along_axis(rows, order, axis=1).ravel().tolist()
    indexes = order.ravel().tolist()
    form = "%f:%d" if is_float else "%d:%d"
    texts = [form % pair for pair in zip(values, indexes, strict=True)]
    if labels:
        known = len(labels)
        texts = [
            f"{text}:{labels[index]}" if index < known else text
            for text, index in zip(texts, indexes, strict=True)
        ]
    return [text.encode(errors="surrogateescape") for text in texts]
