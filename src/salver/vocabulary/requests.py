"""What is asked of a servable and what it answers, whatever the protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Array", "ClassifyResult", "RegressResult", "ServableRequest", "TakesLong"]

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


class TakesLong(Exception):
    """What was to be read in the loop is better read in another thread; nothing is said of it.

    Attributes:
        pinned: the version that is to answer, if that was decided before.
    """

    pinned: Any = None
