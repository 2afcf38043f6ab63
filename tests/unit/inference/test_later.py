import asyncio
import gc
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

from salver.inference.later import Later
from salver.transport.messages import HttpResponse

RESPONSE = HttpResponse(200, b"there")


class GivenUp:
    """Counts how often the work was given up."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


async def waits_for(future: "asyncio.Future[HttpResponse]") -> HttpResponse:
    return await future


async def answers() -> HttpResponse:
    await asyncio.sleep(0)
    return RESPONSE


async def test_it_answers_as_its_coroutine_does() -> None:
    given_up = GivenUp()
    assert await Later(answers(), given_up) is RESPONSE
    assert await asyncio.ensure_future(Later(answers(), given_up)) is RESPONSE
    assert given_up.times == 0


async def test_it_is_a_coroutine() -> None:
    later = Later(answers(), GivenUp())
    assert isinstance(later, Coroutine)
    assert asyncio.iscoroutine(later)
    later.close()


async def test_closed_before_it_began_it_gives_up_and_leaves_no_coroutine_behind() -> None:
    given_up = GivenUp()
    Later(answers(), given_up).close()
    assert given_up.times == 1


async def test_a_task_cancelled_before_its_first_step_gives_up() -> None:
    given_up = GivenUp()
    task = asyncio.ensure_future(Later(answers(), given_up))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert given_up.times == 1


async def test_a_task_cancelled_while_it_waits_gives_up() -> None:
    given_up = GivenUp()
    future: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(Later(waits_for(future), given_up))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (future.cancelled(), given_up.times) == (True, 1)


async def test_what_is_thrown_in_and_caught_gives_nothing_up() -> None:
    async def steadfast() -> HttpResponse:
        try:
            await asyncio.sleep(0)
        except ValueError:
            await asyncio.sleep(0)
        return RESPONSE

    given_up = GivenUp()
    later: Any = Later(steadfast(), given_up)
    later.send(None)
    later.throw(ValueError())
    assert given_up.times == 0
    with pytest.raises(StopIteration):
        later.send(None)


async def test_what_a_cancelled_task_held_goes_with_it() -> None:
    class Held(list[int]):
        pass

    kept: list[weakref.ref[Held]] = []

    async def waits() -> HttpResponse:
        held = Held(range(23))
        kept.append(weakref.ref(held))
        await asyncio.Event().wait()
        raise AssertionError(held)

    gc.disable()
    try:
        task = asyncio.ensure_future(Later(Later(waits(), GivenUp()), GivenUp()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        del task
        assert kept[0]() is None
    finally:
        gc.enable()
