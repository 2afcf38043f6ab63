import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.kept_logs import KeptLogger, KeptLogs
from tests.shelf import Shelf
from tests.streamed import Counting

from salver.errors import Internal, InvalidArgument, NotFound, Overloaded, ServingError
from salver.inference.call import Inference
from salver.inference.logged import Tensors
from salver.oip.rest.generate import GenerateCalls
from salver.transport.messages import HttpRequest, HttpResponse, StreamedResponse
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.requests import ServableRequest

Ask = Callable[..., Any]


class Failures:
    """What was told of failures."""

    def __init__(self) -> None:
        self.told: list[BaseException] = []

    def __call__(self, _request: HttpRequest, error: BaseException) -> HttpResponse:
        self.told.append(error)
        said = error.message if isinstance(error, ServingError) else "broken"
        return HttpResponse(418, json.dumps({"error": said}, indent=4).encode())  # as all errors


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def calls(shelf: Shelf, failures: Failures) -> GenerateCalls:
    return GenerateCalls(Inference(shelf, shelf.in_pool), failures)


def request_of(body: Any) -> HttpRequest:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = HttpRequest("POST", "/v2/models/m/generate", body=text)
    made.servable = ServableRequest("m")
    return made


async def events_of(response: HttpResponse) -> list[Any]:
    assert isinstance(response, StreamedResponse)
    parts = [each async for each in response.parts]
    assert all(part.startswith(b"data: ") and part.endswith(b"\n\n") for part in parts)
    assert not any(b"\n" in part[:-2] for part in parts)  # a line break ends the data
    return [json.loads(part[6:]) for part in parts]


async def test_each_answer_is_an_event(shelf: Shelf, calls: GenerateCalls) -> None:
    shelf.put("m", 7, Counting())
    response = await calls.generate_stream(request_of({"x": 3, "id": "r"}))
    assert (response.status, response.content_type) == (200, "text/event-stream; charset=utf-8")
    assert ("salver-model-version", "7") in {(k.lower(), v) for k, v in response.headers}
    assert await events_of(response) == [
        {"id": "r", "model_name": "m", "model_version": "7", "y": float(i), "z": 0.0}
        for i in range(3)
    ]
    assert shelf.in_flight() == 0


async def test_a_stream_may_be_batch_work(shelf: Shelf, calls: GenerateCalls) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    for priority in (0, 1, 2):
        body = {"x": 1, "parameters": {"priority": priority}}
        await events_of(await calls.generate_stream(request_of(body)))
    assert model.priorities == [Priority.INTERACTIVE, Priority.INTERACTIVE, Priority.BATCH]
    assert current_priority.get() is Priority.INTERACTIVE


async def test_a_model_that_answers_once_gives_one_event(
    shelf: Shelf, calls: GenerateCalls
) -> None:
    shelf.put("m", 7, Counting())
    body = {"x": [1, 2], "parameters": {"signature_name": "once", "temperature": 0.5}}
    response = await calls.generate_stream(request_of(body))
    assert await events_of(response) == [{"model_name": "m", "model_version": "7", "y": [1.0, 2.0]}]
    whole = await calls.generate(request_of(body))
    assert json.loads(whole.body)["y"] == [1.0, 2.0]
    assert whole.content_type == "application/json"


async def test_a_stream_may_be_empty(shelf: Shelf, calls: GenerateCalls) -> None:
    shelf.put("m", 7, Counting())
    response = await calls.generate_stream(request_of({"x": 0}))
    assert response.status == 200
    assert await events_of(response) == []


