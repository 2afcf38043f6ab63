import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.shelf import FunctionModel, signature

from salver.backends.protocol import Capabilities
from salver.errors import DeadlineExceeded
from salver.inference.servable import Servable
from salver.management.obeying import cancelling, is_serial, obeying
from salver.scheduling.run_pool import RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array

X = (DataType.FLOAT32, (-1,))
FEEDS = [np.array([1.0], np.float32)]
WAIT_S = 10.0


def _model(function: Callable[[Array], Sequence[Array]]) -> FunctionModel:
    return FunctionModel({"serving_default": (signature({"x": X}, {"y": X}), function)})


def _same(x: Array) -> Sequence[Array]:
    return [x]


def test_a_model_that_may_be_run_anyhow_is_left_as_it_is() -> None:
    model = _model(_same)
    assert obeying(model, Capabilities(may_run_inline=True)) is model


@pytest.mark.parametrize(
    ("capabilities", "may_run_inline"),
    [
        (Capabilities(), False),
        (Capabilities(may_run_inline=True, parallel_runs=False), False),
        (Capabilities(may_run_inline=True, keeps_gil=True), True),
    ],
)
def test_what_may_not_run_in_the_loop_is_said_to_have_loops(
    capabilities: Capabilities, may_run_inline: bool
) -> None:
    model = obeying(_model(_same), capabilities)
    program = model.program("serving_default")
    assert program.can_loop is not may_run_inline
    for run in (program.run, program.run_in_caller, program.run_inline):
        assert run(FEEDS)[0].tolist() == [1.0]


class _Meeting:
    """A function that two threads are in at the same time, or not."""

    def __init__(self) -> None:
        self._entered = threading.Semaphore(0)
        self._within = 0
        self._lock = threading.Lock()
        self.most = 0

    def __call__(self, x: Array) -> Sequence[Array]:
        with self._lock:
            self._within += 1
            self.most = max(self.most, self._within)
        self._entered.release()
        met = self._entered.acquire(timeout=0.01) and self._entered.acquire(timeout=0.2)
        with self._lock:
            self._within -= 1
        if met:
            self._entered.release()
            self._entered.release()
        return [x]


@pytest.mark.parametrize(
    ("capabilities", "most"),
    [
        (Capabilities(), 2),
        (Capabilities(parallel_runs=False), 1),
        (Capabilities(keeps_gil=True), 1),
    ],
)
def test_runs_are_made_one_at_a_time_where_two_must_not_or_cannot(
    capabilities: Capabilities, most: int
) -> None:
    assert is_serial(capabilities) is (most == 1)
    meeting = _Meeting()
    model = obeying(_model(meeting), capabilities)
    programs = [model.program("serving_default") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(program.run, FEEDS) for program in programs]:
            run.result(WAIT_S)
    assert meeting.most == most


class _Cancellable(FunctionModel):
    """Waits until it is cancelled, if it is fed a negative number."""

    def cancel(self, feeds: Sequence[Array]) -> None:
        CANCELLED.append(feeds)
        LET_GO.set()


CANCELLED: list[Sequence[Array]] = []
LET_GO = threading.Event()


def _wait_if_negative(x: Array) -> Sequence[Array]:
    if x[0] < 0:
        assert LET_GO.wait(WAIT_S)
    return [x]


@pytest.mark.parametrize("how", ["deadline", "left"])
async def test_a_run_for_which_nobody_waits_any_more_is_cancelled(how: str) -> None:
    CANCELLED.clear()
    LET_GO.clear()
    model = _Cancellable({"serving_default": (signature({"x": X}, {"y": X}), _wait_if_negative)})
    pool = RunPool(2)
    runner = cancelling(lambda program, _names: MeasuredProgram(program, pool), model)
    call = Servable(model, runner).require_call("serving_default")
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        loop.call_soon_threadsafe(ended.set)

    answer = call.start(FEEDS, timeout_s=WAIT_S, on_end=lambda: None)
    assert isinstance(answer, asyncio.Future)
    assert (await answer)[0].tolist() == [1.0]
    assert CANCELLED == []
    feeds = [np.array([-1.0], np.float32)]
    answer = call.start(feeds, timeout_s=0.01 if how == "deadline" else None, on_end=on_end)
    assert isinstance(answer, asyncio.Future)
    if how == "deadline":
        with pytest.raises(DeadlineExceeded):
            await answer
    else:
        answer.cancel()
    await asyncio.wait_for(ended.wait(), WAIT_S)
    assert [given is feeds for given in CANCELLED] == [True]
    pool.close()
