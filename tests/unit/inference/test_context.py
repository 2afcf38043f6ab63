from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from salver.errors import PermissionDenied
from salver.inference.context import Interceptor, RequestContext, intercepted
from salver.protocols.methods import Call

A = TypeVar("A")


class Noting:
    """Lets everything pass, and writes down when."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    def __call__(
        self, _context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "A | Coroutine[Any, Any, A]":
        self._notes.append(f"{self._name} before")
        answer = proceed()
        self._notes.append(f"{self._name} after")
        return answer


def refusing(_context: RequestContext, _proceed: "Callable[[], A]", /) -> A:
    raise PermissionDenied("not you")


def test_without_interceptors_the_endpoint_answers() -> None:
    assert intercepted((), Call(), lambda: "answered") == "answered"


def test_the_first_one_is_asked_first_and_hears_of_the_answer_last() -> None:
    notes: list[str] = []

    def endpoint() -> str:
        notes.append("endpoint")
        return "answered"

    interceptors = [Noting("a", notes), Noting("b", notes)]
    assert intercepted(interceptors, Call(), endpoint) == "answered"
    assert notes == ["a before", "b before", "endpoint", "b after", "a after"]


def test_one_that_refuses_keeps_the_others_and_the_endpoint_from_being_asked() -> None:
    notes: list[str] = []
    interceptors: list[Interceptor] = [refusing, Noting("b", notes)]
    with pytest.raises(PermissionDenied, match="not you"):
        intercepted(interceptors, Call(), lambda: notes.append("endpoint"))
    assert notes == []
