"""The inference call of a server that notes what its requests spend their time on.

A server that notes nothing has `Inference` itself. Which request a step of the loop is for is what
the tracer says (`Tracer.current`); who waits for a coroutine has it say so for each of its steps.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import aclosing
from time import perf_counter
from types import coroutine
from typing import Any, TypeVar

from salver.errors import ServingError
from salver.inference.call import Inference, are_large, explain_failure
from salver.inference.later import Later
from salver.inference.logged import NO_LOGS, CallLogs
from salver.inference.reading import Reading
from salver.inference.request import Codec, InferenceRequest
from salver.inference.serving import Serving
from salver.instruments.threads import LARGE_BYTES, InPool
from salver.lifecycle.placeholders import NotLoaded
from salver.tracing.request import RequestTrace
from salver.tracing.tracer import Tracer
from salver.vocabulary.requests import Array, TakesLong

__all__ = ["TracedInference", "make_inference", "stepped"]

A = TypeVar("A")


def make_inference(
    serving: Serving,
    in_pool: InPool,
    logs: CallLogs = NO_LOGS,
    *,
    is_deadline: bool = False,
    tracer: Tracer | None,
) -> Inference:
    """The inference call of a server; `tracer` is None where no notes are taken."""
    if tracer is None:
        return Inference(serving, in_pool, logs, is_deadline=is_deadline)
    kind = _LazyInference if tracer.has_lazy_models else TracedInference
    return kind(serving, in_pool, logs, is_deadline=is_deadline, tracer=tracer)


class TracedInference(Inference):
    """See `Inference`. Of a request that the tracer knows nothing of, nothing is noted."""

    def __init__(
        self,
        serving: Serving,
        in_pool: InPool,
        logs: CallLogs = NO_LOGS,
        *,
        is_deadline: bool = False,
        tracer: Tracer,
    ) -> None:
        """Make it; the arguments are those of `Inference`, and who takes the notes."""
        super().__init__(serving, in_pool, logs, is_deadline=is_deadline)
        self._tracer = tracer

    def stream(
        self, codecs: Sequence[Codec[A]], data: bytes, context: Any, timeout_s: float | None
    ) -> "AsyncGenerator[A, None]":
        """See `Inference`."""
        answers = super().stream(codecs, data, context, timeout_s)
        trace = self._tracer.current
        return answers if trace is None else _stepped_answers(self._tracer, trace, answers)

    def _run(
        self, request: InferenceRequest[A], timeout_s: float | None
    ) -> "A | Coroutine[Any, Any, A]":
        trace = self._tracer.current
        if trace is None or trace.ran is not None:  # a second run
            return super()._run(request, timeout_s)
        handle = request.handle
        run_begun = perf_counter()
        try:
            outputs = request.start(request.feeds, timeout_s=timeout_s, on_end=handle.release)
        except ServingError as error:
            trace.ran = (handle.id, request.begun_s, run_begun, 0.0)
            explain_failure(error, request)
            raise
        if not isinstance(outputs, list):
            trace.ran = (handle.id, request.begun_s, run_begun, 0.0)
            return Later(self._finish(outputs, request, run_begun), outputs.cancel)
        # As in `Inference._run`, whose calls are saved here too.
        ended_s = perf_counter()
        run_s = ended_s - run_begun
        trace.ran = (handle.id, request.begun_s, run_begun, ended_s)
        first = outputs[0] if len(outputs) == 1 else None
        is_small = first is not None and first.nbytes <= LARGE_BYTES and first.dtype.char != "O"
        if not is_small and are_large(outputs):
            return self._encode_in_pool(outputs, request, run_s)
        try:
            answer = request.encode(outputs)
        except TakesLong:
            return self._encode_in_pool(outputs, request, run_s)
        except ServingError as error:
            error.version = handle.id.version
            raise
        meter = request.meter
        if meter is not None:
            ended_s = perf_counter()
            meter.succeeded(request.begun_s, ended_s, run_s)
            if trace.is_sampled:
                meter.exemplify(trace.trace_id, ended_s - request.begun_s, run_s)
        if self._logs.loggers:
            self._log(request, outputs, answer)
        return answer

    def _from_pool(
        self,
        reading: "Reading[A]",
        read: Callable[[], None],
        size: int,
        begun_s: float,
        timeout_s: float | None,
    ) -> "Coroutine[Any, Any, A]":
        # It may be made a task of its own, for a deadline.
        made = super()._from_pool(reading, read, size, begun_s, timeout_s)
        trace = self._tracer.current
        return made if trace is None else _awaited(self._tracer, trace, made)

    def _tell(
        self, request: InferenceRequest[A], outputs: list[Array], answer: A, run_s: float
    ) -> None:
        trace = self._tracer.current
        if trace is not None and trace.ran is not None:
            trace.outputs_s = trace.ran[2] + run_s
            if trace.is_sampled and request.meter is not None:
                total_s = perf_counter() - request.begun_s
                request.meter.exemplify(trace.trace_id, total_s, run_s)
        super()._tell(request, outputs, answer, run_s)


class _LazyInference(TracedInference):
    """Notes also which requests find their model not loaded."""

    def answer(
        self,
        codecs: Sequence[Codec[A]],
        data: bytes,
        context: Any,
        timeout_s: float | None,
        *,
        is_first_in_loop: bool = False,
    ) -> "A | Coroutine[Any, Any, A]":
        """See `Inference`."""
        try:
            return super().answer(
                codecs, data, context, timeout_s, is_first_in_loop=is_first_in_loop
            )
        except NotLoaded:
            if self._tracer.current is not None:
                self._tracer.current.waits_for_load = True
            raise


@coroutine
def stepped(
    tracer: Tracer, trace: RequestTrace, answer: Coroutine[Any, Any, A]
) -> Generator[Any, Any, A]:
    """Wait for an answer, each step of which is for that request."""
    value: Any = None
    error: BaseException | None = None
    try:
        while True:
            tracer.current = trace
            try:
                waits_for = answer.send(value) if error is None else answer.throw(error)
            except StopIteration as end:
                result: A = end.value
                return result
            finally:
                tracer.current = error = None
            try:
                value = yield waits_for
            except GeneratorExit:
                raise
            except BaseException as thrown:  # noqa: BLE001 - handed on
                error = thrown
    finally:
        answer.close()


async def _awaited(tracer: Tracer, trace: RequestTrace, answer: Coroutine[Any, Any, A]) -> A:
    try:
        return await stepped(tracer, trace, answer)
    except NotLoaded:
        trace.waits_for_load = True
        raise


async def _stepped_answers(
    tracer: Tracer, trace: RequestTrace, answers: "AsyncGenerator[A, None]"
) -> "AsyncGenerator[A, None]":
    async with aclosing(answers):
        while (answer := await stepped(tracer, trace, _next(answers))) is not None:
            yield answer


async def _next(answers: "AsyncGenerator[A, None]") -> A | None:
    return await anext(answers, None)
