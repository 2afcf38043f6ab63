import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from salver.config.monitoring import MonitoringConfig
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import Code
from salver.metrics.history import History
from salver.metrics.registry import Metrics
from salver.server.history import Recorder, is_history_kept, make_history

SHOWN = ServerOptions(enable_playground=True, model_base_path="/m", model_name="m")


async def at_once(call: Callable[[], Any]) -> Any:
    return call()


@pytest.mark.parametrize(
    ("options", "is_kept"),
    [
        (SHOWN, True),
        (replace(SHOWN, enable_playground=False), False),
        (replace(SHOWN, dashboard_history_seconds=0), False),
        (replace(SHOWN, dashboard_history_seconds=-1), False),
    ],
)
def test_the_past_is_kept_where_there_is_a_page_to_show_it(
    options: ServerOptions, is_kept: bool
) -> None:
    configuration = read_configuration(options, None)
    assert is_history_kept(configuration) is is_kept
    assert (make_history(configuration) is not None) is is_kept
    without = replace(configuration, monitoring=MonitoringConfig(()))
    assert not is_history_kept(without)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_steps_are_recorded_until_it_is_stopped() -> None:
    clock, metrics, history = Clock(), Metrics(lambda _: True), History(60, 0.0)
    history.step_s = 0.001
    recorded = asyncio.Event()

    async def run(call: Callable[[], Any]) -> None:
        clock.now_s += 5.0
        call()
        if clock.now_s >= 15.0:
            recorder.stop()
            recorded.set()

    metrics.outcomes.failed("m", Code.INTERNAL, entrypoint="REST", version=1)
    recorder = Recorder(history, metrics, run, clock=clock)
    recorder.start()
    await asyncio.wait_for(recorded.wait(), 10)
    document = json.loads(recorder.draw()())
    assert [step["to"] for step in document["steps"]] == [5.0, 10.0, 15.0, 15.0]
    assert document["totals"] == [["m", 1, 1]]
    assert document["steps"][0]["versions"][0][:2] == ["m", "1"]
    assert document["steps"][0]["memory"] > 0


async def test_what_is_counted_since_the_last_step_is_told_too() -> None:
    clock, metrics = Clock(), Metrics(lambda _: True)
    recorder = Recorder(History(60, 0.0), metrics, at_once, clock=clock)
    metrics.outcomes.failed("m", Code.INTERNAL, entrypoint="REST")
    clock.now_s = 2.0
    (step,) = json.loads(recorder.draw()())["steps"]
    assert (step["from"], step["to"], len(step["versions"])) == (0.0, 2.0, 1)
    recorder.stop()
