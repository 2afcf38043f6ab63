"""What an ensemble was trained for, and what its predictions mean."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array

__all__ = ["Scores", "Task", "softmax", "two_classes"]

Scores = Callable[[Array], Array]
"""Predictions, shape (rows,) or (rows, k) → the score of each class, float32 (rows, classes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the predictions of a model are.

    Attributes:
        width: numbers of a row; None where `y` has shape [-1].
        dtype: of `y`.
        classes: how many there are; 0 where the model classifies nothing.
        scores: makes scores of what is predicted; None where there are no classes.
        scores_of_margins: the scores are made of raw predictions, before the objective's own
            transformation.
    """

    dtype: DataType
    width: int | None = None
    classes: int = 0
    scores: Scores | None = None
    scores_of_margins: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `y`."""
        return (-1,) if self.width is None else (-1, self.width)


def two_classes(y: Array) -> Array:
    """Scores of both classes, of the probability of the second."""
    scores = np.empty((len(y), 2), np.float32)
    scores[:, 1] = y
    np.subtract(1, scores[:, 1], out=scores[:, 0])
    return scores


def softmax(margins: Array) -> Array:
    """Scores of classes, of what stands for them before the transformation."""
    shifted = np.exp(margins - margins.max(axis=1, keepdims=True))
    scores: Array = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return scores