@pytest.mark.parametrize("count", [0, 2, 10**9])
async def test_generate_is_for_exactly_one_answer(
    shelf: Shelf, calls: GenerateCalls, count: int
) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    with pytest.raises(Internal, match="expects model to produce exactly 1 response") as raised:
        await calls.generate(request_of({"x": count}))
    assert raised.value.version == 7
    assert model.runs[0].is_closed
    assert shelf.in_flight() == 0
    assert json.loads((await calls.generate(request_of({"x": 1}))).body)["y"] == 0.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "failed to parse"),
        ({"y": 1}, "expected 1 inputs but got 0"),
        ({"x": "a"}, "Unable to parse 'x'"),
        ({"x": 1, "more": [1]}, "parameter 'more' has invalid type"),
        ({"x": 1, "more": None}, "parameter 'more' has invalid type"),
        ({"x": 1, "id": 3}, "Unable to parse 'id'"),
        ({"x": 1, "timeout": -3}, "Unable to parse 'timeout'"),
        ({"x": 1, "parameters": {"signature_name": "no"}}, "no"),
    ],
)
async def test_what_fails_before_the_model_is_begun_is_an_error_like_any_other(
    shelf: Shelf, calls: GenerateCalls, body: Any, said: str
) -> None:
    shelf.put("m", 7, Counting())
    for ask in (calls.generate, calls.generate_stream):
        with pytest.raises(InvalidArgument) as raised:
            await ask(request_of(body))
        assert said in raised.value.message
    assert shelf.in_flight() == 0


async def test_an_unknown_model_is_an_error_like_any_other(calls: GenerateCalls) -> None:
    with pytest.raises(NotFound):
        await calls.generate_stream(request_of({"x": 1}))


async def test_a_failure_after_some_answers_is_the_last_event(
    shelf: Shelf, calls: GenerateCalls, failures: Failures
) -> None:
    shelf.put("m", 7, Counting(InvalidArgument("odd")))
    response = await calls.generate_stream(request_of({"x": 2}))
    assert response.status == 200
    assert (await events_of(response))[1:] == [
        {"model_name": "m", "model_version": "7", "y": 1.0, "z": 0.0},
        {"error": "odd"},
    ]
    assert [str(each) for each in failures.told] == ["odd"]
    assert shelf.in_flight() == 0


async def test_a_failure_in_the_place_of_the_first_answer_is_an_event_with_its_status(
    shelf: Shelf, calls: GenerateCalls
) -> None:
    shelf.put("m", 7, Counting(InvalidArgument("odd")))
    response = await calls.generate_stream(request_of({"x": 0}))
    assert response.status == 418
    assert await events_of(response) == [{"error": "odd"}]
    with pytest.raises(InvalidArgument, match="odd"):
        await calls.generate(request_of({"x": 0}))


async def test_too_many_requests_are_an_error_like_any_other(
    shelf: Shelf, calls: GenerateCalls
) -> None:
    shelf.put("m", 7, Counting(Overloaded("full")))
    with pytest.raises(Overloaded):
        await calls.generate_stream(request_of({"x": 0}))


async def test_a_client_that_leaves_ends_the_run_and_is_told_of(
    shelf: Shelf, calls: GenerateCalls, failures: Failures
) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    response = await calls.generate_stream(request_of({"x": 10}))
    assert isinstance(response, StreamedResponse)
    await anext(response.parts)
    await response.parts.aclose()
    assert model.runs[0].is_closed
    assert shelf.in_flight() == 0
    assert [type(each) for each in failures.told] == [asyncio.CancelledError]


async def test_the_last_answer_is_logged_with_the_inputs(shelf: Shelf) -> None:
    shelf.put("m", 7, Counting())
    logger = KeptLogger()
    inference = Inference(shelf, shelf.in_pool, KeptLogs({"m": logger}))
    calls = GenerateCalls(inference, Failures())
    await events_of(await calls.generate_stream(request_of({"x": 3})))
    (call,) = logger.calls
    assert (call.servable.name, call.version) == ("m", 7)
    assert isinstance(call.content, Tensors)
    assert call.content.inputs["x"].tolist() == [3.0]
    assert {name: of.tolist() for name, of in call.content.outputs.items()} == {
        "y": [2.0], "z": [0.0]
    }  # fmt: skip


async def test_the_timeout_of_a_request_is_that_of_its_run(
    shelf: Shelf, calls: GenerateCalls
) -> None:
    model = Counting()
    shelf.put("m", 7, model)
    await calls.generate(request_of({"x": 1, "timeout": 2_000_000}))
    assert model.timeouts == [2.0]
