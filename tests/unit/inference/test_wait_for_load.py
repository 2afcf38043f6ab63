import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from salver.errors import DataLoss, DeadlineExceeded, NotFound
from salver.inference.wait_for_load import wait_for_load
from salver.instruments.files import Footprint
from salver.lifecycle.placeholders import Placeholder
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.protocols.methods import Call
from salver.vocabulary.servable import ServableId

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
        self.placeholder: Placeholder[Model] = self.residency.add(
            ServableId("m", 1), "/m/1", self._load
        )

    def ask(self) -> str:
        self.placeholder.pin()
        self.placeholder.unpin()
        return "answered"

    async def ask_later(self) -> str:
        return self.ask()

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


def waiting(ask: Callable[[], Any], timeout_s: float | None = None) -> "asyncio.Future[str]":
    """What is answered by an endpoint whose model has to be waited for."""
    answer = wait_for_load(Call(timeout_s), ask)
    assert isinstance(answer, Coroutine)
    return asyncio.ensure_future(answer)


def kinds(one: One) -> tuple[Callable[[], Any], ...]:
    return one.ask, one.ask_later


async def test_a_request_is_answered_when_its_model_is_there(one: One) -> None:
    answers = [waiting(ask) for ask in kinds(one)]
    await entered(one)
    assert not any(answer.done() for answer in answers)
    one.gate.set()
    for answer in answers:
        assert await asyncio.wait_for(answer, WAIT_S) == "answered"


async def test_a_model_in_memory_is_asked_at_once(one: One) -> None:
    one.gate.set()
    await waiting(one.ask)
    assert wait_for_load(Call(), one.ask) == "answered"


async def test_what_fails_otherwise_fails_at_once() -> None:
    def ask() -> str:
        raise NotFound("no such model")

    async def ask_later() -> str:
        return ask()

    with pytest.raises(NotFound):
        wait_for_load(Call(), ask)
    with pytest.raises(NotFound):
        await waiting(ask_later)


async def test_the_run_has_the_time_that_the_wait_has_left(one: One) -> None:
    one.gate.set()
    call = Call(1000.0)
    left: list[float | None] = []

    def ask() -> str:
        left.append(call.timeout_s)
        return one.ask()

    answer = wait_for_load(call, ask)
    assert isinstance(answer, Coroutine)
    await answer
    first, second = left
    assert first == 1000.0
    assert second is not None
    assert 0 < second < 1000


async def test_without_a_deadline_the_time_stays_without_end(one: One) -> None:
    one.gate.set()
    call = Call()
    answer = wait_for_load(call, one.ask)
    assert isinstance(answer, Coroutine)
    await answer
    assert call.timeout_s is None


async def test_a_deadline_ends_the_wait_but_not_the_load(one: One) -> None:
    for ask in kinds(one):
        with pytest.raises(DeadlineExceeded) as caught:
            await waiting(ask, 0.0)
        assert caught.value.message == (
            "Timed out waiting for servable {name: m version: 1} to be loaded"
        )
    await entered(one)
    one.gate.set()
    assert await waiting(one.ask) == "answered"


async def test_a_load_that_fails_is_the_answer(one: One) -> None:
    one.error = DataLoss("it is damaged")
    one.gate.set()
    with pytest.raises(DataLoss, match="it is damaged"):
        await waiting(one.ask)


async def test_a_client_that_leaves_takes_nothing_from_the_others(one: One) -> None:
    first, second = waiting(one.ask), waiting(one.ask)
    await entered(one)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    one.gate.set()
    assert await asyncio.wait_for(second, WAIT_S) == "answered"


async def test_a_request_that_is_given_up_before_it_began_loads_nothing(one: One) -> None:
    for ask in kinds(one):
        answer = wait_for_load(Call(), ask)
        assert isinstance(answer, Coroutine)
        answer.close()
    assert not one.entered.is_set()


async def test_a_request_that_finds_another_version_waits_once_more(one: One) -> None:
    other = One()
    versions = [one.ask, other.ask, other.ask]
    one.gate.set()
    other.gate.set()
    assert await waiting(lambda: versions.pop(0)()) == "answered"
    assert other.residency.close(WAIT_S)


def test_a_loop_that_has_ended_is_notified_of_nothing(one: One) -> None:
    async def leave() -> None:
        answer = waiting(one.ask)
        await entered(one)
        answer.cancel()

    asyncio.run(leave())
    one.gate.set()
    with one.placeholder.claim() as claim:
        assert claim.loading.exception(WAIT_S) is None
