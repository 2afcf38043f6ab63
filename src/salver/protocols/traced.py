"""Requests and calls whose stages are noted, and told when they end.

Outermost of all: what is refused before it reaches its API is noted too. Without a tracer none of
this is there.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from contextlib import aclosing
from time import perf_counter
from typing import Any, Final

from salver.errors import Code, ServingError
from salver.inference.later import Later
from salver.inference.traced import stepped
from salver.protocols.methods import (
    Call,
    CallScreen,
    CallScreens,
    Method,
    MethodTable,
    Stream,
    UnaryMethod,
)
from salver.tracing.request import RequestTrace
from salver.tracing.tracer import TRACE_HEADER, Tracer
from salver.transport.messages import Handler, HttpRequest, HttpResponse, Screen, StreamedResponse

__all__ = ["TracedHandler", "traced_screens", "traced_table"]

_PARENT: Final = b"traceparent"
_STATE: Final = b"tracestate"
_TRAILER: Final = TRACE_HEADER.encode()
_LONGEST_STATE: Final = 512  # characters; W3C Trace Context §3.3.1.5 asks for as many
_LONGEST_TARGET: Final = 1024
_FAULT: Final = 500  # this status and those above are failures of the server
_POLLED: Final = (
    "/healthz/", "/v2/health/", "/playground", "/favicon.ico", "/admin/v1/history",
    "/admin/v1/slow_requests",
)  # fmt: skip
"""Beginnings of paths that somebody polls; only their faults are told. To be not ready is none."""
_POLLED_SERVICES: Final = ("/grpc.health.", "/grpc.reflection.")

# Source: OpenTelemetry's semantic conventions for gRPC: what makes a server's span an error.
_FAULTS: Final = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.UNIMPLEMENTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)


class TracedHandler:
    """A `Handler` around that of a port. Belongs to the loop."""

    def __init__(
        self,
        handler: Handler,
        tracer: Tracer,
        polled: Iterable[str] = (),
        probed: Iterable[str] = (),
        *,
        screen: Screen | None = None,
    ) -> None:
        """Put it around a handler.

        Args:
            handler: of the port.
            tracer: takes the notes.
            polled: further paths of which faults alone are told, such as that of the metrics.
            probed: paths of which that holds for GET and HEAD, and for none that begins like them.
            screen: of the port.
        """
        self._screen = screen
        self._probed = frozenset(probed)
        self._polled = (*_POLLED, *polled)
        self._handler = handler
        self._tracer = tracer

    def __call__(self, request: HttpRequest) -> "HttpResponse | Coroutine[Any, Any, HttpResponse]":
        """Answer one request."""
        tracer = self._tracer
        # `Tracer.begin`, whose call is saved here and in `_Calls`.
        tracer.current = trace = RequestTrace()
        trace.ran = None
        trace.is_sampled = False
        trace.begun_s = begun_s = perf_counter()
        headers = request.headers
        parent = (headers.first or headers.read()).get(_PARENT)
        if parent is not None:
            tracer.decide(trace, parent)
        elif tracer.unsampled:
            tracer.unsampled -= 1
        elif tracer.ratio:
            tracer.decide(trace, None)
        try:
            answer = self._handler(request)
        finally:
            tracer.current = None
        if not isinstance(answer, HttpResponse):
            return Later(self._awaited(trace, request, answer), answer.close)
        ended_s = perf_counter()
        if trace.is_sampled or answer.status >= _FAULT or ended_s - begun_s >= tracer.slow_s:
            trace.ended_s = ended_s
            return self._ended(trace, request, answer)
        return answer

    def screen(
        self, request: HttpRequest
    ) -> "HttpResponse | Coroutine[Any, Any, HttpResponse | None] | None":
        """The same of a request whose body has not come; noted if that is refused. See `Screen`."""
        refusal = None if self._screen is None else self._screen(request)
        if refusal is None:
            return None
        trace = self._tracer.begin(request.header(_PARENT))
        if isinstance(refusal, HttpResponse):
            return self._ended(trace, request, refusal)
        return Later(self._screened(trace, request, refusal), refusal.close)

    async def _screened(
        self,
        trace: RequestTrace,
        request: HttpRequest,
        refusal: "Coroutine[Any, Any, HttpResponse | None]",
    ) -> HttpResponse | None:
        response = await refusal
        return None if response is None else self._ended(trace, request, response)

    async def _awaited(
        self,
        trace: RequestTrace,
        request: HttpRequest,
        answer: "Coroutine[Any, Any, HttpResponse]",
    ) -> HttpResponse:
        try:
            response = await stepped(self._tracer, trace, answer)
        except asyncio.CancelledError:
            self._end(trace, request, 0)
            raise
        except Exception:
            self._end(trace, request, _FAULT)
            raise
        if isinstance(response, StreamedResponse):
            return self._streamed(trace, request, response)
        trace.ended_s = perf_counter()
        return self._ended(trace, request, response)

    def _end(self, trace: RequestTrace, request: HttpRequest, status: int) -> str:
        """It has ended with this status, or 0; the id of its trace, where that is exported."""
        tracer = self._tracer
        if not trace.ended_s:
            trace.ended_s = perf_counter()
        trace.protocol, trace.method, trace.status = "REST", request.method, status
        trace.target = request.target.partition("?")[0].partition("#")[0][:_LONGEST_TARGET]
        trace.is_failure = status >= _FAULT
        is_polled = status != _FAULT and (
            trace.target.startswith(self._polled)
            or (trace.target in self._probed and trace.method != "POST")
        )
        if is_polled or not (
            trace.is_sampled or trace.is_failure or trace.ended_s - trace.begun_s >= tracer.slow_s
        ):
            return ""
        if not trace.model and request.servable is not None:
            # TensorFlow Serving takes a query for a part of the name.
            trace.named = request.servable.name.partition("?")[0]
        if trace.parent is not None:
            state = request.headers.get(_STATE) or b""
            trace.trace_state = state.decode("latin-1") if len(state) <= _LONGEST_STATE else ""
        return tracer.ended(trace)

    def _ended(
        self, trace: RequestTrace, request: HttpRequest, response: HttpResponse
    ) -> HttpResponse:
        trace_id = self._end(trace, request, response.status)
        return response.with_headers(((TRACE_HEADER, trace_id),)) if trace_id else response

    def _streamed(
        self, trace: RequestTrace, request: HttpRequest, response: StreamedResponse
    ) -> HttpResponse:
        """An answer that is made while it is sent: it ends with its last part.

        Whether it is slow or fails is known too late for its head.
        """
        response.parts = self._parts(trace, request, response.status, response.parts)
        if not trace.is_sampled:
            return response
        return response.with_headers(((TRACE_HEADER, f"{trace.trace_id:032x}"),))

    async def _parts(
        self,
        trace: RequestTrace,
        request: HttpRequest,
        status: int,
        parts: "AsyncGenerator[bytes, None]",
    ) -> "AsyncGenerator[bytes, None]":
        ended_with, trace.messages = 0, 0
        try:
            async with aclosing(parts):
                async for part in parts:
                    trace.messages += 1
                    yield part
            ended_with = status
        except Exception:
            ended_with = _FAULT
            raise
        finally:
            self._end(trace, request, ended_with)


def traced_table(table: MethodTable, tracer: Tracer) -> MethodTable:
    """The same methods, with notes taken of their calls, but for those that somebody polls."""
    return {
        path: method
        if path.startswith(_POLLED_SERVICES)
        else _traced(path, method, _Calls(path, tracer))
        for path, method in table.items()
    }


def traced_screens(screens: CallScreens, tracer: Tracer) -> CallScreens:
    """The same screens, with notes taken of the calls that they refuse."""
    return {
        path: screen if path.startswith(_POLLED_SERVICES) else _Calls(path, tracer).screen(screen)
        for path, screen in screens.items()
    }


def _traced(path: str, method: Method, calls: "_Calls") -> Method:
    if isinstance(method, Stream):
        return Stream(calls.stream(method), method.is_request_single)
    return calls.unary(method)


class _Calls:
    """What the calls of one method have in common. Belongs to the loop."""

    def __init__(self, path: str, tracer: Tracer) -> None:
        self._path = path
        self._tracer = tracer

    def unary(self, method: UnaryMethod) -> UnaryMethod:
        tracer = self._tracer

        def traced(data: bytes, call: Call) -> "bytes | Coroutine[Any, Any, bytes]":
            tracer.current = trace = RequestTrace()
            trace.ran = None
            trace.is_sampled = False
            trace.begun_s = begun_s = perf_counter()
            headers = call.headers
            if headers is None:
                parent = call.header(_PARENT)
            else:
                parent = (headers.first or headers.read()).get(_PARENT)
            if parent is not None:
                tracer.decide(trace, parent)
            elif tracer.unsampled:
                tracer.unsampled -= 1
            elif tracer.ratio:
                tracer.decide(trace, None)
            try:
                answer = method(data, call)
            except Exception as error:
                self._failed(trace, call, error)
                raise
            finally:
                tracer.current = None
            if not isinstance(answer, bytes):
                return Later(self._awaited(trace, call, answer), answer.close)
            ended_s = perf_counter()
            if trace.is_sampled or ended_s - begun_s >= tracer.slow_s:
                trace.ended_s = ended_s
                self._end(trace, call, Code.OK)
            return answer

        return traced

    def screen(self, screen: CallScreen) -> CallScreen:
        def traced(call: Call) -> "Coroutine[Any, Any, None] | None":
            try:
                refusal = screen(call)
            except Exception as error:
                self._failed(self._tracer.begin(call.header(_PARENT)), call, error)
                raise
            return None if refusal is None else Later(self._screened(call, refusal), refusal.close)

        return traced

    async def _screened(self, call: Call, refusal: "Coroutine[Any, Any, None]") -> None:
        trace = self._tracer.begin(call.header(_PARENT))
        try:
            await refusal
        except Exception as error:
            self._failed(trace, call, error)
            raise

    async def _awaited(
        self, trace: RequestTrace, call: Call, answer: "Coroutine[Any, Any, bytes]"
    ) -> bytes:
        try:
            response = await stepped(self._tracer, trace, answer)
        except (Exception, asyncio.CancelledError) as error:
            self._failed(trace, call, error)
            raise
        self._end(trace, call, Code.OK)
        return response

    def stream(self, stream: Stream) -> "Any":
        """The methods of a stream, which is one span; its messages run at the same time."""

        async def traced(
            requests: AsyncIterator[bytes], call: Call
        ) -> "AsyncGenerator[bytes, None]":
            trace = self._tracer.begin(call.header(_PARENT))
            trace.messages = 0
            try:
                async with aclosing(stream.method(requests, call)) as responses:
                    async for response in responses:
                        trace.messages += 1
                        yield response
            except GeneratorExit:
                self._end(trace, call, Code.CANCELLED)
                raise
            except (Exception, asyncio.CancelledError) as error:
                self._failed(trace, call, error)
                raise
            self._end(trace, call, Code.OK)

        return traced

    def _failed(self, trace: RequestTrace, call: Call, error: BaseException) -> None:
        if isinstance(error, ServingError):
            self._end(trace, call, error.code)
        elif isinstance(error, asyncio.CancelledError):
            self._end(trace, call, Code.CANCELLED)
        else:
            self._end(trace, call, Code.INTERNAL)

    def _end(self, trace: RequestTrace, call: Call, code: Code) -> None:
        tracer = self._tracer
        if not trace.ended_s:
            trace.ended_s = perf_counter()
        trace.is_failure = code in _FAULTS
        if not (
            trace.is_sampled or trace.is_failure or trace.ended_s - trace.begun_s >= tracer.slow_s
        ):
            return
        trace.protocol, trace.method = "GRPC", ""
        trace.target, trace.status = self._path, code.value
        if trace.parent is not None:
            state = call.header(_STATE) or b""
            trace.trace_state = state.decode("latin-1") if len(state) <= _LONGEST_STATE else ""
        trace_id = tracer.ended(trace)
        if trace_id:
            call.add_trailer(_TRAILER, trace_id.encode())
