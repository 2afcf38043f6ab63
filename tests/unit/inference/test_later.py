import asyncio
import gc
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

from salver.inference.later import Later, begun
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


# What was begun at once.


async def test_a_coroutine_that_is_begun_has_taken_its_first_step() -> None:
    steps: list[int] = []
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        steps.append(1)
        made = await future
        steps.append(2)
        await asyncio.sleep(0)
        return made

    rest = begun(work())
    assert isinstance(rest, Coroutine)
    assert steps == [1]
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    future.set_result(7)
    assert await task == 7
    assert steps == [1, 2]


async def test_what_was_begun_may_be_awaited_by_a_coroutine() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        return await future

    async def outer(rest: Any) -> int:
        made: int = await rest
        return made + 1

    task = asyncio.ensure_future(outer(begun(work())))
    await asyncio.sleep(0)
    future.set_result(7)
    assert await task == 8


async def test_what_is_done_before_anybody_waits_is_not_missed() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        return await future

    rest: Any = begun(work())
    future.set_result(7)
    assert await asyncio.ensure_future(rest) == 7


async def test_what_ends_at_once_needs_no_task() -> None:
    async def work() -> int:
        return 7

    async def fail() -> int:
        raise ValueError("no")

    assert begun(work()) == 7
    with pytest.raises(ValueError, match="no"):
        begun(fail())


@pytest.mark.parametrize("is_started", [False, True])
async def test_what_was_begun_and_is_cancelled_ends_properly(is_started: bool) -> None:
    ended: list[BaseException] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException as error:
            ended.append(error)
            raise

    rest: Any = begun(work())
    task = asyncio.ensure_future(rest)
    if is_started:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(error) for error in ended] == [asyncio.CancelledError]
    other: Any = begun(work())
    other.close()
    assert type(ended[1]) is GeneratorExit
