import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from tests.routers import router_of
from tests.shelf import HALF_PLUS_TWO, FunctionModel, Shelf, response_of

from salver.errors import Unavailable
from salver.inference.traced import stepped
from salver.inference.wait_for_load import wait_for_load
from salver.lifecycle.placeholders import Claim, NotLoaded
from salver.protocols.traced import TracedHandler
from salver.scheduling.run_pool import RunPool
from salver.tracing.request import RequestTrace
from salver.tracing.sampling import Sampling
from salver.tracing.stages import stages_of
from salver.tracing.tracer import Tracer
from salver.transport.messages import Headers, HttpRequest, HttpResponse
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId


class Sink:
    def __init__(self) -> None:
        self.taken: list[RequestTrace] = []

    def put(self, trace: RequestTrace) -> None:
        self.taken.append(trace)


class Served:
    """Models over REST, with notes taken."""

    def __init__(self, pool: RunPool, tracer: Tracer, sink: Sink) -> None:
        self.shelf = Shelf(pool)
        self.sink = sink
        self.tracer = tracer
        router = router_of(self.shelf, in_pool=self.shelf.in_pool, tracer=tracer)
        self.handler = TracedHandler(router, tracer)

    async def predict(self, body: bytes = b'{"instances": [1.0, 2.0]}') -> HttpResponse:
        request = HttpRequest("POST", "/v1/models/m:predict", Headers(), body)
        return await response_of(self.handler(request))

    def stages(self) -> list[str]:
        return [stage.name for stage in stages_of(self.sink.taken[-1])]


@pytest.fixture
def served() -> Any:
    sink = Sink()
    tracer = Tracer(sampling=Sampling(1.0), sink=sink)
    pool = RunPool(1, tracer=tracer)
    yield Served(pool, tracer, sink)
    pool.close()


async def test_a_run_in_the_loop_is_noted(served: Served) -> None:
    served.shelf.put("m", 7, HALF_PLUS_TWO, is_inline=True)
    answer = await served.predict()
    assert answer.status == 200
    (trace,) = served.sink.taken
    assert (trace.model, trace.version) == ("m", 7)
    assert served.stages()[-3:] == ["read", "run", "write"]
    assert served.tracer.current is None


async def test_a_run_in_the_pool_is_noted_with_its_time_in_the_queue(served: Served) -> None:
    served.shelf.put("m", 7, HALF_PLUS_TWO, is_inline=False)
    answer = await served.predict()
    assert answer.status == 200
    assert served.stages()[-4:] == ["read", "queue", "run", "write"]
    trace = served.sink.taken[-1]
    moments = [trace.begun_s, trace.read_s, trace.run_s, trace.taken_s, trace.encode_s]
    assert moments == sorted(moments)
    assert trace.encode_s <= trace.ended_s


async def test_a_body_that_is_read_in_the_pool_is_noted_too(served: Served) -> None:
    served.shelf.put("m", 7, HALF_PLUS_TWO, is_inline=False)
    body = b'{"instances": [%b]}' % b",".join([b"1.0"] * 200_000)
    assert (await served.predict(body)).status == 200
    assert served.stages()[-3:] == ["queue", "run", "write"]
    assert served.sink.taken[-1].version == 7


async def test_a_run_that_fails_is_noted_as_far_as_it_came(served: Served) -> None:
    def fail(*_feeds: Any) -> Any:
        raise Unavailable("broken")

    of, _ = HALF_PLUS_TWO.functions["serving_default"]
    served.shelf.put("m", 7, FunctionModel({"serving_default": (of, fail)}), is_inline=False)
    assert (await served.predict()).status == 503
    trace = served.sink.taken[-1]
    assert trace.is_failure
    assert served.stages()[-1] == "run"


async def test_requests_at_the_same_time_are_told_apart(served: Served) -> None:
    served.shelf.put("m", 7, HALF_PLUS_TWO, is_inline=False)
    answers = await asyncio.gather(*(served.predict() for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({trace.trace_id for trace in served.sink.taken}) == 20
    for trace in served.sink.taken:
        assert trace.version == 7
        assert 0 < trace.taken_s <= trace.encode_s


async def test_a_sampled_answer_is_an_example_of_those_that_take_as_long(served: Served) -> None:
    for is_inline in (True, False):
        served.shelf.put("m", 7 + is_inline, HALF_PLUS_TWO, is_inline=is_inline)
        await served.predict()
        readings = served.shelf.metrics._meters.read()
        found = {exemplar.trace_id for exemplar in readings.exemplars.values()}
        assert served.sink.taken[-1].trace_id in found  # the later of two that took as long
        assert found <= {trace.trace_id for trace in served.sink.taken}


async def test_each_step_of_a_coroutine_is_for_its_request() -> None:
    tracer, trace = Tracer(), RequestTrace()
    seen: list[object] = []

    async def work() -> str:
        for _ in range(3):
            seen.append(tracer.current)
            await asyncio.sleep(0)
            assert tracer.current is trace
        return "done"

    async def others() -> None:
        for _ in range(6):
            assert tracer.current is None
            await asyncio.sleep(0)

    answer, _ = await asyncio.gather(stepped(tracer, trace, work()), others())
    assert answer == "done"
    assert seen == [trace] * 3


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()])
async def test_what_is_thrown_into_a_coroutine_reaches_it(error: BaseException) -> None:
    tracer, trace = Tracer(), RequestTrace()
    waiting = asyncio.get_running_loop().create_future()
    seen: list[BaseException] = []

    async def work() -> None:
        try:
            await waiting
        except BaseException as thrown:
            assert tracer.current is trace
            seen.append(thrown)
            raise

    task = asyncio.ensure_future(stepped(tracer, trace, work()))
    await asyncio.sleep(0)
    if isinstance(error, asyncio.CancelledError):
        task.cancel()
    else:
        waiting.set_exception(error)
    with pytest.raises(type(error)):
        await task
    assert [type(each) for each in seen] == [type(error)]
    assert tracer.current is None


async def test_a_coroutine_that_is_given_up_is_closed() -> None:
    closed: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    begun = stepped(Tracer(), RequestTrace(), work())
    begun.send(None)
    begun.close()
    assert closed == [True]


async def test_the_wait_for_a_model_that_is_not_loaded_is_noted() -> None:
    sink = Sink()
    tracer = Tracer(sampling=Sampling(1.0), sink=sink, has_lazy_models=True)
    pool = RunPool(1, tracer=tracer)
    shelf = Shelf(pool)
    shelf.put("m", 7, HALF_PLUS_TWO)
    loading: Future[None] = Future()
    placeholder: Any = SimpleNamespace(
        id=ServableId("m", 7), info=None, claim=lambda: Claim(loading, lambda: None)
    )
    missing = [NotLoaded(placeholder)]

    class Late:
        """Has the model at the second look."""

        def __getattr__(self, name: str) -> Any:
            return getattr(shelf, name)

        def acquire(self, request: ServableRequest) -> Any:
            if missing:
                raise missing.pop()
            return shelf.acquire(request)

    late: Any = Late()
    router = router_of(late, in_pool=shelf.in_pool, tracer=tracer, interceptors=(wait_for_load,))
    answer = TracedHandler(router, tracer)(
        HttpRequest("POST", "/v1/models/m:predict", Headers(), b'{"instances": [1.0]}')
    )
    waiting = asyncio.ensure_future(response_of(answer))
    await asyncio.sleep(0)
    loading.set_result(None)
    assert (await waiting).status == 200
    assert [stage.name for stage in stages_of(sink.taken[0])][:2] == ["load", "read"]
    pool.close()
