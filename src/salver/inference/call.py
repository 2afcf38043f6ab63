"""One inference call, whichever API and codec it came by: from bytes to the answer.

    read → pin a version → decode for its signature → run → encode → count, log

An API brings codecs, quickest first, which read bytes and write answers; all the rest is done here
and nowhere else. A version is looked up once, however many codecs try; from then on every error
says which one it was.

A small message is decoded, and a short run made, without leaving the loop; then the answer itself
is returned and no task is made. A large one is decoded and encoded in the pool.

`answer` gives the last answer of a model that gives several, `stream` each of them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any, Final, TypeVar

from salver.errors import Cancelled, DeadlineExceeded, ServingError
from salver.inference.context import PRINCIPAL
from salver.inference.later import Later
from salver.inference.logged import NO_LOGS, CallLogs
from salver.inference.reading import Reading
from salver.inference.request import Codec, InferenceRequest, IsActive
from salver.inference.serving import Handle, Serving
from salver.instruments.threads import LARGE_BYTES, InPool
from salver.vocabulary.hints import explain
from salver.vocabulary.requests import Array, TakesLong

__all__ = [
    "LARGE_BYTES",
    "Codec",
    "Inference",
    "InferenceRequest",
    "IsActive",
    "are_large",
    "explain_failure",
]

_EXPIRED: Final = "Deadline Exceeded"  # gRPC's own words for a call that came too late

A = TypeVar("A")


class Inference:
    """Answers what codecs read. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        in_pool: InPool,
        logs: CallLogs = NO_LOGS,
        *,
        is_deadline: bool = False,
    ) -> None:
        """Make it.

        Args:
            serving: finds the versions.
            in_pool: runs what takes long for the loop.
            logs: take the calls that are answered.
            is_deadline: whether the time of a call is for all of it, not for its run alone.
        """
        self._serving = serving
        self._in_pool = in_pool
        self._logs = logs
        self._is_deadline = is_deadline

    def answer(
        self,
        codecs: Sequence[Codec[A]],
        data: bytes,
        context: Any,
        timeout_s: float | None,
        *,
        is_first_in_loop: bool = False,
    ) -> "A | Coroutine[Any, Any, A]":
        """Answer a message.

        Args:
            codecs: tried in this order. The last one knows every message.
            data: the message.
            context: handed to the codecs.
            timeout_s: how long the run may take; None: for ever.
            is_first_in_loop: whether the first codec looks at the beginning of a message alone, so
                that it is asked in the loop, however large the message is.

        Raises:
            DeadlineExceeded: there is no time left, and it is a deadline.
            ServingError: also out of the coroutine.
        """
        if timeout_s is not None and timeout_s <= 0 and self._is_deadline:
            raise DeadlineExceeded(_EXPIRED)
        begun_s = perf_counter()
        handle: Handle | None = None
        is_small = len(data) <= LARGE_BYTES
        if is_small or is_first_in_loop:
            try:
                asked = codecs if is_small else codecs[:1]
                request = self._read(asked, data, context, None, None)
            except TakesLong as error:
                handle = error.pinned
            else:
                request.begun_s = begun_s
                return self._run(request, timeout_s)
        reading = Reading[A](handle)

        def read() -> None:
            reading.read(
                lambda handle: self._read(codecs, data, context, handle, reading.is_active)
            )

        later = self._read_in_pool(reading, read, len(data), begun_s, timeout_s)
        return Later(later, reading.give_up)

    async def stream(
        self, codecs: Sequence[Codec[A]], data: bytes, context: Any, timeout_s: float | None
    ) -> "AsyncGenerator[A, None]":
        """Answer a message, each answer as soon as the model gives it; arguments as of `answer`.

        A model that gives one alone is run as by `answer`. The call is counted, and its last answer
        logged, when there are no more. To close the generator, or to cancel who waits for it, ends
        the run.

        Raises:
            ServingError: at the first step, or where the model has failed after some answers.
        """
        if timeout_s is not None and timeout_s <= 0 and self._is_deadline:
            raise DeadlineExceeded(_EXPIRED)
        begun_s = perf_counter()
        request = await self._request(codecs, data, context, timeout_s)
        request.begun_s = begun_s
        stream = request.handle.model.stream_of(request.start)
        request.is_last = stream is None
        if stream is None:
            answer = self._run(request, timeout_s)
            yield await answer if isinstance(answer, Coroutine) else answer
            return
        run_s = 0.0
        try:
            run = request.begin(stream, timeout_s)
        except ServingError as error:
            explain_failure(error, request)
            raise
        try:
            outputs: list[Array] = []
            given: A | None = None
            while True:
                waits_s = perf_counter()
                try:
                    following = await run.next()
                except ServingError as error:
                    explain_failure(error, request)
                    raise
                run_s += perf_counter() - waits_s
                if following is None:
                    break
                outputs = following
                del following
                request.is_last = run.is_over
                given = await self._encoded(outputs, request)
                yield given
        finally:
            run.close()
        if given is not None:
            self._tell(request, outputs, given, run_s)

    async def _request(
        self, codecs: Sequence[Codec[A]], data: bytes, context: Any, timeout_s: float | None
    ) -> InferenceRequest[A]:
        """Read a message, in the pool where that takes long."""
        handle: Handle | None = None
        if len(data) <= LARGE_BYTES:
            try:
                return self._read(codecs, data, context, None, None)
            except TakesLong as error:
                handle = error.pinned
        reading = Reading[A](handle)

        def read() -> None:
            reading.read(
                lambda handle: self._read(codecs, data, context, handle, reading.is_active)
            )

        limit_s = timeout_s if self._is_deadline else None
        try:
            await asyncio.wait_for(self._in_pool(read, len(data)), limit_s)
        except asyncio.TimeoutError:
            reading.give_up()
            raise DeadlineExceeded(_EXPIRED) from None
        except BaseException:
            reading.give_up()
            raise
        return reading.ready.pop()

    async def _encoded(self, outputs: list[Array], request: InferenceRequest[A]) -> A:
        if are_large(outputs):
            return await self._encoded_in_pool(outputs, request)
        try:
            return request.encode(outputs)
        except TakesLong:
            return await self._encoded_in_pool(outputs, request)
        except ServingError as error:
            error.version = request.handle.id.version
            raise

    def _read(
        self,
        codecs: Sequence[Codec[A]],
        data: bytes,
        context: Any,
        handle: Handle | None,
        is_active: IsActive | None,
    ) -> InferenceRequest[A]:
        """Read a message by the first codec that knows it.

        Args:
            codecs: see `answer`; so are the next two.
            data: the message.
            context: of it.
            handle: the version that is to answer; None: the first codec that needs one decides.
            is_active: see there.
        """
        try:
            for codec in codecs:
                request = codec(data, context, is_active)
                if request is None:
                    continue
                if handle is None:
                    handle = self._serving.acquire(request.servable)
                if request.decode(handle, is_active):
                    return request
            raise TakesLong  # noqa: TRY301 - the last codec knows every message, but was not asked
        except TakesLong as error:
            error.pinned = handle
            raise
        except BaseException as error:
            if handle is not None:
                if isinstance(error, ServingError):
                    error.version = handle.id.version
                handle.release()
            raise

    async def _read_in_pool(
        self,
        reading: "Reading[A]",
        read: Callable[[], None],
        size: int,
        begun_s: float,
        timeout_s: float | None,
    ) -> A:
        # The run has a timer of its own; the deadline is also for the time in the pool's queue.
        if not self._is_deadline:
            return await self._from_pool(reading, read, size, begun_s, timeout_s)
        answer = self._from_pool(reading, read, size, begun_s, timeout_s)
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(_EXPIRED) from None

    async def _from_pool(
        self,
        reading: "Reading[A]",
        read: Callable[[], None],
        size: int,
        begun_s: float,
        timeout_s: float | None,
    ) -> A:
        try:
            await self._in_pool(read, size)
        except BaseException:
            reading.give_up()
            raise
        request = reading.ready.pop()
        request.begun_s = begun_s
        answer = self._run(request, timeout_s)
        return await answer if isinstance(answer, Coroutine) else answer

    def _run(
        self, request: InferenceRequest[A], timeout_s: float | None
    ) -> "A | Coroutine[Any, Any, A]":
        run_begun = perf_counter()
        try:
            outputs = request.start(
                request.feeds, timeout_s=timeout_s, on_end=request.handle.release
            )
        except ServingError as error:
            explain_failure(error, request)
            raise
        if not isinstance(outputs, list):
            return Later(self._finish(outputs, request, run_begun), outputs.cancel)
        run_s = perf_counter() - run_begun
        # Most answers have one small output, of which that is seen without a call.
        first = outputs[0] if len(outputs) == 1 else None
        is_small = first is not None and first.nbytes <= LARGE_BYTES and first.dtype.char != "O"
        if not is_small and are_large(outputs):
            return self._encode_in_pool(outputs, request, run_s)
        try:
            answer = request.encode(outputs)
        except TakesLong:
            return self._encode_in_pool(outputs, request, run_s)
        except ServingError as error:
            error.version = request.handle.id.version
            raise
        meter = request.meter
        if meter is not None:
            meter.succeeded(request.begun_s, perf_counter(), run_s)
        if self._logs.loggers:
            self._log(request, outputs, answer)
        return answer

    async def _finish(
        self,
        future: "asyncio.Future[list[Array]]",
        request: InferenceRequest[A],
        run_begun: float,
    ) -> A:
        try:
            outputs = await future
        except ServingError as error:
            explain_failure(error, request)
            raise
        run_s = perf_counter() - run_begun
        if are_large(outputs):
            return await self._encode_in_pool(outputs, request, run_s)
        try:
            return self._encode(outputs, request, run_s)
        except TakesLong:
            return await self._encode_in_pool(outputs, request, run_s)

    def _encode(self, outputs: list[Array], request: InferenceRequest[A], run_s: float) -> A:
        try:
            answer = request.encode(outputs)
        except ServingError as error:
            error.version = request.handle.id.version
            raise
        self._tell(request, outputs, answer, run_s)
        return answer

    async def _encode_in_pool(
        self, outputs: list[Array], request: InferenceRequest[A], run_s: float
    ) -> A:
        answer = await self._encoded_in_pool(outputs, request)
        self._tell(request, outputs, answer, run_s)
        return answer

    async def _encoded_in_pool(self, outputs: list[Array], request: InferenceRequest[A]) -> A:
        # A client that leaves cancels this, but not a thread that is at work on its answer. What
        # waits for a thread must not keep the outputs either.
        waiting = [outputs]

        def check() -> None:
            if not waiting:
                raise Cancelled("Nobody waits for the answer any more")

        def encode() -> A | None:
            taken = waiting[:]
            with suppress(Cancelled):  # which, handed over, would keep what was written so far
                return request.encode_large(taken[0], check) if taken else None
            return None

        try:
            size = sum(array.nbytes for array in outputs)
            answer: A = await self._in_pool(encode, size)
        except ServingError as error:
            error.version = request.handle.id.version
            raise
        finally:
            waiting.clear()
        return answer

    def _tell(
        self, request: InferenceRequest[A], outputs: list[Array], answer: A, run_s: float
    ) -> None:
        """Count a call that is answered, and log it."""
        meter = request.meter
        if meter is not None:
            meter.succeeded(request.begun_s, perf_counter(), run_s)
        if self._logs.loggers:
            self._log(request, outputs, answer)

    def _log(self, request: InferenceRequest[A], outputs: list[Array], answer: A) -> None:
        logger = self._logs.loggers.get(request.servable.name)
        if logger is not None and logger.is_sampled():
            logged = request.logged(outputs, answer, wants_bodies=logger.wants_bodies)
            if logged is not None:
                principal = PRINCIPAL.get()
                if principal is not None:
                    logged = replace(logged, principal=principal.name)
                logger.log(logged)


def explain_failure(error: ServingError, request: InferenceRequest[Any]) -> None:
    """Say of a failed run whose it was, and what its feeds may have to do with it."""
    error.version = request.handle.id.version
    if request.feeds:
        explain(error, request.handle.model.signature_of(request.start), request.feeds)


def are_large(outputs: list[Array]) -> bool:
    """Whether the loop should not encode them by itself."""
    size = 0
    for array in outputs:
        size += array.nbytes
        if array.dtype.hasobject and size <= LARGE_BYTES:
            size += sum(map(len, array.flat))
    return size > LARGE_BYTES
