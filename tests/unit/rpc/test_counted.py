import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine

import pytest
from tests.shelf import cancelled

from salver.codecs.model_spec import ModelSpec, encode_model_spec
from salver.codecs.wire import length_delimited
from salver.errors import Code, InvalidArgument, NotFound, ServingError
from salver.metrics.outcomes import Outcomes
from salver.rpc.counted import count_failures, named_model
from salver.rpc.table import Call, MethodTable, Stream

SERVICE = "/tensorflow.serving.PredictionService"
Method = Callable[[bytes, Call], "bytes | Awaitable[bytes]"]


def request(name: str) -> bytes:
    return length_delimited(1, encode_model_spec(ModelSpec(name, 3)))


def raising(error: Exception) -> Method:
    def method(_data: bytes, _call: Call) -> bytes:
        raise error

    return method


def raising_later(error: Exception) -> Method:
    async def method(_data: bytes, _call: Call) -> bytes:
        raise error

    return method


class Counted:
    """A table with one method, counted."""

    def __init__(self, method: Method, path: str = f"{SERVICE}/Predict") -> None:
        self.outcomes = Outcomes()
        found = count_failures({path: method}, self.outcomes)[path]
        assert not isinstance(found, Stream)
        self.method: Method = found

    @property
    def failures(self) -> dict[tuple[str, int | None, Code, str], int]:
        return self.outcomes.read().failures


@pytest.mark.parametrize("name", ["Predict", "Classify", "Regress"])
def test_an_error_at_once_is_counted_and_goes_on(name: str) -> None:
    counted = Counted(raising(NotFound("no")), f"{SERVICE}/{name}")
    with pytest.raises(NotFound):
        counted.method(request("m"), Call())
    assert counted.failures == {("m", None, Code.NOT_FOUND, "GRPC"): 1}


async def test_an_error_later_is_counted_with_the_version_that_failed() -> None:
    error = InvalidArgument("no")
    error.version = 7
    counted = Counted(raising_later(error))
    with pytest.raises(InvalidArgument):
        await counted.method(request("m"), Call())  # type: ignore[misc]
    assert counted.failures == {("m", 7, Code.INVALID_ARGUMENT, "GRPC"): 1}


async def test_a_fault_of_ours_is_internal() -> None:
    counted = Counted(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        counted.method(request("m"), Call())
    assert counted.failures == {("m", None, Code.INTERNAL, "GRPC"): 1}


async def test_no_memory_is_resource_exhausted() -> None:
    counted = Counted(raising_later(MemoryError()))
    with pytest.raises(MemoryError):
        await counted.method(request("m"), Call())  # type: ignore[misc]
    assert counted.failures == {("m", None, Code.RESOURCE_EXHAUSTED, "GRPC"): 1}


async def test_a_client_that_leaves_is_counted_as_cancelled() -> None:
    async def method(_data: bytes, _call: Call) -> bytes:
        await asyncio.Event().wait()
        return b""

    counted = Counted(method)
    answer = counted.method(request("m"), Call())
    assert isinstance(answer, Coroutine)
    await cancelled(asyncio.ensure_future(answer))
    assert counted.failures == {("m", None, Code.CANCELLED, "GRPC"): 1}


async def test_an_answer_that_is_given_up_before_it_began_is_closed() -> None:
    class Answer:
        closed = 0

        def __await__(self) -> object:
            raise AssertionError

        def close(self) -> None:
            self.closed += 1

    answer = Answer()
    counted = Counted(lambda _data, _call: answer)  # type: ignore[arg-type, return-value]
    made = counted.method(request("m"), Call())
    assert isinstance(made, Coroutine)
    made.close()
    assert answer.closed == 1


async def test_answers_pass_as_they_are() -> None:
    async def later(_data: bytes, _call: Call) -> bytes:
        return b"later"

    at_once, in_time = Counted(lambda _data, _call: b"at once"), Counted(later)
    assert at_once.method(request("m"), Call()) == b"at once"
    assert await in_time.method(request("m"), Call()) == b"later"  # type: ignore[misc]
    assert at_once.failures == in_time.failures == {}


async def test_a_future_is_awaited_too() -> None:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    future.set_result(b"x")
    counted = Counted(lambda _data, _call: future)
    made = counted.method(request("m"), Call())
    assert isinstance(made, Coroutine)
    assert await made == b"x"
    made.close()


def test_other_methods_are_left_alone() -> None:
    async def stream(_: AsyncIterator[bytes], __: Call) -> AsyncGenerator[bytes, None]:
        yield b""

    async def unary(_data: bytes, _call: Call) -> bytes:
        return b""

    table: MethodTable = {f"{SERVICE}/MultiInference": unary, "/x/Y": Stream(stream)}
    assert count_failures(table, Outcomes()) == table


def test_a_request_without_a_spec_names_no_model() -> None:
    assert named_model(b"") == ""
    assert named_model(length_delimited(2, b"an input")) == ""


def test_a_spec_in_two_parts_is_one() -> None:
    parts = length_delimited(1, encode_model_spec(ModelSpec("a")))
    assert named_model(parts + length_delimited(3, b"y") + request("m")) == "m"


@pytest.mark.parametrize(
    "field", [b"\x20\x96\x01", b"\x21" + bytes(8), b"\x25" + bytes(4), length_delimited(9, b"x")]
)
def test_fields_of_any_kind_are_passed_over(field: bytes) -> None:
    assert named_model(field + request("m") + field) == "m"


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x21\x00", length_delimited(1, b"\x0a\xff")]
)
def test_what_is_no_message_counts_nowhere(data: bytes) -> None:
    assert named_model(data) is None
    counted = Counted(raising(ServingError("no")))
    with pytest.raises(ServingError):
        counted.method(data, Call())
    assert counted.failures == {}
