"""The waist: what is asked of a servable and what it answers, in the form of no wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Array", "ClassifyResult", "PredictResult", "RegressResult", "ServableRequest"]

Array = np.ndarray[Any, Any]
"""A tensor: C-contiguous, of the dtype `dtypes.numpy_dtype` gives; strings are `object` arrays
whose elements are `bytes`."""


@dataclass(frozen=True, slots=True)
class ServableRequest:
    """Which servable a request wants; at most one of `version` and `label` is set."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class PredictResult:
    """Named output tensors, in the order asked for."""

    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class ClassifyResult:
    """Classes of each example.

    Attributes:
        labels: per example, one label per class; None when the model gives none.
        scores: shape (examples, classes), float32; None when the model gives none.
    """

    labels: Sequence[Sequence[bytes]] | None
    scores: Array | None


@dataclass(frozen=True, slots=True)
class RegressResult:
    """One value per example, shape (examples,), float32."""

    values: Array
