import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from tests.shelf import (
    FLOATS,
    FunctionModel,
    Gate,
    Shelf,
    cancelled,
    half_plus_two,
    occupy,
    response_of,
    signature,
)

from salver.errors import DeadlineExceeded, InvalidArgument
from salver.inference.running import LARGE_BYTES, Prepared, Running
from salver.requests import Array, ServableRequest

LONG_S = 30.0


def _fail(_x: Array) -> list[Array]:
    raise InvalidArgument("no")


MODEL = FunctionModel(
    {
        "serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), half_plus_two),
        "inflate": (
            signature({"small": FLOATS}, {"large": FLOATS}),
            lambda x: [np.repeat(x, LARGE_BYTES)],
        ),
        "failing": (signature({"x": FLOATS}, {"nothing": FLOATS}), _fail),
        "text": (
            signature({"x": FLOATS}, {"text": FLOATS}),
            lambda x: [np.array([b"a" * LARGE_BYTES, b"b"], object)],
        ),
    }
)


@pytest.fixture(params=[True, False], ids=["inline", "pooled"])
def is_inline(request: pytest.FixtureRequest, shelf: Shelf) -> bool:
    shelf.put("m", 7, MODEL, is_inline=request.param)
    return bool(request.param)


def prepared(
    shelf: Shelf,
    encode: Callable[[list[Array]], bytes] = lambda outputs: b"%g" % outputs[0][0],
    name: str = "serving_default",
) -> Prepared[bytes]:
    handle = shelf.acquire(ServableRequest("m"))
    call = handle.model.call(name)
    assert call is not None
    return Prepared(handle, call.start, [np.ones(1, np.float32)], encode)


async def test_a_short_run_of_a_small_request_is_answered_at_once(
    shelf: Shelf, is_inline: bool
) -> None:
    answer = Running(shelf.in_pool).small(prepared(shelf), LONG_S)
    assert isinstance(answer, Coroutine) is not is_inline
    assert await response_of(answer) == b"2.5"
    assert shelf.pooled == 0


async def test_large_outputs_are_encoded_in_the_pool(shelf: Shelf, is_inline: bool) -> None:
    answer = Running(shelf.in_pool).small(prepared(shelf, name="inflate"), LONG_S)
    assert await response_of(answer) == b"1"
    assert shelf.pooled == 1


async def test_a_large_request_is_prepared_in_the_pool(shelf: Shelf, is_inline: bool) -> None:
    running = Running(shelf.in_pool)
    assert await running.large(lambda: prepared(shelf), LONG_S) == b"2.5"
    assert shelf.pooled == 1
    assert await running.large(lambda: prepared(shelf, name="inflate"), LONG_S) == b"1"
    assert shelf.pooled == 3


@pytest.mark.usefixtures("is_inline")
@pytest.mark.parametrize("name", ["serving_default", "inflate"])
async def test_an_answer_that_cannot_be_encoded_fails_and_holds_nothing(
    shelf: Shelf, name: str
) -> None:
    def refuse(outputs: list[Array]) -> bytes:
        raise InvalidArgument("not so")

    running = Running(shelf.in_pool)
    with pytest.raises(InvalidArgument, match=r"^not so$"):
        await response_of(running.small(prepared(shelf, refuse, name), LONG_S))
    with pytest.raises(InvalidArgument, match=r"^not so$"):
        await running.large(lambda: prepared(shelf, refuse, name), LONG_S)


async def test_at_its_time_a_queued_run_is_dropped(shelf: Shelf, gate: Gate) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    with pytest.raises(DeadlineExceeded, match=r"^Timed out waiting for notification$"):
        await response_of(Running(shelf.in_pool).small(prepared(shelf), 1e-3))
    assert shelf.in_flight() == 0


