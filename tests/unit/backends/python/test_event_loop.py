import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from salver.backends.python.event_loop import EventLoop

WAIT_S = 30.0


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop("test-loop")
    yield made
    made.close()


async def _answer() -> int:
    await asyncio.sleep(0)
    return 3


def test_a_coroutine_answers(loop: EventLoop) -> None:
    assert loop.start(_answer()).result(WAIT_S) == 3


def test_an_error_is_the_future_s(loop: EventLoop) -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.start(fail()).result(WAIT_S)


def test_a_cancelled_coroutine_ends_its_future(loop: EventLoop) -> None:
    has_begun, has_left = threading.Event(), threading.Event()

    async def wait() -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            has_left.set()

    run = loop.start(wait())
    assert has_begun.wait(WAIT_S)
    assert run.cancel()
    with pytest.raises(CancelledError):
        run.result(WAIT_S)
    assert has_left.is_set()


def test_a_coroutine_that_blocks_is_under_way_until_it_ends(loop: EventLoop) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    async def block() -> int:
        has_begun.set()
        may_end.wait(WAIT_S)
        return 5

    run = loop.start(block())
    assert has_begun.wait(WAIT_S)
    assert run.cancel()
    assert not run.done()
    may_end.set()
    assert run.result(WAIT_S) == 5


def test_a_task_that_exits_ends_no_other(loop: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        async def leaves() -> None:
            sys.exit(3)

        task = asyncio.get_running_loop().create_task(leaves())
        await asyncio.wait([task])
        assert isinstance(task.exception(), SystemExit)

    loop.start(leave()).result(WAIT_S)
    assert loop.start(_answer()).result(WAIT_S) == 3
    assert "wanted to end its thread" in caplog.text


def test_nothing_is_cancelled_in_a_loop_that_is_closed() -> None:
    loop = EventLoop("test-closed")
    run = loop.start(_answer())
    run.result(WAIT_S)
    loop.close()
    assert not run.cancel()
