from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Generator, Iterator

import pytest
from tests.shelf import response_of

from salver.errors import DeadlineExceeded, NotFound
from salver.files import Footprint
from salver.lifecycle.residency import Residency, ResidencyOptions
from salver.lifecycle.seats import Seat
from salver.rpc.patient import patient_methods
from salver.rpc.table import Call, Stream
from salver.servable import ServableId

WAIT_S = 10.0


class Model:
    def close(self) -> None:
        """There is nothing to give back."""


class Method:
    """Answers with what it was asked, when its model is in memory."""

    def __init__(self) -> None:
        self.residency: Residency[Model] = Residency(
            ResidencyOptions(), clock=lambda: 0.0, look=lambda _path: Footprint(1, 1, 1, 1)
        )
        self.seat: Seat[Model] = self.residency.seat(ServableId("m", 1), "/m/1", Model)
        self.timeouts: list[float | None] = []

    def at_once(self, data: bytes, call: Call) -> bytes:
        self.timeouts.append(call.timeout_s)
        if data == b"lost":
            raise NotFound("no such model")
        self.seat.pin()
        self.seat.unpin()
        return data

    async def later(self, data: bytes, call: Call) -> bytes:
        return self.at_once(data, call)

    def by_and_by(self, data: bytes, call: Call) -> Awaitable[bytes]:
        return _Plain(self.later(data, call))


class _Plain:
    """An awaitable that is no coroutine."""

    def __init__(self, inner: Awaitable[bytes]) -> None:
        self._inner = inner

    def __await__(self) -> Generator[object, None, bytes]:
        return self._inner.__await__()


@pytest.fixture
def method() -> Iterator[Method]:
    method = Method()
    yield method
    assert method.residency.close(WAIT_S)


@pytest.mark.parametrize("kind", ["at_once", "later", "by_and_by"])
async def test_a_call_waits_for_its_model(method: Method, kind: str) -> None:
    patient = patient_methods({"/m": getattr(method, kind)})["/m"]
    assert not isinstance(patient, Stream)
    assert await response_of(patient(b"data", Call(1000.0))) == b"data"
    assert await response_of(patient(b"again", Call())) == b"again"
    first, second, third = method.timeouts
    assert first == 1000.0
    assert second is not None
    assert second < 1000.0  # the wait is taken off
    assert third is None


async def test_a_model_in_memory_is_asked_at_once(method: Method) -> None:
    patient = patient_methods({"/m": method.at_once})["/m"]
    assert not isinstance(patient, Stream)
    await response_of(patient(b"data", Call()))
    assert patient(b"data", Call()) == b"data"


async def test_a_call_that_is_given_up_is_closed(method: Method) -> None:
    for kind in (method.at_once, method.later):
        patient = patient_methods({"/m": kind})["/m"]
        assert not isinstance(patient, Stream)
        answer = patient(b"data", Call())
        assert isinstance(answer, Coroutine)
        answer.close()
    assert not method.seat.is_in_memory


async def test_the_deadline_of_a_call_ends_the_wait(method: Method) -> None:
    patient = patient_methods({"/m": method.at_once})["/m"]
    assert not isinstance(patient, Stream)
    with pytest.raises(DeadlineExceeded):
        await response_of(patient(b"data", Call(0.0)))


async def test_what_fails_otherwise_fails(method: Method) -> None:
    table = patient_methods({"/a": method.at_once, "/b": method.later})
    for patient in table.values():
        assert not isinstance(patient, Stream)
        with pytest.raises(NotFound):
            await response_of(patient(b"lost", Call()))


def test_streams_stay_as_they_are() -> None:
    async def echo(requests: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        async for each in requests:
            yield each

    stream = Stream(echo)
    assert patient_methods({"/s": stream}) == {"/s": stream}
