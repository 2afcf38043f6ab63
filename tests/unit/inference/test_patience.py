import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from salver.errors import DataLoss, DeadlineExceeded
from salver.files import Footprint
from salver.inference.patience import patiently
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.lifecycle.seats import NotLoaded, Seat
from salver.servable import ServableId

WAIT_S = 10.0


class Model:
    def close(self) -> None:
        """There is nothing to give back."""


class One:
    """A version that loads when it is let."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.residency: Residency[Model] = Residency(
            ResidencyOptions(), clock=lambda: 0.0, look=lambda _path: Footprint(1, 1, 1, 1)
        )
        self.seat: Seat[Model] = self.residency.seat(ServableId("m", 1), "/m/1", self._load)

    def ask(self, left_s: float | None = None) -> str:
        self.seat.pin()
        self.seat.unpin()
        return f"answered, {left_s}"

    def not_loaded(self) -> NotLoaded:
        with pytest.raises(NotLoaded) as caught:
            self.seat.pin()
        return caught.value

    def _load(self) -> Model:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return Model()


@pytest.fixture
def one() -> Iterator[One]:
    one = One()
    yield one
    one.gate.set()
    assert one.residency.close(WAIT_S)


async def entered(one: One) -> None:
    assert await asyncio.get_running_loop().run_in_executor(None, one.entered.wait, WAIT_S)


async def test_who_is_patient_is_answered_when_the_model_is_there(one: One) -> None:
    answer = asyncio.ensure_future(patiently(one.not_loaded(), one.ask, None))
    await entered(one)
    assert not answer.done()
    one.gate.set()
    assert await asyncio.wait_for(answer, WAIT_S) == "answered, None"


async def test_an_answer_may_itself_come_later(one: One) -> None:
    async def ask() -> str:
        return one.ask()

    def ask_later(_left_s: float | None) -> Awaitable[str] | str:
        return ask()

    one.gate.set()
    assert await patiently(one.not_loaded(), ask_later, None) == "answered, None"


async def test_the_wait_is_part_of_the_time_there_is(one: One) -> None:
    one.gate.set()
    left: list[float | None] = []

    def ask(left_s: float | None) -> str:
        left.append(left_s)
        return one.ask()

    await patiently(one.not_loaded(), ask, 1000.0)
    assert left[0] is not None
    assert 0 < left[0] < 1000


async def test_a_deadline_ends_the_wait_but_not_the_load(one: One) -> None:
    missed = one.not_loaded()
    with pytest.raises(DeadlineExceeded) as caught:
        await patiently(missed, one.ask, 0.0)
    assert caught.value.message == (
        "Timed out waiting for servable {name: m version: 1} to be loaded"
    )
    one.gate.set()
    assert await patiently(missed, one.ask, None) == "answered, None"


async def test_a_load_that_fails_is_the_answer(one: One) -> None:
    one.error = DataLoss("it is damaged")
    one.gate.set()
    with pytest.raises(DataLoss, match="it is damaged"):
        await patiently(one.not_loaded(), one.ask, None)


async def test_one_who_leaves_takes_nothing_from_the_others(one: One) -> None:
    first = asyncio.ensure_future(patiently(one.not_loaded(), one.ask, None))
    second = asyncio.ensure_future(patiently(one.not_loaded(), one.ask, None))
    await entered(one)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    one.gate.set()
    assert await asyncio.wait_for(second, WAIT_S) == "answered, None"


async def test_one_who_finds_another_version_waits_once_more(one: One) -> None:
    other = One()
    asked: list[Callable[[float | None], str]] = [other.ask, other.ask]
    one.gate.set()
    other.gate.set()
    answer = await patiently(one.not_loaded(), lambda left_s: asked.pop()(left_s), None)
    assert answer == "answered, None"
    assert other.residency.close(WAIT_S)


def test_a_loop_that_has_ended_is_told_nothing(one: One) -> None:
    async def leave() -> None:
        waiting = asyncio.ensure_future(patiently(one.not_loaded(), one.ask, None))
        await entered(one)
        waiting.cancel()

    asyncio.run(leave())
    one.gate.set()
    with one.seat.claim() as claim:
        assert claim.loading.exception(WAIT_S) is None
