import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe
from typing import Any

import pytest

from salver.errors import Unavailable
from salver.metrics.registry import Metrics
from salver.workers.channel import Channel
from salver.workers.messages import Reading, Recall, Scrape
from salver.workers.reporting import MetricsReporter

WAIT_S = 10.0
COUNT = "/tensorflow/serving/request_count"
LINE = ':tensorflow:serving:request_count{model_name="m",status="OK"} '


class Supervisor:
    """The other end of the channel."""

    def __init__(self) -> None:
        mine, other = Pipe()
        self.heard: list[Any] = []
        self.readings: asyncio.Queue[Reading] = asyncio.Queue()
        self.answer: Callable[[], Any] = list
        self.loop = asyncio.get_running_loop()
        self.worker = Channel(other, lambda _: None, name="worker")
        self.channel = Channel(mine, self._hear, name="supervisor")
        self.worker.start()
        self.channel.start()

    def _hear(self, message: Any) -> Any:
        self.heard.append(message)
        if isinstance(message, Reading):
            self.loop.call_soon_threadsafe(self.readings.put_nowait, message)
            return None
        return self.answer()


@pytest.fixture
async def supervisor() -> Any:
    supervisor = Supervisor()
    yield supervisor
    supervisor.worker.close(WAIT_S)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda name: name == "m")


@pytest.fixture
async def counts(supervisor: Supervisor, metrics: Metrics) -> Any:
    counts = MetricsReporter(
        *(1, metrics, supervisor.worker, asyncio.get_running_loop()), accepted=lambda: 7
    )
    yield counts
    counts.stop()


async def drawn(counts: MetricsReporter) -> str:
    make = counts.draw()
    return (await asyncio.to_thread(make)).decode()


async def test_the_page_has_the_sums_of_all(
    counts: MetricsReporter, supervisor: Supervisor, metrics: Metrics
) -> None:
    metrics.outcomes.answered("m", 1e-6)
    supervisor.answer = lambda: [{COUNT: [(("m", "OK"), 4)]}, {COUNT: [(("m", "OK"), 2)]}]
    page = await drawn(counts)
    assert f"{LINE}7\n" in page
    assert 'salver_worker_accepted_connections_total{worker="1"} 7\n' in page
    (scrape,) = supervisor.heard
    assert isinstance(scrape, Scrape)
    assert scrape.reading.report[COUNT] == [(("m", "OK"), 1)]


async def test_the_past_is_asked_of_the_supervisor(
    counts: MetricsReporter, supervisor: Supervisor, metrics: Metrics
) -> None:
    metrics.outcomes.answered("m", 1e-6)
    supervisor.answer = lambda: b'{"steps": []}'
    assert await asyncio.to_thread(counts.draw_history()) == b'{"steps": []}'
    (recall,) = supervisor.heard
    assert isinstance(recall, Recall)
    assert recall.reading.report[COUNT] == [(("m", "OK"), 1)]


async def test_a_supervisor_that_does_not_answer_is_unavailable(
    counts: MetricsReporter, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.workers.reporting._OTHERS_S", 0.01)
    supervisor.answer = Future
    with pytest.raises(Unavailable, match="does not answer"):
        await asyncio.to_thread(counts.draw_history())


async def test_without_an_answer_the_others_count_as_they_did_the_last_time(
    counts: MetricsReporter, supervisor: Supervisor, metrics: Metrics
) -> None:
    supervisor.answer = lambda: [{COUNT: [(("m", "OK"), 4)]}]
    await drawn(counts)

    def refuse() -> None:
        raise Unavailable("it stops")

    supervisor.answer = refuse
    metrics.outcomes.answered("m", 1e-6)
    assert f"{LINE}5\n" in await drawn(counts)


async def test_readings_are_numbered_in_their_order(counts: MetricsReporter) -> None:
    taken: list[Future[Reading]] = [counts.take() for _ in range(3)]
    readings = [await asyncio.wrap_future(each) for each in taken]
    assert [reading.number for reading in readings] == [0, 1, 2]
    assert counts.read().number == 3


async def test_what_is_counted_is_told_by_itself(
    counts: MetricsReporter, supervisor: Supervisor, metrics: Metrics
) -> None:
    counts.start()
    metrics.outcomes.answered("m", 1e-6)
    reading = await asyncio.wait_for(supervisor.readings.get(), WAIT_S)
    assert reading.report[COUNT] == [(("m", "OK"), 1)]
    counts.noted()
    again = await asyncio.wait_for(supervisor.readings.get(), WAIT_S)
    assert again.number > reading.number
