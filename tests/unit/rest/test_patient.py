import json
from collections.abc import Callable, Iterator

import pytest
from tests.shelf import HALF_PLUS_TWO, InlineProgram, Shelf, response_of

from salver.batching.run_pool import RunPool
from salver.errors import DeadlineExceeded, NotFound
from salver.files import Footprint
from salver.inference.servable import Servable
from salver.lifecycle.handles import Entry
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.lifecycle.seats import Held, Seat
from salver.requests import ServableRequest
from salver.rest.calls import InferenceCalls
from salver.rest.patient import PatientCalls
from salver.servable import ServableId
from salver.transport.messages import HttpResponse

WAIT_S = 10.0
ID = ServableId("m", 1)
EXAMPLES = b'{"examples": [{"x": 1.0}]}'


class LazyShelf(Shelf):
    """One model that is loaded when it is asked for."""

    def put_lazily(self, residency: Residency[Servable]) -> None:
        seat = residency.seat(ID, "/m/1", lambda: Servable(HALF_PLUS_TWO, InlineProgram))
        self.entry: Entry[Seat[Servable]] = Entry(ID, seat)

    def acquire(self, request: ServableRequest) -> Entry[Servable]:
        if request.name != "m":
            raise NotFound("no such model")
        assert self.entry.try_acquire()
        return Held.of(self.entry)  # type: ignore[return-value]


@pytest.fixture
def residency() -> Iterator[Residency[Servable]]:
    residency: Residency[Servable] = Residency(
        ResidencyOptions(), clock=lambda: 0.0, look=lambda _path: Footprint(1, 1, 1, 1)
    )
    yield residency
    assert residency.close(WAIT_S)


@pytest.fixture
def make_calls(residency: Residency[Servable]) -> Iterator[Callable[..., PatientCalls]]:
    pool = RunPool(1)
    shelf = LazyShelf(pool)
    shelf.put_lazily(residency)

    def make(timeout_s: float | None = None) -> PatientCalls:
        return PatientCalls(shelf, in_pool=shelf.in_pool, timeout_s=timeout_s)

    yield make
    pool.close()


async def test_a_small_request_waits_for_its_model(
    make_calls: Callable[..., PatientCalls],
) -> None:
    calls = make_calls()
    first = calls.predict(b'{"instances": [1.0]}', ServableRequest("m"))
    assert not isinstance(first, HttpResponse)
    assert json.loads((await first).body) == {"predictions": [2.5]}
    again = await response_of(calls.predict(b'{"instances": [1.0]}', ServableRequest("m")))
    assert json.loads(again.body) == {"predictions": [2.5]}


async def test_a_large_request_waits_for_its_model(
    make_calls: Callable[..., PatientCalls],
) -> None:
    body = json.dumps({"instances": [1.0] * 20_000}).encode()
    later = make_calls().predict(body, ServableRequest("m"))
    assert not isinstance(later, HttpResponse)
    answer = await later
    assert json.loads(answer.body) == {"predictions": [2.5] * 20_000}


async def test_a_large_request_that_is_given_up_releases_all(
    make_calls: Callable[..., PatientCalls],
) -> None:
    body = json.dumps({"instances": [1.0] * 20_000}).encode()
    answer = make_calls().predict(body, ServableRequest("m"))
    assert not isinstance(answer, HttpResponse)
    answer.close()


@pytest.mark.parametrize("method", ["classify", "regress"])
async def test_the_other_calls_wait_too(
    make_calls: Callable[..., PatientCalls], method: str
) -> None:
    call = getattr(make_calls(), method)
    with pytest.raises(Exception, match="inputs found in SignatureDef") as caught:
        await response_of(call(EXAMPLES, ServableRequest("m")))
    assert "memory" not in str(caught.value)


async def test_the_wait_ends_when_the_time_of_a_request_is_over(
    make_calls: Callable[..., PatientCalls],
) -> None:
    with pytest.raises(DeadlineExceeded, match="to be loaded"):
        await response_of(make_calls(0.0).predict(b'{"instances": [1.0]}', ServableRequest("m")))


async def test_the_run_has_the_time_that_the_wait_has_left(
    make_calls: Callable[..., PatientCalls], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []
    predict = InferenceCalls.predict

    def noted(calls: InferenceCalls, body: bytes, servable: ServableRequest) -> object:
        limits.append(calls._timeout_s)
        return predict(calls, body, servable)

    monkeypatch.setattr(InferenceCalls, "predict", noted)
    calls = make_calls(WAIT_S)
    await response_of(calls.predict(b'{"instances": [1.0]}', ServableRequest("m")))
    first, second = limits
    assert first == WAIT_S
    assert second is not None
    assert 0.0 < second < WAIT_S
    assert calls._timeout_s == WAIT_S


async def test_what_fails_otherwise_fails_at_once(
    make_calls: Callable[..., PatientCalls],
) -> None:
    with pytest.raises(NotFound):
        make_calls().predict(b'{"instances": [1.0]}', ServableRequest("other"))
