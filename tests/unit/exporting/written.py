"""Functions and classes for the tests of their sources."""

import functools
import json as js
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar

import numpy as np

SCALE = 2.5
NAMES = ["a", "b"]
BIG = np.zeros(10)
LONG = "x" * 200_000
Rows = Annotated[np.ndarray, "float32", [-1]]


def helper(x: Any) -> Any:
    return x * SCALE


def score(x: Rows, k: int = 3, text: str = "hi") -> Rows:
    # what a comment says stays
    def inner(z: Any) -> Any:
        return helper(z) + math.pi * 0

    assert text == "hi"
    assert js.dumps(len(OrderedDict())) == "0"
    answer: np.ndarray = inner(x) * k
    return answer


def two(x: float) -> Any:
    return x + 1, NAMES[0]


async def later(x: float) -> float:
    return x + 1


def recursive(n: int) -> int:
    return 1 if n < 2 else n * recursive(n - 1)


def with_default(x: float, names: Any = NAMES) -> float:
    return x + len(names)


def uses_big(x: float) -> float:
    return float(x + BIG.sum())


def uses_long(x: str) -> str:
    return x + LONG


def undefined(x: float) -> float:
    return x + nothere  # type: ignore[name-defined,no-any-return] # noqa: F821


def untyped(x):  # type: ignore[no-untyped-def]
    return x


def star(*x: float) -> float:
    return x[0]


def nothing() -> float:
    return 1.0


def generator(x: float) -> Iterator[float]:
    yield x


def make(k: float) -> Callable[[float], float]:
    def closed(x: float) -> float:
        return x + k

    return closed


def wrapped(function: Any) -> Any:
    return function


@wrapped
def decorated(x: float) -> float:
    return x


@functools.cache
def cached(x: float) -> float:
    return x


class Mine:
    inputs: ClassVar = {"x": ("float32", [-1])}
    outputs: ClassVar = {"y": ("float32", [-1])}
    size = len(NAMES)

    def predict(self, inputs: Any) -> Any:
        return {"y": helper(inputs["x"]) + self.size}


class Caught(Mine):
    def predict(self, inputs: Any) -> Any:
        return {"y": inputs["x"] + BIG}
