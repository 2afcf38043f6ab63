"""Requests of batch work: they wait behind interactive ones, wherever they begin to wait.

What a request starts reads its priority from `current_priority`. So that holds for what it does at
once, for what it does later in the coroutine that makes its answer, and for no other request.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from salver.inference.later import Later
from salver.vocabulary.access import Priority, current_priority

__all__ = ["in_batch"]

A = TypeVar("A")


def in_batch(
    proceed: "Callable[[], A | Coroutine[Any, Any, A]]",
) -> "A | Coroutine[Any, Any, A]":
    """Answer a request as batch work.

    Args:
        proceed: answers it; see `Interceptor`.

    Raises:
        ServingError: as `proceed`; also out of the coroutine.
    """
    token = current_priority.set(Priority.BATCH)
    try:
        answer = proceed()
    finally:
        current_priority.reset(token)
    return Later(_awaited(answer), answer.close) if isinstance(answer, Coroutine) else answer


async def _awaited(answer: Coroutine[Any, Any, A]) -> A:
    token = current_priority.set(Priority.BATCH)
    try:
        return await answer
    finally:
        with suppress(ValueError):  # it is closed by somebody else than who waited for it
            current_priority.reset(token)
