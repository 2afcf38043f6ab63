import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from tests.shelf import HALF_PLUS_TWO, Shelf, response_of

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.errors import DeadlineExceeded, InvalidArgument
from salver.inference.call import LARGE_BYTES, Codec, Inference, IsActive
from salver.inference.serving import Handle
from salver.tfs.rpc.calls import MessageRequest, given_spec, room_for, servable_request
from salver.vocabulary.requests import Array, ServableRequest

LARGE = b"x" * (LARGE_BYTES + 1)


def test_a_spec_says_which_servable() -> None:
    assert servable_request(ModelSpec("m")) == ServableRequest("m")
    assert servable_request(ModelSpec("m", 0, None, "s")) == ServableRequest("m", version=0)
    assert servable_request(ModelSpec("m", None, "")) == ServableRequest("m", label="")


def test_a_spec_must_name_a_model() -> None:
    with pytest.raises(InvalidArgument, match=r"^ModelSpec has no name specified\.$"):
        servable_request(ModelSpec("", 1))


def test_a_request_must_have_a_spec() -> None:
    spec = ModelSpec("m")
    assert given_spec(spec) is spec
    with pytest.raises(InvalidArgument, match=r"^Missing ModelSpec$"):
        given_spec(None)


class Asked(MessageRequest):
    """Feeds the size of the message, of which so much more is made."""

    def __init__(self, data: bytes, made_bytes: int) -> None:
        super().__init__(ServableRequest("m"), ModelSpec("m"), data)
        self._made_bytes = made_bytes

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        room_for(self.data, is_active).make(self._made_bytes)
        call = handle.model.call("serving_default")
        assert call is not None
        feeds = [np.array([len(self.data)], np.float32)]
        self.runs(handle, call, feeds, ("predict", "GRPC"))
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        return b"%g" % outputs[0][0]


def reading(made_bytes: int = 0) -> list[Codec[bytes]]:
    return [lambda data, _context, _is_active: Asked(data, made_bytes)]


@pytest.mark.parametrize("timeout_s", [None, 10.0])
async def test_a_small_message_is_answered_at_once_and_a_large_one_in_the_pool(
    shelf: Shelf, timeout_s: float | None
) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    inference = Inference(shelf, shelf.in_pool, is_deadline=True)
    assert inference.answer(reading(), b"xx", None, timeout_s) == b"3"
    assert shelf.pooled == 0
    answer = inference.answer(reading(), LARGE, None, timeout_s)
    assert isinstance(answer, Coroutine)
    assert await answer == b"32770.5"
    assert shelf.pooled == 1


async def test_a_small_message_of_which_much_is_made_is_decoded_in_the_pool(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    inference = Inference(shelf, shelf.in_pool, is_deadline=True)
    assert inference.answer(reading(LARGE_BYTES), b"xx", None, 1.0) == b"3"
    assert shelf.pooled == 0
    answer = inference.answer(reading(LARGE_BYTES + 1), b"xx", None, 1.0)
    assert isinstance(answer, Coroutine)
    assert await answer == b"3"
    assert shelf.pooled == 1


@pytest.mark.parametrize("data", [b"", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_a_call_that_comes_too_late_is_not_read(
    shelf: Shelf, data: bytes, timeout_s: float
) -> None:
    def read(*_: object) -> Asked:
        raise AssertionError

    async def in_pool(_: Callable[[], Any], size: int = 0) -> Any:
        raise AssertionError

    with pytest.raises(DeadlineExceeded, match=r"^Deadline Exceeded$"):
        Inference(shelf, in_pool, is_deadline=True).answer([read], data, None, timeout_s)


async def test_a_large_message_that_waits_too_long_is_given_up(shelf: Shelf) -> None:
    given_up = asyncio.Event()

    async def in_pool(_: Callable[[], Any], size: int = 0) -> Any:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            given_up.set()

    answer = Inference(shelf, in_pool, is_deadline=True).answer(reading(), LARGE, None, 1e-3)
    with pytest.raises(DeadlineExceeded, match=r"^Deadline Exceeded$"):
        await response_of(answer)
    assert given_up.is_set()


async def test_an_answer_nobody_waits_for_leaves_nothing_behind(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    answer = Inference(shelf, shelf.in_pool, is_deadline=True).answer(reading(), LARGE, None, 1.0)
    assert isinstance(answer, Coroutine)
    answer.close()
    assert shelf.pooled == 0
