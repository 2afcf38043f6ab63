import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from salver.errors import Internal
from salver.inference.multi import RunsTogether
from salver.vocabulary.requests import Array

ONE, TWO = np.ones(1), np.full(1, 2.0)


def now(
    feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
) -> list[Array]:
    on_end()
    return [*feeds, TWO]


def fails(
    feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
) -> list[Array]:
    on_end()
    raise Internal("it fails")


class Later:
    """A run that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = False

    def __call__(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "asyncio.Future[list[Array]]":
        self.begun = True
        self.on_end = on_end
        self.answer: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
        return self.answer


class Ends:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_runs_that_end_at_once_are_one_that_does(ends: Ends) -> None:
    run = RunsTogether([now, now])
    outputs = run.start([ONE, TWO], timeout_s=None, on_end=ends)
    assert outputs == [ONE, TWO, TWO, TWO]
    assert ends.count == 1


async def test_a_run_that_takes_longer_is_waited_for(ends: Ends) -> None:
    later = Later()
    answer = RunsTogether([later, now]).start([ONE, ONE], timeout_s=None, on_end=ends)
    assert not isinstance(answer, list)
    assert ends.count == 0
    later.on_end()
    assert ends.count == 1
    later.answer.set_result([TWO])
    assert await answer == [TWO, ONE, TWO]
    assert ends.count == 1


async def test_the_first_failure_is_the_answer_and_the_others_are_dropped(ends: Ends) -> None:
    first, second = Later(), Later()
    answer = RunsTogether([first, second]).start([ONE, ONE], timeout_s=None, on_end=ends)
    assert not isinstance(answer, list)
    first.answer.set_exception(Internal("it fails"))
    with pytest.raises(Internal, match="it fails"):
        await answer
    await asyncio.sleep(0)
    assert second.answer.cancelled()
    first.on_end()
    assert ends.count == 0
    second.on_end()
    assert ends.count == 1


async def test_whoever_leaves_drops_all_runs(ends: Ends) -> None:
    first, second = Later(), Later()
    answer = RunsTogether([first, second]).start([ONE, ONE], timeout_s=None, on_end=ends)
    assert not isinstance(answer, list)
    answer.cancel()
    await asyncio.sleep(0)
    assert first.answer.cancelled()
    assert second.answer.cancelled()


async def test_a_failure_at_once_drops_what_was_begun_and_begins_no_more(ends: Ends) -> None:
    first, third = Later(), Later()
    with pytest.raises(Internal, match="it fails"):
        RunsTogether([first, fails, third]).start([ONE] * 3, timeout_s=None, on_end=ends)
    assert first.answer.cancelled()
    assert not third.begun
    assert ends.count == 0  # the version is held until what was begun has ended
    first.on_end()
    assert ends.count == 1
