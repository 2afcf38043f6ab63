"""Calls that answer more than once."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from tests.kept_logs import KeptLogger, KeptLogs
from tests.shelf import Shelf, cancelled
from tests.streamed import Counting

from salver.errors import DeadlineExceeded, InvalidArgument, NotFound
from salver.inference.call import LARGE_BYTES, Inference, InferenceRequest, IsActive
from salver.inference.logged import LoggedCall, Messages
from salver.inference.serving import Handle
from salver.vocabulary.requests import Array, ServableRequest

LARGE = b"x" * (LARGE_BYTES + 1)


class Asked(InferenceRequest[bytes]):
    """Asks a signature of the model m to count."""

    def __init__(
        self, count: int, name: str = "serving_default", outputs: list[str] | None = None
    ) -> None:
        super().__init__(ServableRequest("m"))
        self._count = count
        self._name = name
        self._outputs = outputs

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        call = handle.model.require_call(self._name)
        self.runs(handle, call, [np.full(1, self._count, np.float32)], ("predict", "REST"))
        if self._outputs is not None:
            self.start = handle.model.part(self._name, self._outputs).start
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        return b"%d:%d:%g" % (len(outputs), outputs[0].size, outputs[0][0])

    def logged(self, outputs: list[Array], answer: bytes, *, wants_bodies: bool) -> LoggedCall:
        return LoggedCall("predict", self.servable, 7, "", Messages(b"", answer))


def ask(
    shelf: Shelf,
    asked: Asked,
    data: bytes = b"",
    *,
    timeout_s: float | None = None,
    is_deadline: bool = False,
    logger: KeptLogger | None = None,
) -> "AsyncGenerator[bytes, None]":
    logs = KeptLogs({} if logger is None else {"m": logger})
    inference = Inference(shelf, shelf.in_pool, logs, is_deadline=is_deadline)
    return inference.stream([lambda *_: asked], data, None, timeout_s)


async def all_of(answers: "AsyncGenerator[bytes, None]") -> list[bytes]:
    return [each async for each in answers]


@pytest.mark.parametrize("data", [b"", LARGE], ids=["read here", "read in the pool"])
async def test_each_answer_is_given_and_the_version_let_go_at_the_end(
    shelf: Shelf, data: bytes
) -> None:
    shelf.put("m", 7, Counting())
    answers = ask(shelf, Asked(3), data)
    assert await anext(answers) == b"2:1:0"
    assert shelf.in_flight() == 1
    assert await all_of(answers) == [b"2:1:1", b"2:1:2"]
    assert shelf.in_flight() == 0


async def test_some_outputs_alone_are_given_where_those_were_asked_for(shelf: Shelf) -> None:
    shelf.put("m", 7, Counting())
    assert await all_of(ask(shelf, Asked(2, outputs=["z"]))) == [b"1:1:0", b"1:1:0"]


async def test_a_signature_that_answers_once_does_so(shelf: Shelf) -> None:
    shelf.put("m", 7, Counting())
    assert await all_of(ask(shelf, Asked(5, "once"))) == [b"1:1:5"]
    assert shelf.in_flight() == 0


async def test_a_model_that_knows_nothing_of_streams_answers_once(shelf: Shelf) -> None:
    shelf.put("m", 7, Counting()._model)
    assert await all_of(ask(shelf, Asked(5))) == [b"2:1:4"]


async def test_large_answers_are_encoded_in_the_pool(shelf: Shelf) -> None:
    shelf.put("m", 7, Counting(size=LARGE_BYTES))
    assert len(await all_of(ask(shelf, Asked(3)))) == 3
    assert shelf.pooled == 3


async def test_a_call_is_counted_once_and_its_last_answer_logged(shelf: Shelf) -> None:
    shelf.put("m", 7, Counting())
    logger = KeptLogger()
    await all_of(ask(shelf, Asked(3), logger=logger))
    assert [each.content for each in logger.calls] == [Messages(b"", b"2:1:2")]
    await all_of(ask(shelf, Asked(0), logger=logger))
    assert len(logger.calls) == 1


async def test_who_leaves_ends_the_run(shelf: Shelf) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    answers = ask(shelf, Asked(10))
    await anext(answers)
    await answers.aclose()
    assert model.runs[0].is_closed
    assert model.runs[0].taken == 1
    assert shelf.in_flight() == 0


async def test_who_is_cancelled_while_it_waits_ends_the_run(shelf: Shelf) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    answers = ask(shelf, Asked(10))
    await anext(answers)
    model.runs[0].waiter = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0)
    await cancelled(waiting)
    assert model.runs[0].is_closed
    assert shelf.in_flight() == 0


async def test_nothing_is_begun_for_who_does_not_wait(shelf: Shelf) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    await ask(shelf, Asked(10)).aclose()
    assert not model.runs
    assert shelf.in_flight() == 0


async def test_a_failure_after_some_answers_says_which_version_it_was(shelf: Shelf) -> None:
    shelf.put("m", 7, Counting(InvalidArgument("odd")))
    answers = ask(shelf, Asked(2))
    assert await anext(answers)
    assert await anext(answers)
    with pytest.raises(InvalidArgument, match="odd") as raised:
        await anext(answers)
    assert raised.value.version == 7
    assert shelf.in_flight() == 0


async def test_what_is_not_there_is_said_at_the_first_step(shelf: Shelf) -> None:
    with pytest.raises(NotFound):
        await anext(ask(shelf, Asked(2)))


async def test_the_time_there_is_goes_to_the_run(shelf: Shelf) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    await all_of(ask(shelf, Asked(2), timeout_s=3.0))
    assert model.timeouts == [3.0]
    with pytest.raises(DeadlineExceeded):
        await anext(ask(shelf, Asked(2), timeout_s=0.0, is_deadline=True))
