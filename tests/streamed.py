"""A model whose runs answer more than once, in this process and in steps that a test makes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from salver.errors import ServingError
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.requests import Array
from tests.shelf import FLOATS, FunctionModel, signature

__all__ = ["Counting", "StreamedAnswers"]


class StreamedAnswers:
    """See `salver.inference.servable.StreamedRun`."""

    def __init__(
        self, answers: Iterable[list[Array] | ServingError], on_end: Callable[[], None]
    ) -> None:
        self._answers = iter(answers)
        self._on_end: Callable[[], None] | None = on_end
        self.taken = 0
        self.waiter: asyncio.Future[None] | None = None

    async def next(self) -> list[Array] | None:
        if self.waiter is not None:
            await self.waiter
        answer = next(self._answers, None)
        if isinstance(answer, ServingError):
            raise answer
        self.taken += 1
        return answer

    def close(self) -> None:
        if self._on_end is not None:
            self._on_end()
            self._on_end = None

    @property
    def is_over(self) -> bool:
        return False

    @property
    def is_closed(self) -> bool:
        return self._on_end is None


@dataclass
class Counting:
    """A model that counts to its input, `x`, in `y`; at the end of that it may fail.

    Attributes:
        runs: that were begun.
        timeouts: that they were begun with.
        priorities: likewise.
    """

    failure: ServingError | None = None
    size: int = 1
    runs: list[StreamedAnswers] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)

    def __post_init__(self) -> None:
        function = (signature({"x": FLOATS}, {"y": FLOATS, "z": FLOATS}), _last)
        once = (signature({"x": FLOATS}, {"y": FLOATS}), lambda x: [x])
        self._model = FunctionModel({"serving_default": function, "once": once}, has_graph=False)
        self.signatures = self._model.signatures
        self.definitions = None
        self.graph = None
        self.batching = None
        self.program = self._model.program
        self.close = self._model.close

    def stream(
        self, signature_name: str, outputs: Sequence[str] | None = None
    ) -> "Callable[..., StreamedAnswers] | None":
        if signature_name == "once":
            return None
        places = [{"y": 0, "z": 1}[name] for name in outputs or ("y", "z")]

        def begin(
            feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
        ) -> StreamedAnswers:
            self.timeouts.append(timeout_s)
            self.priorities.append(current_priority.get())
            self.runs.append(StreamedAnswers(self._answers(feeds, places), on_end))
            return self.runs[-1]

        return begin

    def _answers(
        self, feeds: Sequence[Array], places: Sequence[int]
    ) -> Iterable[list[Array] | ServingError]:
        for number in range(int(feeds[0][0])):
            both = [np.full(self.size, number, np.float32), np.zeros(1, np.float32)]
            yield [both[place] for place in places]
        if self.failure is not None:
            yield self.failure


def _last(x: Array) -> list[Array]:
    return [x - 1, np.zeros(1, np.float32)]
