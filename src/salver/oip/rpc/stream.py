"""ModelStreamInfer: many requests in one call, each with one answer or several.

Requests are worked on together, a bounded number of them. The answers of one are in order; those of
models that give one answer come in the order of their requests, as Triton sends them. An error is
an answer like any other, and ends nothing but its request, unless the client asks for that.

Source: Triton's `grpc/stream_infer_handler.cc`, and `docs/user_guide/decoupled_models.md`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from time import monotonic
from typing import Any, Final

from salver.codecs.oip.infer_message import InferMessage, decode_infer_request
from salver.codecs.oip.infer_response import encode_infer_response
from salver.codecs.oip.service_messages import leading_texts
from salver.codecs.protobuf.wire import length_delimited
from salver.errors import Internal, ServingError, drop_frames, out_of_memory
from salver.inference.call import Inference, IsActive
from salver.inference.context import Identity, intercepted
from salver.inference.wait_for_load import wait_for_load
from salver.oip.asked import AnsweredOutput
from salver.oip.asking import Labels, OipRequest
from salver.oip.rpc.counted import named_servable
from salver.oip.rpc.infer import METER_KEY, asked_of, servable_of
from salver.oip.rpc.service import SERVICE
from salver.oip.rpc.stream_messages import IS_FINAL, IS_NOT_FINAL, empty_response, text_fields
from salver.protocols.forwarding import Forwarder, Target
from salver.protocols.methods import Call
from salver.transport.messages import Headers

__all__ = ["MODEL_STREAM_INFER", "MOST_AT_ONCE", "ModelStream"]

_log = logging.getLogger(__name__)

MODEL_STREAM_INFER: Final = f"{SERVICE}/ModelStreamInfer"
MOST_AT_ONCE: Final = 64
"""Requests of one call that are worked on together; the next ones wait unread."""
_MOST_BYTES_AT_ONCE: Final = 64 << 20  # of their messages; one may always be
_MOST_UNSENT: Final = 16  # answers

_EMPTY_FINAL: Final = "triton_enable_empty_final_response"
_CLOSE_ON_ERROR: Final = b"triton_grpc_error"


class ModelStream:
    """Answers ModelStreamInfer. Belongs to the loop."""

    def __init__(
        self,
        inference: Inference,
        labels: Labels | None = None,
        failed: Callable[[bytes, BaseException], None] | None = None,
        forwarder: Forwarder | None = None,
    ) -> None:
        """Make it.

        Args:
            inference: answers the requests, by a deadline.
            labels: of classes; see `OipRequest`.
            failed: told of each request that fails, and its message.
            forwarder: hands on requests for models that are not here, each by itself; None: they
                are refused.
        """
        self.forwarder = forwarder
        self._inference = inference
        self._labels = labels
        self._failed = failed

    async def __call__(
        self, requests: AsyncIterator[bytes], call: Call
    ) -> "AsyncGenerator[bytes, None]":
        """Answer a call; see `StreamMethod`."""
        working = _Working(self, call)
        try:
            async for answer in working.answers(requests):
                yield answer
        finally:
            await working.close()

    def read(self, data: bytes, context: Any, is_active: IsActive | None) -> "_StreamedInfer":
        """The codec: reads any request, into the list that is its context."""
        del is_active
        made = _StreamedInfer(decode_infer_request(data), data, self._labels)
        context.append(made)
        return made

    def answers_to(
        self, data: bytes, read: "list[_StreamedInfer]", timeout_s: float | None
    ) -> "AsyncGenerator[bytes, None]":
        """All answers to one request, as responses without what says which is the last."""
        return self._inference.stream((self.read,), data, read, timeout_s)

    def target_of(self, call: Call, error: ServingError | None = None) -> Target | None:
        """Where a request is to be answered, after this error here if there was one; None: here.

        Raises:
            ServingError: see `Forwarder`.
        """
        if self.forwarder is None or (servable := call.servable) is None:
            return None
        if error is None:
            return self.forwarder.target_of(call, servable)
        return self.forwarder.target_after(call, servable, error)

    def tell(self, data: bytes, error: BaseException) -> None:
        """Tell whoever counts of a request that has failed."""
        if self._failed is not None:
            self._failed(data, error)


class _StreamedInfer(OipRequest[bytes]):
    """One request of a stream."""

    __slots__ = ("message",)

    meter_key = METER_KEY

    def __init__(self, message: InferMessage, data: bytes, labels: Labels | None) -> None:
        self.message = message
        servable = servable_of(message.model_name, message.model_version)
        super().__init__(servable, asked_of(message), data, labels)

    def write(self, outputs: Sequence[AnsweredOutput]) -> bytes:
        """See `OipRequest`."""
        return encode_infer_response(
            (self.servable.name, self.handle.id.version),
            self.asked.id,
            [(each.name, each.datatype, each.array) for each in outputs],
            is_raw=self.message.parameters.get("binary_data_output") is not False,
        )


class _MessageCall(Call):
    """One request of a stream, as interceptors see it."""

    __slots__ = ("_call",)

    def __init__(self, call: Call, data: bytes, timeout_s: float | None) -> None:
        super().__init__(timeout_s)
        self._call = call
        self.need = call.need
        self.read_servable = partial(named_servable, MODEL_STREAM_INFER, data)

    @property
    def target(self) -> str:
        return self._call.target

    @property
    def peer(self) -> str | None:
        return self._call.peer

    @property
    def identity(self) -> Identity | None:
        return self._call.identity

    @property
    def all_headers(self) -> Headers:
        return self._call.all_headers

    def header(self, name: bytes) -> bytes | None:
        return self._call.header(name)


class _Working:
    """The requests of one call that are worked on, and their answers."""

    def __init__(self, stream: ModelStream, call: Call) -> None:
        self._stream = stream
        self._call = call
        self._expires_s = None if call.timeout_s is None else monotonic() + call.timeout_s
        self._ends_by_error = call.header(_CLOSE_ON_ERROR) == b"true"
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[bytes] = deque()
        self._tasks: dict[asyncio.Task[None], int] = {}  # → size of the message
        self._size = 0
        self._changed: asyncio.Future[None] | None = None  # for who sends
        self._room: asyncio.Future[None] | None = None  # for who makes answers
        self._failure: BaseException | None = None  # that ends the call
        self._before: asyncio.Future[None] = self._loop.create_future()
        self._before.set_result(None)

    async def answers(self, requests: AsyncIterator[bytes]) -> "AsyncGenerator[bytes, None]":
        """The answers, as they come."""
        reading = self._loop.create_task(self._read(requests))
        reading.add_done_callback(self._over)
        self._tasks[reading] = 0
        while True:
            while self._unsent:
                yield self._unsent.popleft()
                self._wake_room()
            if self._failure is not None:
                raise self._failure
            if not self._tasks:
                return
            self._changed = self._loop.create_future()
            await self._changed
            self._changed = None

    async def close(self) -> None:
        """End what is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for data in requests:
            before, self._before = self._before, self._loop.create_future()
            task = self._loop.create_task(self._answer(data, before, self._before))
            self._tasks[task] = len(data)
            self._size += len(data)
            task.add_done_callback(self._over)
            del data, task
            while len(self._tasks) > MOST_AT_ONCE or self._size > _MOST_BYTES_AT_ONCE:
                await asyncio.wait(
                    [each for each in self._tasks if each is not asyncio.current_task()],
                    return_when=asyncio.FIRST_COMPLETED,
                )

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._size -= self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
        self._wake()

    async def _answer(
        self, data: bytes, before: "asyncio.Future[None]", passed: "asyncio.Future[None]"
    ) -> None:
        """Answer one request.

        Args:
            data: its message.
            before: done when the single answers of all requests before it were given.
            passed: to be done when that of this one was, or it has several.
        """
        read: list[_StreamedInfer] = []
        left_s = None if self._expires_s is None else self._expires_s - monotonic()
        call = _MessageCall(self._call, data, left_s)
        work: Callable[[], Any] = partial(self._work, data, read, call, before, passed)
        try:
            working: Any = intercepted(self._call.interceptors, call, work)
            await working
        except ServingError as error:
            self._stream.tell(data, error)
            await before
            await self._fail(data, read, error)
        except asyncio.CancelledError as error:
            self._stream.tell(data, error)
            raise
        except Exception as error:  # noqa: BLE001 - a request ends here; the call goes on
            self._stream.tell(data, error)
            await before
            await self._fail(data, read, _broken(error))
        finally:
            _pass_on(before, passed)

    async def _work(
        self,
        data: bytes,
        read: "list[_StreamedInfer]",
        call: Call,
        before: "asyncio.Future[None]",
        passed: "asyncio.Future[None]",
    ) -> None:
        """Have a request answered that was let in, with all its answers."""
        target = self._stream.target_of(call)
        if target is not None:
            await self._hand_on(target, data, call, before, passed)
            return
        # As before calls of one message: a model that is to be loaded first is waited for.
        begin: Callable[[], Any] = partial(self._begun, data, read, call)
        begun: Any = wait_for_load(call, begin)
        answer: bytes | None
        answers: AsyncGenerator[bytes, None]
        try:
            answer, answers = await begun
        except ServingError as error:
            target = self._stream.target_of(call, error)
            if target is None:
                raise
            await self._hand_on(target, data, call, before, passed)
            return
        is_final = False
        async with aclosing(answers):
            while answer is not None:
                is_final = read[-1].is_last
                if is_final:
                    await before
                elif not passed.done():
                    _pass_on(before, passed)
                await self._send(answer, is_final=is_final)
                answer = await anext(answers, None)
        if not is_final and read[-1].message.parameters.get(_EMPTY_FINAL) is True:
            await self._send(empty_response(read[-1].message), is_final=True)

    async def _hand_on(
        self,
        target: Target,
        data: bytes,
        call: Call,
        before: "asyncio.Future[None]",
        passed: "asyncio.Future[None]",
    ) -> None:
        """Have a request answered by another server, whose answers are sent as they come."""
        forwarder = self._stream.forwarder
        assert forwarder is not None  # else there is no target
        answers = forwarder.messages(MODEL_STREAM_INFER, data, call, target)
        async with aclosing(answers):
            async for answer in answers:
                if answer.endswith(IS_FINAL):
                    await before
                elif not passed.done():
                    _pass_on(before, passed)
                await self._put(answer)

    async def _begun(
        self, data: bytes, read: "list[_StreamedInfer]", call: Call
    ) -> "tuple[bytes | None, AsyncGenerator[bytes, None]]":
        """The first answer, None where there is none, and the others."""
        answers = self._stream.answers_to(data, read, call.timeout_s)
        try:
            return await anext(answers, None), answers
        except BaseException:
            await answers.aclose()
            raise

    async def _fail(self, data: bytes, read: "list[_StreamedInfer]", error: ServingError) -> None:
        drop_frames(error)
        if self._ends_by_error:
            raise error
        said = (
            empty_response(read[-1].message)
            if read
            else text_fields(*(leading_texts(data, 3) or ()))
        )
        await self._send(said, is_final=True, error=error.message)

    async def _send(self, answer: bytes, *, is_final: bool, error: str = "") -> None:
        parameter = IS_FINAL if is_final else IS_NOT_FINAL
        text = length_delimited(1, error.encode(errors="replace")) if error else b""
        await self._put(text + length_delimited(2, answer + parameter))

    async def _put(self, answer: bytes) -> None:
        """Have a whole response sent, and wait while too many are not."""
        self._unsent.append(answer)
        self._wake()
        while len(self._unsent) > _MOST_UNSENT:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _wake_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


def _pass_on(before: "asyncio.Future[None]", passed: "asyncio.Future[None]") -> None:
    """Be passed as soon as those before are."""

    def passes(_before: "asyncio.Future[None]") -> None:
        if not passed.done():
            passed.set_result(None)

    if before.done():
        passes(before)
    else:
        before.add_done_callback(passes)


def _broken(error: Exception) -> ServingError:
    """What a client is told of an error that should not be; the log is told more."""
    if isinstance(error, MemoryError):
        return out_of_memory(error)
    _log.error("A request of a stream failed in a way it should not", exc_info=error)
    return Internal(f"Internal error: {error}")
