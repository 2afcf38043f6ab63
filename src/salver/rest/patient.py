"""Inference calls that wait for models which are not in memory."""

from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any

from salver.inference.later import Later
from salver.inference.patience import patiently
from salver.lifecycle.seats import NotLoaded
from salver.requests import ServableRequest
from salver.rest.calls import InferenceCalls
from salver.transport.messages import HttpResponse

__all__ = ["PatientCalls"]

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]
Ask = Callable[[InferenceCalls], Answer]


class PatientCalls(InferenceCalls):
    """The same calls; `timeout_s` is for wait and run together."""

    def predict(self, body: bytes, servable: ServableRequest) -> Answer:
        """See `InferenceCalls.predict`."""
        return self._patiently(lambda calls: InferenceCalls.predict(calls, body, servable))

    def classify(self, body: bytes, servable: ServableRequest) -> Answer:
        """See `InferenceCalls.classify`."""
        return self._patiently(lambda calls: InferenceCalls.classify(calls, body, servable))

    def regress(self, body: bytes, servable: ServableRequest) -> Answer:
        """See `InferenceCalls.regress`."""
        return self._patiently(lambda calls: InferenceCalls.regress(calls, body, servable))

    def _patiently(self, ask: Ask) -> Answer:
        try:
            answer = ask(self)
        except NotLoaded as not_loaded:
            return self._again(not_loaded, ask)
        if isinstance(answer, HttpResponse):
            return answer
        return Later(self._finished(answer, ask), answer.close)

    async def _finished(self, answer: Coroutine[Any, Any, HttpResponse], ask: Ask) -> HttpResponse:
        try:
            return await answer
        except NotLoaded as not_loaded:
            return await self._again(not_loaded, ask)

    async def _again(self, not_loaded: NotLoaded, ask: Ask) -> HttpResponse:
        return await patiently(
            not_loaded, lambda left_s: ask(self._within(left_s)), self._timeout_s
        )

    def _within(self, timeout_s: float | None) -> InferenceCalls:
        """The same calls, with what is left of their time."""
        calls = copy(self)
        calls._timeout_s = timeout_s
        return calls
