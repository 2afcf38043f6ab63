"""ModelStreamInfer in this process: several requests in one call."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.shelf import FLOATS, FunctionModel, Gate, Shelf, occupy, signature
from tests.streamed import Counting

from salver._pb import message_class
from salver.errors import InvalidArgument, NotFound, PermissionDenied, ServingError
from salver.inference.call import Inference
from salver.inference.context import RequestContext
from salver.oip.asking import OipRequest
from salver.oip.rpc.stream import MOST_AT_ONCE, ModelStream
from salver.protocols.forwarding import Elsewhere, Target
from salver.protocols.methods import Call
from salver.scheduling.run_pool import RunPool
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Need, Verb
from salver.vocabulary.requests import Array, ServableRequest

EMPTY_FINAL = "triton_enable_empty_final_response"


class FromClient(Call):
    """A call with metadata."""

    def __init__(self, timeout_s: float | None = None, **metadata: str) -> None:
        super().__init__(timeout_s)
        self._metadata = metadata

    def header(self, name: bytes) -> bytes | None:
        value = self._metadata.get(name.decode())
        return None if value is None else value.encode()


class Failed(list[tuple[bytes, BaseException]]):
    """What was told of failures."""

    def __call__(self, data: bytes, error: BaseException) -> None:
        self.append((data, error))


def request(x: float = 1, id: str = "", name: str = "m", **parameters: Any) -> bytes:
    made = message_class("inference.ModelInferRequest")(model_name=name, id=id)
    made.inputs.add(name="x", datatype="FP32", shape=[1])
    made.raw_input_contents.append(np.float32(x).tobytes())
    for key, value in parameters.items():
        kind = "bool_param" if isinstance(value, bool) else "string_param"
        setattr(made.parameters[key], kind, value)
    data: bytes = made.SerializeToString()
    return data


def response(data: bytes) -> Any:
    made = message_class("inference.ModelStreamInferResponse")()
    made.ParseFromString(data)
    return made


def shown(data: bytes) -> Any:
    """An answer as (id, y, whether it is the last), or (id, error, …)."""
    made = response(data)
    infer = made.infer_response
    is_final = infer.parameters["triton_final_response"].bool_param
    if made.error_message:
        return infer.id, made.error_message, is_final
    raw = [np.frombuffer(each, np.float32)[0] for each in infer.raw_output_contents]
    return infer.id, raw[0] if raw else None, is_final


async def sent(*requests: bytes) -> "AsyncGenerator[bytes, None]":
    for each in requests:
        yield each


@pytest.fixture
def failed() -> Failed:
    return Failed()


@pytest.fixture
def stream(shelf: Shelf, failed: Failed) -> ModelStream:
    return ModelStream(Inference(shelf, shelf.in_pool, is_deadline=True), failed=failed)


async def all_of(
    stream: ModelStream, requests: AsyncIterator[bytes], call: Call | None = None
) -> list[Any]:
    return [shown(each) async for each in stream(requests, call or FromClient())]


async def test_each_answer_says_whether_it_is_the_last(shelf: Shelf, stream: ModelStream) -> None:
    shelf.put("m", 7, Counting())
    assert await all_of(stream, sent(request(3, "a"))) == [
        ("a", 0.0, False), ("a", 1.0, False), ("a", 2.0, False)
    ]  # fmt: skip
    once = request(5, "b", signature_name="once")
    assert await all_of(stream, sent(once)) == [("b", 5.0, True)]
    assert shelf.in_flight() == 0


async def test_an_empty_last_answer_is_sent_where_it_is_wanted(
    shelf: Shelf, stream: ModelStream
) -> None:
    shelf.put("m", 7, Counting())
    wanted: dict[str, Any] = {EMPTY_FINAL: True}
    assert await all_of(stream, sent(request(1, "a", **wanted))) == [
        ("a", 0.0, False), ("a", None, True)
    ]  # fmt: skip
    assert await all_of(stream, sent(request(0, "a", **wanted))) == [("a", None, True)]
    assert await all_of(stream, sent(request(0, "a"))) == []
    once = request(5, "b", signature_name="once", **wanted)
    assert await all_of(stream, sent(once)) == [("b", 5.0, True)]
    (last,) = [each async for each in stream(sent(request(0, "a", **wanted)), FromClient())]
    assert response(last).infer_response.model_name == "m"


async def test_an_answer_has_all_that_one_of_modelinfer_has(
    shelf: Shelf, stream: ModelStream
) -> None:
    shelf.put("m", 7, Counting())
    (data,) = [each async for each in stream(sent(request(1, "a")), FromClient())]
    infer = response(data).infer_response
    assert (infer.model_name, infer.model_version, infer.id) == ("m", "7", "a")
    assert [(each.name, each.datatype, list(each.shape)) for each in infer.outputs] == [
        ("y", "FP32", [1]), ("z", "FP32", [1])
    ]  # fmt: skip


async def test_an_error_ends_its_request_and_not_the_call(
    shelf: Shelf, stream: ModelStream, failed: Failed
) -> None:
    shelf.put("m", 7, Counting(InvalidArgument("odd")))
    asked = [request(1, "a"), b"\xff", request(1, "c", name="no"), request(1, "d", name="")]
    once = request(5, "e", signature_name="once")
    found = await all_of(stream, sent(*asked, once))
    assert found[0] == ("a", 0.0, False)
    assert found[1] == ("a", "odd", True)
    assert [each[0] for each in found[2:]] == ["", "c", "d", "e"]
    assert all(each[2] for each in found[1:])
    assert found[-1] == ("e", 5.0, True)
    assert len(failed) == 4
    assert shelf.in_flight() == 0


class OneModel:
    """An interceptor that lets requests pass that name one model."""

    def __init__(self, name: str) -> None:
        self.seen: list[tuple[str | None, bytes | None, Need]] = []
        self._name = name

    def __call__(self, context: RequestContext, proceed: Callable[[], Any], /) -> Any:
        name = None if context.servable is None else context.servable.name
        self.seen.append((name, context.header(b"x-api-key"), context.need))
        if name != self._name:
            raise PermissionDenied("not this one")
        return proceed()


async def test_each_request_passes_the_interceptors_of_its_call(
    shelf: Shelf, stream: ModelStream, failed: Failed
) -> None:
    shelf.put("m", 7, Counting())
    shelf.put("secret", 7, Counting())
    call = FromClient(None, **{"x-api-key": "k"})
    call.need = Need(Verb.PREDICT)
    only = OneModel("m")
    call.interceptors = (only,)
    names = ("m", "secret")
    once = [request(n, str(n), name, signature_name="once") for n, name in enumerate(names, 1)]
    assert await all_of(stream, sent(*once, b"\xff"), call) == [
        ("1", 1.0, True), ("2", "not this one", True), ("", "not this one", True)
    ]  # fmt: skip
    need = Need(Verb.PREDICT)
    assert only.seen == [("m", b"k", need), ("secret", b"k", need), (None, b"k", need)]
    assert [data for data, _ in failed] == [once[1], b"\xff"]
    assert shelf.in_flight() == 0


async def test_an_error_ends_the_call_where_the_client_wants_that(stream: ModelStream) -> None:
    with pytest.raises(NotFound):
        await all_of(stream, sent(request(1)), FromClient(triton_grpc_error="true"))


class Late:
    """A model whose run waits."""

    def __init__(self, gate: Gate) -> None:
        function = (signature({"x": FLOATS}, {"y": FLOATS}), self._run)
        self.model = FunctionModel({"serving_default": function}, has_graph=False)
        self._gate = gate

    def _run(self, x: Any) -> list[Any]:
        if x[0] == 0:
            assert self._gate.let_go.wait(30)
        return [x]


async def test_single_answers_come_in_the_order_of_their_requests(
    shelf: Shelf, stream: ModelStream, gate: Gate
) -> None:
    shelf.put("late", 1, Late(gate).model, is_inline=False)
    shelf.put("m", 7, Counting())
    asked = [request(0, "a", "late"), request(1, "b", "no"), request(2, "c", "late"),
             request(1, "d")]  # fmt: skip
    answers = stream(sent(*asked), FromClient())
    assert shown(await anext(answers)) == ("d", 0.0, False)  # one of several waits for nobody
    gate.let_go.set()
    assert [shown(each)[0] async for each in answers] == ["a", "b", "c"]


async def test_a_client_that_leaves_ends_all_runs(shelf: Shelf, stream: ModelStream) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    answers = stream(sent(*[request(10**9, str(n)) for n in range(3)]), FromClient())
    for _ in range(9):
        await anext(answers)
    await answers.aclose()
    assert [run.is_closed for run in model.runs] == [True] * 3
    assert shelf.in_flight() == 0


async def test_nothing_is_made_while_the_client_does_not_read(
    shelf: Shelf, stream: ModelStream
) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    answers = stream(sent(request(10**9)), FromClient())
    await anext(answers)
    for _ in range(100):
        await asyncio.sleep(0)
    assert model.runs[0].taken < 30
    await answers.aclose()


async def test_a_bounded_number_of_requests_is_worked_on(
    shelf: Shelf, stream: ModelStream, gate: Gate
) -> None:
    shelf.put("late", 1, Late(gate).model, is_inline=False)
    read = 0

    async def requests() -> "AsyncGenerator[bytes, None]":
        nonlocal read
        for number in range(5 * MOST_AT_ONCE):
            read += 1
            yield request(0 if number == 0 else 1, str(number), "late")

    answers = stream(requests(), FromClient())
    first = asyncio.ensure_future(anext(answers))
    occupy(shelf.pool, gate)
    for _ in range(500):
        await asyncio.sleep(0)
    assert read <= MOST_AT_ONCE + 2
    gate.let_go.set()
    found = [shown(await first)[0], *[shown(each)[0] async for each in answers]]
    assert found == [str(number) for number in range(5 * MOST_AT_ONCE)]


class Breaking(Counting):
    """Fails as no model may."""

    def _answers(self, *_: object) -> Iterator[list[Array] | ServingError]:
        for _each in range(1):
            raise RuntimeError("broken")
        yield []


async def test_what_fails_where_it_should_not_is_an_answer_too(
    shelf: Shelf, stream: ModelStream
) -> None:
    shelf.put("m", 7, Breaking())
    assert await all_of(stream, sent(request(1, "a"))) == [("a", "Internal error: broken", True)]


async def test_nothing_is_kept_of_what_is_over(shelf: Shelf, stream: ModelStream) -> None:
    shelf.put("m", 7, Counting())
    await all_of(stream, sent(*[request(2, str(n)) for n in range(20)]))
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, OipRequest)] == []


async def test_many_scores_of_an_answer_are_put_in_order_outside_the_loop(
    shelf: Shelf, stream: ModelStream
) -> None:
    shelf.put("m", 7, Counting(size=1025))
    asked = message_class("inference.ModelInferRequest").FromString(request(2, "a"))
    wanted = asked.outputs.add(name="y")
    wanted.parameters["classification"].int64_param = 1
    found = [response(each) async for each in stream(sent(asked.SerializeToString()), Call())]
    texts = [each.infer_response.raw_output_contents[0] for each in found]
    assert texts == [1025 * (b"\n\0\0\0%d.000000:0" % number) for number in range(2)]
    assert shelf.pooled == 2
    assert shelf.in_flight() == 0


class Handing:
    """Hands requests for some models on to another stream, as another server would answer."""

    def __init__(self, there: ModelStream, before: str = "there", after: str = "moved") -> None:
        self.there = there
        self.before, self.after = before, after
        self.handed: list[bytes] = []

    def elsewhere(self, _context: RequestContext) -> tuple[Elsewhere, ...]:
        return ()

    def target_of(self, _context: RequestContext, servable: ServableRequest) -> Target | None:
        return Target(("n2",)) if servable.name == self.before else None

    def target_after(
        self, _context: RequestContext, servable: ServableRequest, error: ServingError
    ) -> Target | None:
        is_moved = servable.name == self.after and isinstance(error, NotFound)
        return Target(("n2",)) if is_moved else None

    async def rest(self, _request: HttpRequest, _target: Target) -> HttpResponse:
        raise AssertionError

    async def unary(self, _method: str, _data: bytes, _call: Call, _target: Target) -> bytes:
        raise AssertionError

    async def messages(
        self, method: str, data: bytes, call: Call, _target: Target
    ) -> "AsyncGenerator[bytes, None]":
        assert method == "/inference.GRPCInferenceService/ModelStreamInfer"
        self.handed.append(data)
        async for answer in self.there(sent(data), FromClient(call.timeout_s)):
            yield answer


@pytest.fixture
def there() -> Iterator[Shelf]:
    pool = RunPool(1)
    yield Shelf(pool)
    pool.close()


@pytest.fixture
def handing(there: Shelf, shelf: Shelf, failed: Failed) -> ModelStream:
    inference = Inference(there, there.in_pool, is_deadline=True)
    forwarder = Handing(ModelStream(inference))
    return ModelStream(
        Inference(shelf, shelf.in_pool, is_deadline=True), failed=failed, forwarder=forwarder
    )


async def test_each_request_of_a_stream_is_answered_where_its_model_is(
    shelf: Shelf, there: Shelf, handing: ModelStream
) -> None:
    shelf.put("m", 1, Counting())
    there.put("there", 1, Counting())
    there.put("moved", 1, Counting())
    once: dict[str, Any] = {"signature_name": "once"}
    answers = await all_of(
        handing,
        sent(
            request(1, "a", "there", **once),
            request(2, "b", "m", **once),
            request(3, "c", "moved", **once),
            request(4, "d", "there", **once),
            request(5, "e", "m", **once),
        ),
    )
    assert answers == [(name, y + 1.0, True) for y, name in enumerate("abcde")]


async def test_several_answers_from_there_come_as_they_are(
    there: Shelf, handing: ModelStream
) -> None:
    there.put("there", 1, Counting())
    assert await all_of(handing, sent(request(3, "a", "there"))) == [
        ("a", 0.0, False), ("a", 1.0, False), ("a", 2.0, False)
    ]  # fmt: skip


async def test_a_request_that_fails_there_fails_alone(
    shelf: Shelf, there: Shelf, handing: ModelStream
) -> None:
    shelf.put("m", 1, Counting())
    once: dict[str, Any] = {"signature_name": "once"}
    answers = await all_of(
        handing, sent(request(1, "a", "there", **once), request(2, "b", "m", **once))
    )
    assert answers[1] == ("b", 2.0, True)
    assert answers[0][0] == "a"
    assert "not found" in answers[0][1]
    assert answers[0][2] is True
