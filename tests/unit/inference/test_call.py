import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from tests.kept_logs import KeptLogger, KeptLogs
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
from salver.inference.call import LARGE_BYTES, Codec, Inference, InferenceRequest, IsActive
from salver.inference.context import PRINCIPAL
from salver.inference.logged import LoggedCall, Messages
from salver.inference.serving import Handle
from salver.scheduling.run_pool import RunPool
from salver.vocabulary.access import Principal, Role
from salver.vocabulary.requests import Array, ServableRequest, TakesLong

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


Encode = Callable[[list[Array]], bytes]
LARGE = b"x" * (LARGE_BYTES + 1)
USUAL = (np.ones(1, np.float32),)


class Asked(InferenceRequest[bytes]):
    """Asks one signature of the model m."""

    __slots__ = ("_encode", "_given", "_name")

    def __init__(
        self,
        name: str = "serving_default",
        encode: Encode = lambda outputs: b"%g" % outputs[0][0],
        feeds: Sequence[Array] = USUAL,
    ) -> None:
        super().__init__(ServableRequest("m"))
        self._name = name
        self._encode = encode
        self._given = list(feeds)

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        call = handle.model.call(self._name)
        assert call is not None
        self.runs(handle, call, self._given, ("predict", "REST"))
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        return self._encode(outputs)

    def logged(self, outputs: list[Array], answer: bytes, *, wants_bodies: bool) -> LoggedCall:
        return LoggedCall("predict", self.servable, 7, "", Messages(b"%d" % len(outputs), answer))


def ask(shelf: Shelf, request: InferenceRequest[bytes] | None = None, data: bytes = b"") -> Any:
    """Have a codec read `data` as `request`."""
    asked = request or Asked()
    return Inference(shelf, shelf.in_pool).answer([lambda *_: asked], data, None, LONG_S)


async def test_a_short_run_of_a_small_request_is_answered_at_once(
    shelf: Shelf, is_inline: bool
) -> None:
    answer = ask(shelf)
    assert isinstance(answer, Coroutine) is not is_inline
    assert await response_of(answer) == b"2.5"
    assert shelf.pooled == 0


async def test_large_outputs_are_encoded_in_the_pool(shelf: Shelf, is_inline: bool) -> None:
    answer = ask(shelf, Asked("inflate"))
    assert await response_of(answer) == b"1"
    assert shelf.pooled == 1


async def test_a_large_request_is_read_in_the_pool(shelf: Shelf, is_inline: bool) -> None:
    assert await ask(shelf, data=LARGE) == b"2.5"
    assert shelf.pooled == 1
    assert await ask(shelf, Asked("inflate"), LARGE) == b"1"
    assert shelf.pooled == 3


@pytest.mark.usefixtures("is_inline")
@pytest.mark.parametrize("name", ["serving_default", "inflate"])
async def test_an_answer_that_cannot_be_encoded_fails_and_holds_nothing(
    shelf: Shelf, name: str
) -> None:
    def refuse(outputs: list[Array]) -> bytes:
        raise InvalidArgument("not so")

    for data in (b"", LARGE):
        with pytest.raises(InvalidArgument, match=r"^not so$"):
            await response_of(ask(shelf, Asked(name, refuse), data))
    assert shelf.in_flight() == 0


async def test_at_its_time_a_queued_run_is_dropped(shelf: Shelf, gate: Gate) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    inference = Inference(shelf, shelf.in_pool)
    with pytest.raises(DeadlineExceeded, match=r"^Timed out waiting for notification$"):
        await response_of(inference.answer([lambda *_: Asked()], b"", None, 1e-3))
    assert shelf.in_flight() == 0


