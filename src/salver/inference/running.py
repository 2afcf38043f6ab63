"""From a prepared request to its answer, whichever wire it came by.

A small message is decoded, and a short run made, without leaving the loop; then the answer itself
is returned and no task is made. A large one is decoded and encoded in the run pool.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, Generic, Protocol, TypeVar

from salver.errors import ServingError
from salver.hints import explain
from salver.inference.later import Later
from salver.inference.servable import Meter
from salver.inference.serving import Handle
from salver.requests import Array
from salver.threads import InPool

__all__ = ["LARGE_BYTES", "Prepared", "Running", "Start"]

LARGE_BYTES: Final = 1 << 16  # decoding this much JSON takes about as long as a change of threads

A = TypeVar("A")


class Start(Protocol):
    """See `StartableProgram.start`."""

    def __call__(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]": ...


class Prepared(Generic[A]):
    """A decoded request, holding its version; whoever has it must run it or release it.

    A slot class, because one is made for each request.

    Attributes:
        handle: released once, when nothing runs any more.
        start: begins the run.
        feeds: what is run on.
        encode: makes the answer of the outputs, in the order `start` gives them.
        meter: counts the answer; None where nobody does.
        begun_s: when the request began to be handled, by `time.perf_counter`.
        log: is shown the outputs and the answer, in the loop, and neither blocks nor raises; None
            where nobody looks.
    """

    __slots__ = ("begun_s", "encode", "feeds", "handle", "log", "meter", "start")

    def __init__(
        self,
        handle: Handle,
        start: Start,
        feeds: list[Array],
        encode: Callable[[list[Array]], A],
        meter: Meter | None = None,
        begun_s: float = 0.0,
        log: Callable[[list[Array], A], None] | None = None,
    ) -> None:
        self.handle = handle
        self.start = start
        self.feeds = feeds
        self.encode = encode
        self.meter = meter
        self.begun_s = begun_s
        self.log = log


class Running:
    """Runs what is prepared. Belongs to the loop."""

    def __init__(self, in_pool: InPool) -> None:
        self._in_pool = in_pool

    def small(self, prepared: Prepared[A], timeout_s: float | None) -> "A | Coroutine[Any, Any, A]":
        """Answer a request that was prepared in the loop.

        Args:
            prepared: is run.
            timeout_s: how long the run may take; None: for ever.

        Raises:
            ServingError: also out of the coroutine.
        """
        run_begun = perf_counter()
        try:
            outputs = prepared.start(
                prepared.feeds, timeout_s=timeout_s, on_end=prepared.handle.release
            )
        except ServingError as error:
            _explain(error, prepared)
            raise
        return self.started(outputs, prepared, run_begun)

    def started(
        self,
        outputs: "list[Array] | asyncio.Future[list[Array]]",
        prepared: Prepared[A],
        run_begun: float,
    ) -> "A | Coroutine[Any, Any, A]":
        """Answer a request whose run was started by somebody else; raises as `small`.

        Args:
            outputs: what `prepared.start` has returned.
            prepared: the request.
            run_begun: when that was called.
        """
        try:
            if isinstance(outputs, asyncio.Future):
                return Later(self._finish(outputs, prepared, run_begun), outputs.cancel)
            run_s = perf_counter() - run_begun
            if _are_large(outputs):
                return self._encode_in_pool(outputs, prepared, run_s)
            answer = prepared.encode(outputs)
        except ServingError as error:
            error.version = prepared.handle.id.version
            raise
        _tell(prepared, outputs, answer, run_s)
        return answer

    async def large(
        self, prepare: Callable[[], Prepared[A]], timeout_s: float | None, size: int = 0
    ) -> A:
        """Answer a request that takes long to prepare: in the pool; else as `small`."""
        return await self.while_wanted(lambda _is_wanted: prepare(), timeout_s, size)

    async def while_wanted(
        self,
        prepare: Callable[[Callable[[], bool]], Prepared[A]],
        timeout_s: float | None,
        size: int = 0,
    ) -> A:
        """The same for what can be given up meanwhile.

        Args:
            prepare: is given a function that says whether anybody still waits; called in the pool.
            timeout_s: how long the run may take; None: for ever.
            size: of the request in bytes.
        """
        # A client that leaves cancels this, but not a thread that is at work on its request: then
        # that thread, or whoever is the last to know, lets the version go.
        ready: list[Prepared[A]] = []
        is_left = False

        def prepare_or_release() -> None:
            ready.append(prepare(lambda: not is_left))
            if is_left:
                release()

        def release() -> None:
            with suppress(IndexError):  # taken by the other side
                ready.pop().handle.release()

        try:
            await self._in_pool(prepare_or_release, size)
        except BaseException:
            is_left = True
            release()
            raise
        answer = self.small(ready.pop(), timeout_s)
        return await answer if isinstance(answer, Coroutine) else answer

    async def _finish(
        self, future: "asyncio.Future[list[Array]]", prepared: Prepared[A], run_begun: float
    ) -> A:
        try:
            try:
                outputs = await future
            except ServingError as error:
                _explain(error, prepared)
                raise
            run_s = perf_counter() - run_begun
            if _are_large(outputs):
                return await self._encode_in_pool(outputs, prepared, run_s)
            answer = prepared.encode(outputs)
        except ServingError as error:
            error.version = prepared.handle.id.version
            raise
        _tell(prepared, outputs, answer, run_s)
        return answer

    async def _encode_in_pool(self, outputs: list[Array], prepared: Prepared[A], run_s: float) -> A:
        try:
            size = sum(array.nbytes for array in outputs)
            answer: A = await self._in_pool(lambda: prepared.encode(outputs), size)
        except ServingError as error:
            error.version = prepared.handle.id.version
            raise
        _tell(prepared, outputs, answer, run_s)
        return answer


def _explain(error: ServingError, prepared: Prepared[A]) -> None:
    """Say of a failed run whose it was, and what its feeds may have to do with it."""
    error.version = prepared.handle.id.version
    if prepared.feeds:
        explain(error, prepared.handle.model.signature_of(prepared.start), prepared.feeds)


def _tell(prepared: Prepared[A], outputs: list[Array], answer: A, run_s: float) -> None:
    if prepared.meter is not None:
        prepared.meter.succeeded(perf_counter() - prepared.begun_s, run_s)
    if prepared.log is not None:
        prepared.log(outputs, answer)


def _are_large(outputs: list[Array]) -> bool:
    size = 0
    for array in outputs:
        size += array.nbytes
        if array.dtype.hasobject and size <= LARGE_BYTES:
            size += sum(map(len, array.flat))
    return size > LARGE_BYTES
