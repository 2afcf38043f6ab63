import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from salver.access.priority import in_batch
from salver.errors import NotFound
from salver.vocabulary.access import Priority, current_priority


async def test_a_request_is_batch_work_from_its_beginning_to_its_end() -> None:
    seen: list[Priority] = []
    goes_on = asyncio.Event()

    async def later() -> str:
        seen.append(current_priority.get())
        await goes_on.wait()
        seen.append(current_priority.get())
        return "done"

    def proceed() -> "str | Coroutine[Any, Any, str]":
        seen.append(current_priority.get())
        return later()

    answer = in_batch(proceed)
    assert isinstance(answer, Coroutine)
    task = asyncio.ensure_future(answer)
    assert current_priority.get() is Priority.INTERACTIVE
    await asyncio.sleep(0)
    assert current_priority.get() is Priority.INTERACTIVE
    goes_on.set()
    assert await task == "done"
    assert seen == [Priority.BATCH] * 3


async def test_who_waits_for_an_answer_itself_has_its_own_priority_again() -> None:
    async def later() -> str:
        return "done"

    def proceed() -> "str | Coroutine[Any, Any, str]":
        return later()

    answer = in_batch(proceed)
    assert isinstance(answer, Coroutine)
    assert await answer == "done"
    assert current_priority.get() is Priority.INTERACTIVE


def test_an_answer_that_is_there_at_once_is_given_as_it_is() -> None:
    assert in_batch(lambda: "done") == "done"
    assert current_priority.get() is Priority.INTERACTIVE


def test_a_request_that_fails_leaves_nothing_behind() -> None:
    def fail() -> str:
        raise NotFound("no")

    with pytest.raises(NotFound):
        in_batch(fail)
    assert current_priority.get() is Priority.INTERACTIVE


async def test_an_answer_that_is_given_up_by_somebody_else_is_closed() -> None:
    closed: list[bool] = []

    async def later() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)
        return ""

    def proceed() -> "str | Coroutine[Any, Any, str]":
        return later()

    answer = in_batch(proceed)
    assert isinstance(answer, Coroutine)
    task = asyncio.ensure_future(answer)
    await asyncio.sleep(0)
    answer.close()
    assert closed == [True]
    task.cancel()
    await asyncio.wait([task])
