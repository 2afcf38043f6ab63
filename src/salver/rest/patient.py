"""Inference calls that wait for models which are not in memory."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from salver.inference.later import Later
from salver.inference.patience import patiently
from salver.lifecycle.seats import NotLoaded
from salver.requests import ServableRequest
from salver.rest.calls import InferenceCalls
from salver.transport.messages import HttpResponse

__all__ = ["PatientCalls"]

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]


class PatientCalls(InferenceCalls):
    """The same calls; `timeout_s` is for the wait too."""

    def predict(self, body: bytes, servable: ServableRequest) -> Answer:
        """See `InferenceCalls.predict`."""
        return self._patiently(partial(super().predict, body, servable))

    def classify(self, body: bytes, servable: ServableRequest) -> Answer:
        """See `InferenceCalls.classify`."""
        return self._patiently(partial(super().classify, body, servable))

    def regress(self, body: bytes, servable: ServableRequest) -> Answer:
        """See `InferenceCalls.regress`."""
        return self._patiently(partial(super().regress, body, servable))

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        try:
            answer = ask()
        except NotLoaded as not_loaded:
            return patiently(not_loaded, lambda _left_s: ask(), self._timeout_s)
        if isinstance(answer, HttpResponse):
            return answer
        return Later(self._finished(answer, ask), answer.close)

    async def _finished(
        self, answer: Coroutine[Any, Any, HttpResponse], ask: Callable[[], Answer]
    ) -> HttpResponse:
        try:
            return await answer
        except NotLoaded as not_loaded:
            return await patiently(not_loaded, lambda _left_s: ask(), self._timeout_s)