async def test_closed_before_anybody_waited_an_answer_drops_its_run(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    answer = Running(shelf.in_pool).small(prepared(shelf), LONG_S)
    assert isinstance(answer, Coroutine)
    assert shelf.in_flight() == 1
    answer.close()
    await asyncio.sleep(0)
    assert shelf.in_flight() == 0


async def test_given_up_before_it_was_prepared_a_large_request_holds_nothing(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    running = Running(shelf.in_pool)
    await cancelled(asyncio.ensure_future(running.large(lambda: prepared(shelf), LONG_S)))
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_given_up_while_it_is_prepared_a_large_request_holds_nothing(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    preparing, left = threading.Event(), threading.Event()

    def prepare() -> Prepared[bytes]:
        preparing.set()
        assert left.wait(LONG_S)
        return prepared(shelf)

    task = asyncio.ensure_future(Running(shelf.in_pool).large(prepare, LONG_S))
    await asyncio.sleep(0)
    assert preparing.wait(LONG_S)
    await cancelled(task)
    left.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_given_up_once_it_is_prepared_a_large_request_holds_nothing(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    tasks: list[asyncio.Task[bytes]] = []

    async def prepare_and_leave(call: Callable[[], Any], size: int = 0) -> Any:
        # The result is there; the news of it reaches the request together with its end.
        call()
        tasks[0].cancel()
        await asyncio.sleep(0)

    running = Running(prepare_and_leave)
    tasks.append(asyncio.ensure_future(running.large(lambda: prepared(shelf), None)))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert shelf.in_flight() == 0


def _start_of_nothing(
    feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
) -> list[Array]:
    on_end()
    raise InvalidArgument(f"{len(feeds)} feeds within {timeout_s} s")


def _refuse(_outputs: list[Array]) -> bytes:
    raise InvalidArgument("not these")


@pytest.mark.parametrize("name", ["serving_default", "inflate", "failing"])
async def test_an_error_says_which_version_it_is_of(
    shelf: Shelf, is_inline: bool, name: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await response_of(Running(shelf.in_pool).small(prepared(shelf, _refuse, name), LONG_S))
    assert caught.value.version == 7


async def test_a_run_that_fails_is_set_against_its_signature(shelf: Shelf, is_inline: bool) -> None:
    request = prepared(shelf, name="failing")
    request.feeds = [np.ones((1, 3), np.float32)]
    with pytest.raises(InvalidArgument) as caught:
        await response_of(Running(shelf.in_pool).small(request, LONG_S))
    assert caught.value.message == "no"
    assert (caught.value.hint or "").startswith("Input x is [1, 3], the signature says [-1]: ")
    with pytest.raises(InvalidArgument) as caught:
        await response_of(Running(shelf.in_pool).small(prepared(shelf, name="failing"), LONG_S))
    assert caught.value.hint is None


async def test_a_run_without_feeds_fails_without_a_hint(shelf: Shelf, is_inline: bool) -> None:
    request = prepared(shelf, name="failing")
    request.feeds = []
    request.start = _start_of_nothing
    with pytest.raises(InvalidArgument) as caught:
        await response_of(Running(shelf.in_pool).small(request, LONG_S))
    assert caught.value.hint is None


async def test_many_strings_are_large_by_what_they_hold(shelf: Shelf, is_inline: bool) -> None:
    answer = Running(shelf.in_pool).small(prepared(shelf, lambda _: b"done", "text"), LONG_S)
    assert await response_of(answer) == b"done"
    assert shelf.pooled == 1


class Counted:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def succeeded(self, total_s: float, run_s: float) -> None:
        self.seen.append((total_s, run_s))


@pytest.mark.usefixtures("is_inline")
@pytest.mark.parametrize("name", ["serving_default", "inflate"])
async def test_an_answer_is_counted_and_shown_once(shelf: Shelf, name: str) -> None:
    meter, shown = Counted(), []
    request = prepared(shelf, name=name)
    request.meter, request.begun_s = meter, perf_counter()
    request.log = lambda outputs, answer: shown.append((outputs[0][0], answer))
    answer = await response_of(Running(shelf.in_pool).small(request, LONG_S))
    assert shown == [(float(answer), answer)]
    ((total_s, run_s),) = meter.seen
    assert 0 < run_s < total_s < LONG_S


@pytest.mark.usefixtures("is_inline")
async def test_a_failure_is_neither_counted_nor_shown(shelf: Shelf) -> None:
    meter, shown = Counted(), []
    request = prepared(shelf, name="failing")
    request.meter, request.log = meter, lambda outputs, answer: shown.append(answer)
    with pytest.raises(InvalidArgument):
        await response_of(Running(shelf.in_pool).small(request, LONG_S))
    assert (meter.seen, shown) == ([], [])