async def test_closed_before_anybody_waited_an_answer_drops_its_run(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    answer = ask(shelf)
    assert isinstance(answer, Coroutine)
    assert shelf.in_flight() == 1
    answer.close()
    await asyncio.sleep(0)
    assert shelf.in_flight() == 0


async def test_given_up_before_it_was_read_a_large_request_holds_nothing(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    await cancelled(asyncio.ensure_future(ask(shelf, data=LARGE)))
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


class Slow(Asked):
    """Takes its time to be decoded, in the pool."""

    def __init__(self) -> None:
        super().__init__()
        self.decoding, self.left = threading.Event(), threading.Event()

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        if is_active is None:
            raise TakesLong
        self.decoding.set()
        assert self.left.wait(LONG_S)
        assert not is_active()
        return super().decode(handle, is_active)


@pytest.mark.parametrize("data", [b"", LARGE], ids=["pinned in the loop", "pinned in the pool"])
async def test_given_up_while_it_is_decoded_a_request_holds_nothing(
    shelf: Shelf, data: bytes
) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    request = Slow()
    task = asyncio.ensure_future(ask(shelf, request, data))
    await asyncio.sleep(0)
    assert request.decoding.wait(LONG_S)
    await cancelled(task)
    assert shelf.in_flight() == 1  # the thread still looks at its signatures
    request.left.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_given_up_before_a_thread_has_it_a_pinned_request_holds_nothing(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    task = asyncio.ensure_future(ask(shelf, Slow()))
    await asyncio.sleep(0)
    assert shelf.in_flight() == 1
    await cancelled(task)
    assert shelf.in_flight() == 0
    never_begun = ask(shelf, Slow())
    assert shelf.in_flight() == 1
    never_begun.close()
    assert shelf.in_flight() == 0


async def test_given_up_once_it_is_read_a_large_request_holds_nothing(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    tasks: list[asyncio.Future[bytes]] = []

    async def read_and_leave(call: Callable[[], Any], size: int = 0) -> Any:
        # The result is there; the news of it reaches the request together with its end.
        call()
        tasks[0].cancel()
        await asyncio.sleep(0)

    answer = Inference(shelf, read_and_leave).answer([lambda *_: Asked()], LARGE, None, None)
    tasks.append(asyncio.ensure_future(response_of(answer)))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert shelf.in_flight() == 0


# -- codecs ----------------------------------------------------------------------------------------


class Counting(Shelf):
    """Counts how often a version is looked up."""

    lookups = 0

    def acquire(self, request: ServableRequest) -> Any:
        self.lookups += 1
        return super().acquire(request)


class Declining(Asked):
    """Finds out late that it is none for this codec."""

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        return False


@pytest.fixture
def counting() -> Iterator[Counting]:
    pool = RunPool(1)
    shelf = Counting(pool)
    shelf.put("m", 7, MODEL)
    yield shelf
    pool.close()


@pytest.mark.parametrize("data", [b"", LARGE], ids=["small", "large"])
async def test_a_version_is_looked_up_once_whatever_codecs_try(
    counting: Counting, data: bytes
) -> None:
    tried: list[str] = []

    def codec(name: str, request: Asked | None, *, takes_long: bool = False) -> Codec[bytes]:
        def read(_data: bytes, _context: Any, is_active: IsActive | None) -> Asked | None:
            tried.append(name)
            if takes_long and is_active is None:
                raise TakesLong
            return request

        return read

    codecs = [
        codec("not mine", None),
        codec("not mine after all", Declining()),
        codec("long", Asked(), takes_long=True),
    ]
    answer = Inference(counting, counting.in_pool).answer(codecs, data, None, LONG_S)
    assert await response_of(answer) == b"2.5"
    assert tried == ["not mine", "not mine after all", "long"] * (1 if data else 2)
    assert counting.lookups == 1
    assert counting.in_flight() == 0


class Refusing(Asked):
    """Does not fit the version."""

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        raise InvalidArgument("not for this one")


@pytest.mark.usefixtures("is_inline")
@pytest.mark.parametrize("data", [b"", LARGE], ids=["small", "large"])
async def test_a_request_that_does_not_fit_says_which_version(shelf: Shelf, data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await response_of(ask(shelf, Refusing(), data))
    assert caught.value.version == 7
    assert shelf.in_flight() == 0


async def test_the_time_of_a_call_is_for_all_of_it_where_it_is_a_deadline(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, MODEL)
    occupy(shelf.pool, gate)
    inference = Inference(shelf, shelf.in_pool, is_deadline=True)
    with pytest.raises(DeadlineExceeded, match=r"^Deadline Exceeded$"):
        await response_of(inference.answer([lambda *_: Asked()], LARGE, None, 1e-3))


# -- errors ----------------------------------------------------------------------------------------


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
        await response_of(ask(shelf, Asked(name, _refuse)))
    assert caught.value.version == 7


async def test_a_run_that_fails_is_set_against_its_signature(shelf: Shelf, is_inline: bool) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await response_of(ask(shelf, Asked("failing", feeds=[np.ones((1, 3), np.float32)])))
    assert caught.value.message == "no"
    assert (caught.value.hint or "").startswith("Input x is [1, 3], the signature says [-1]: ")
    with pytest.raises(InvalidArgument) as caught:
        await response_of(ask(shelf, Asked("failing")))
    assert caught.value.hint is None


class OfNothing(Asked):
    """Feeds nothing."""

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        super().decode(handle, is_active)
        self.feeds, self.start = [], _start_of_nothing
        return True


async def test_a_run_without_feeds_fails_without_a_hint(shelf: Shelf, is_inline: bool) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await response_of(ask(shelf, OfNothing()))
    assert caught.value.hint is None


async def test_many_strings_are_large_by_what_they_hold(shelf: Shelf, is_inline: bool) -> None:
    answer = ask(shelf, Asked("text", lambda _: b"done"))
    assert await response_of(answer) == b"done"
    assert shelf.pooled == 1


def counted(shelf: Shelf) -> int:
    lines = shelf.metrics.draw()().decode().splitlines()
    counts = [line for line in lines if line.startswith("salver_request_seconds_count{")]
    return sum(int(float(line.split()[-1])) for line in counts)


@pytest.mark.usefixtures("is_inline")
@pytest.mark.parametrize("name", ["serving_default", "inflate"])
async def test_an_answer_is_counted_and_logged_once(shelf: Shelf, name: str) -> None:
    logger = KeptLogger()
    inference = Inference(shelf, shelf.in_pool, KeptLogs({"m": logger}))
    answer = await response_of(inference.answer([lambda *_: Asked(name)], b"", None, LONG_S))
    assert [call.content for call in logger.calls] == [Messages(b"1", answer)]
    assert counted(shelf) == 1


@pytest.mark.usefixtures("is_inline")
async def test_a_failure_is_neither_counted_nor_logged(shelf: Shelf) -> None:
    logger = KeptLogger()
    inference = Inference(shelf, shelf.in_pool, KeptLogs({"m": logger}))
    with pytest.raises(InvalidArgument):
        await response_of(inference.answer([lambda *_: Asked("failing")], b"", None, LONG_S))
    assert (counted(shelf), logger.calls) == (0, [])


@pytest.mark.usefixtures("is_inline")
async def test_who_has_asked_is_logged_where_somebody_has_found_out(shelf: Shelf) -> None:
    logger = KeptLogger()
    inference = Inference(shelf, shelf.in_pool, KeptLogs({"m": logger}))
    for principal in (Principal("ada", "api_key", Role("r")), None):
        asked = PRINCIPAL.set(principal)
        await response_of(inference.answer([lambda *_: Asked()], b"", None, LONG_S))
        PRINCIPAL.reset(asked)
    assert [call.principal for call in logger.calls] == ["ada", None]


@pytest.mark.usefixtures("is_inline")
@pytest.mark.parametrize("loggers", [{"other": KeptLogger()}, {"m": KeptLogger(is_chosen=False)}])
async def test_a_call_that_is_not_sampled_is_not_logged(
    shelf: Shelf, loggers: dict[str, KeptLogger]
) -> None:
    inference = Inference(shelf, shelf.in_pool, KeptLogs(loggers))
    await response_of(inference.answer([lambda *_: Asked()], b"", None, LONG_S))
    assert not any(logger.calls for logger in loggers.values())


# -- clients that leave ----------------------------------------------------------------------------


class InParts(Asked):
    """Its encoder can be told to give up."""

    def __init__(self, encode: Callable[[list[Array], Callable[[], None]], bytes]) -> None:
        super().__init__("inflate")
        self.encode_in_parts = encode

    def encode_large(self, outputs: list[Array], check: Callable[[], None]) -> bytes:
        return self.encode_in_parts(outputs, check)


class Watched(bytearray):
    """What can be watched as it goes."""


async def give_up(task: "asyncio.Future[bytes]") -> None:
    """Cancel it, without keeping how it ended."""
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.usefixtures("is_inline")
async def test_given_up_while_it_is_encoded_an_answer_is_not_finished_and_nothing_is_kept(
    shelf: Shelf,
) -> None:
    encoding, left, ended = threading.Event(), threading.Event(), threading.Event()
    kept: list[weakref.ref[Any]] = []
    finished: list[None] = []

    def encode(outputs: list[Array], check: Callable[[], None]) -> bytes:
        text = Watched(b"so far")
        kept.extend((weakref.ref(outputs[0]), weakref.ref(text)))
        check()
        encoding.set()
        try:
            assert left.wait(LONG_S)
            check()
            finished.append(None)
        finally:
            ended.set()
        return bytes(text)

    gc.disable()
    try:
        task = asyncio.ensure_future(response_of(ask(shelf, InParts(encode))))
        assert await asyncio.to_thread(encoding.wait, LONG_S)
        await give_up(task)
        del task
        left.set()
        assert await asyncio.to_thread(ended.wait, LONG_S)
        await asyncio.to_thread(shelf.pool.close)
        assert finished == []
        assert [each() for each in kept] == [None, None]
    finally:
        gc.enable()


@pytest.mark.usefixtures("is_inline")
async def test_given_up_before_it_is_encoded_an_answer_s_outputs_do_not_wait_for_a_thread(
    shelf: Shelf,
) -> None:
    kept: list[weakref.ref[Any]] = []
    waiting: list[Callable[[], Any]] = []
    queued = asyncio.Event()

    async def never_in_pool(call: Callable[[], Any], size: int = 0) -> Any:
        waiting.append(call)
        queued.set()
        await asyncio.Event().wait()

    def grow(x: Array) -> list[Array]:
        grown = np.repeat(x, LARGE_BYTES)
        kept.append(weakref.ref(grown))
        return [grown]

    model = FunctionModel({"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), grow)})
    shelf.put("m", 8, model)
    gc.disable()
    try:
        task = asyncio.ensure_future(
            response_of(
                Inference(shelf, never_in_pool).answer([lambda *_: Asked()], b"", None, LONG_S)
            )
        )
        await queued.wait()
        await give_up(task)
        del task
        assert kept[0]() is None
        assert waiting[0]() is None  # a thread takes it up although nobody waits
    finally:
        gc.enable()
