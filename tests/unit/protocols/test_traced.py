import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from salver.errors import Code, Internal, InvalidArgument, Unauthenticated
from salver.protocols.methods import Call, CallScreen, Stream
from salver.protocols.traced import TracedHandler, traced_screens, traced_table
from salver.tracing.request import RequestTrace
from salver.tracing.sampling import Sampling
from salver.tracing.tracer import Tracer
from salver.transport.messages import Headers, HttpRequest, HttpResponse, StreamedResponse
from salver.vocabulary.requests import ServableRequest

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
ID = "salver-trace-id"


class Sink:
    def __init__(self) -> None:
        self.taken: list[RequestTrace] = []

    def put(self, trace: RequestTrace) -> None:
        self.taken.append(trace)


class Traced:
    """A tracer of which all that it exports is seen."""

    def __init__(self) -> None:
        self.sink = Sink()
        self.tracer = Tracer(sampling=Sampling(0.0), sink=self.sink)

    def sample(self) -> None:
        self.tracer.sample(Sampling(1.0))

    @property
    def only(self) -> RequestTrace:
        (trace,) = self.sink.taken
        return trace


@pytest.fixture
def traced() -> Traced:
    return Traced()


def get(target: str = "/v1/models/m", raw: str = "") -> HttpRequest:
    return HttpRequest("GET", target, Headers(raw.encode()))


async def answered(
    answer: HttpResponse | Coroutine[Any, Any, HttpResponse],
) -> HttpResponse:
    return answer if isinstance(answer, HttpResponse) else await answer


def at_once(status: int = 200) -> Callable[[HttpRequest], HttpResponse]:
    return lambda _request: HttpResponse(status, b"x")


def later(status: int = 200) -> Any:
    async def answer(_request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse(status, b"x")

    return answer


@pytest.mark.parametrize("made", [at_once, later])
async def test_a_client_finds_its_trace_in_the_answer(traced: Traced, made: Any) -> None:
    handler = TracedHandler(made(), traced.tracer)
    raw = f"traceparent: {PARENT}\r\ntracestate: a=b\r\n"
    answer = await answered(handler(get("/v1/models/m?x=secret", raw)))
    assert dict(answer.headers) == {ID: TRACE}
    trace = traced.only
    assert (trace.method, trace.target, trace.status) == ("GET", "/v1/models/m", 200)
    assert (trace.protocol, trace.trace_state) == ("REST", "a=b")
    assert trace.ended_s >= trace.begun_s


async def test_a_query_is_no_part_of_the_models_name(traced: Traced) -> None:
    traced.sample()
    request = get("/v1/models/m?api_key=secret")
    request.servable = ServableRequest("m?api_key=secret")  # as the reference reads it
    await answered(TracedHandler(at_once(404), traced.tracer)(request))
    assert (traced.only.target, traced.only.model) == ("/v1/models/m", "m")


@pytest.mark.parametrize("made", [at_once, later])
async def test_what_is_not_sampled_is_answered_as_it_is(traced: Traced, made: Any) -> None:
    handler = TracedHandler(made(), traced.tracer)
    assert (await answered(handler(get()))).headers == ()
    assert (await answered(TracedHandler(made(404), traced.tracer)(get()))).headers == ()
    assert traced.sink.taken == []


@pytest.mark.parametrize("made", [at_once, later])
async def test_a_failure_of_the_server_is_kept_and_says_its_trace(
    traced: Traced, made: Any
) -> None:
    answer = await answered(TracedHandler(made(503), traced.tracer)(get()))
    assert dict(answer.headers) == {ID: f"{traced.only.trace_id:032x}"}
    assert traced.only.is_failure
    assert traced.only.reason == "failed"


async def test_of_paths_that_are_polled_faults_alone_are_told(traced: Traced) -> None:
    traced.sample()
    for target in ("/healthz/ready", "/v2/health/live", "/metrics", "/admin/v1/slow_requests"):
        handler = TracedHandler(at_once(), traced.tracer, ["/metrics"])
        assert (await answered(handler(get(target)))).headers == ()
    assert traced.sink.taken == []
    await answered(TracedHandler(at_once(503), traced.tracer)(get("/healthz/ready")))
    assert traced.sink.taken == []
    await answered(TracedHandler(at_once(500), traced.tracer)(get("/healthz/ready")))
    assert traced.only.status == 500


async def test_of_paths_that_are_probed_so_it_is_but_for_what_is_posted_or_is_named_alike(
    traced: Traced,
) -> None:
    traced.sample()
    handler = TracedHandler(at_once(), traced.tracer, probed=["/ping", "/v1/models/m"])
    for target in ("/ping", "/ping?x", "/v1/models/m"):
        assert (await answered(handler(get(target)))).headers == ()
    assert traced.sink.taken == []
    for request in (get("/pings"), get("/v1/models/m:predict"), HttpRequest("POST", "/ping")):
        await answered(handler(request))
    targets = [trace.target for trace in traced.sink.taken]
    assert targets == ["/pings", "/v1/models/m:predict", "/ping"]


async def test_a_client_that_leaves_ends_its_request(traced: Traced) -> None:
    traced.sample()

    async def wait(_request: HttpRequest) -> HttpResponse:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    task = asyncio.ensure_future(answered(TracedHandler(wait, traced.tracer)(get())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert traced.only.status == 0
    assert not traced.only.is_failure


async def test_a_handler_that_breaks_is_told_and_raises_as_before(traced: Traced) -> None:
    async def breaks(_request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answered(TracedHandler(breaks, traced.tracer)(get()))
    assert traced.only.is_failure
    assert traced.tracer.current is None


async def test_an_answer_that_is_streamed_ends_with_its_last_part(traced: Traced) -> None:
    traced.sample()

    async def parts() -> AsyncGenerator[bytes, None]:
        yield b"a"
        yield b"b"

    async def answer(_request: HttpRequest) -> HttpResponse:
        return StreamedResponse(200, parts())

    response = await answered(TracedHandler(answer, traced.tracer)(get()))
    assert isinstance(response, StreamedResponse)
    assert ID in dict(response.headers)
    assert traced.sink.taken == []
    assert [part async for part in response.parts] == [b"a", b"b"]
    assert (traced.only.messages, traced.only.status) == (2, 200)


async def test_a_stream_that_its_client_leaves_ends_too(traced: Traced) -> None:
    traced.sample()
    closed: list[bool] = []

    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"a"
        finally:
            closed.append(True)

    async def answer(_request: HttpRequest) -> HttpResponse:
        return StreamedResponse(200, parts())

    response = await answered(TracedHandler(answer, traced.tracer)(get()))
    assert isinstance(response, StreamedResponse)
    async with aclosing(response.parts):
        await anext(response.parts)
    assert closed == [True]
    assert traced.only.status == 0


# gRPC.


class Client(Call):
    """A call that says whose part it is."""

    __slots__ = ("parent", "trailers")

    def __init__(self, parent: bytes | None = None) -> None:
        super().__init__()
        self.parent = parent
        self.trailers: list[tuple[bytes, bytes]] = []

    def header(self, name: bytes) -> bytes | None:
        return self.parent if name == b"traceparent" else None

    def add_trailer(self, name: bytes, value: bytes) -> None:
        self.trailers.append((name, value))


def method_of(traced: Traced, method: Any, path: str = "/a.B/C") -> Any:
    return traced_table({path: method}, traced.tracer)[path]


def fail(code: type[Exception]) -> Any:
    def at_once(_data: bytes, _call: Call) -> bytes:
        raise code("x")

    async def later(_data: bytes, _call: Call) -> bytes:
        await asyncio.sleep(0)
        raise code("x")

    return [at_once, later]


async def called(method: Any, call: Call) -> bytes:
    answer = method(b"", call)
    result: bytes = answer if isinstance(answer, bytes) else await answer
    return result


async def echo_later(data: bytes, _call: Call) -> bytes:
    await asyncio.sleep(0)
    return data


@pytest.mark.parametrize("method", [lambda data, _call: data, echo_later])
async def test_a_call_says_its_trace_behind_its_answer(traced: Traced, method: Any) -> None:
    call = Client(PARENT.encode())
    assert await called(method_of(traced, method), call) == b""
    assert call.trailers == [(ID.encode(), TRACE.encode())]
    assert (traced.only.protocol, traced.only.target) == ("GRPC", "/a.B/C")
    assert await called(method_of(traced, method), Client()) == b""
    assert len(traced.sink.taken) == 1


@pytest.mark.parametrize("index", [0, 1])
async def test_a_call_that_fails_by_a_fault_of_the_server_is_kept(
    traced: Traced, index: int
) -> None:
    call = Client()
    with pytest.raises(Internal):
        await called(method_of(traced, fail(Internal)[index]), call)
    assert (traced.only.status, traced.only.is_failure) == (Code.INTERNAL, True)
    assert call.trailers == [(ID.encode(), f"{traced.only.trace_id:032x}".encode())]
    with pytest.raises(InvalidArgument):
        await called(method_of(traced, fail(InvalidArgument)[index]), Client())
    assert len(traced.sink.taken) == 1


async def test_a_stream_is_one_span_with_its_messages_counted(traced: Traced) -> None:
    traced.sample()

    async def echo(requests: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        async for request in requests:
            yield request

    async def two() -> AsyncGenerator[bytes, None]:
        yield b"1"
        yield b"2"

    stream = method_of(traced, Stream(echo, is_request_single=True))
    assert stream.is_request_single
    call = Client()
    assert [each async for each in stream.method(two(), call)] == [b"1", b"2"]
    assert (traced.only.messages, traced.only.status) == (2, Code.OK)
    assert len(call.trailers) == 1


async def test_methods_that_are_polled_stay_as_they_are(traced: Traced) -> None:
    assert method_of(traced, echo_later, "/grpc.health.v1.Health/Check") is echo_later


@pytest.mark.parametrize("made", [at_once, later])
async def test_a_request_that_is_refused_before_its_body_is_noted(
    traced: Traced, made: Any
) -> None:
    handler = TracedHandler(at_once(), traced.tracer, screen=made(401))
    refusal = handler.screen(get(raw=f"traceparent: {PARENT}\r\n"))
    answer = await refusal if isinstance(refusal, Coroutine) else refusal
    assert answer is not None
    assert dict(answer.headers) == {ID: TRACE}
    assert (traced.only.target, traced.only.status) == ("/v1/models/m", 401)


async def test_a_request_whose_body_is_wanted_is_noted_when_that_is_there(traced: Traced) -> None:
    traced.sample()

    async def wanted(_request: HttpRequest) -> None:
        await asyncio.sleep(0)

    for screen in (None, lambda _request: None, wanted):
        made = TracedHandler(at_once(), traced.tracer, screen=screen).screen(get())
        assert made is None or await made is None  # type: ignore[misc]
    assert traced.sink.taken == []


@pytest.mark.parametrize("is_later", [False, True])
async def test_so_is_a_call_that_is_refused_before_its_message(
    traced: Traced, is_later: bool
) -> None:
    def refuse(_call: Call) -> None:
        raise Unauthenticated("no")

    async def refuse_later(call: Call) -> None:
        await asyncio.sleep(0)
        refuse(call)

    async def ask(screen: CallScreen) -> None:
        verdict = screen(Call())
        if verdict is not None:
            await verdict

    traced.sample()
    made: dict[str, CallScreen] = {
        "/a/B": refuse_later if is_later else refuse,
        "/grpc.health.v1.Health/Check": refuse,
    }
    screens = traced_screens(made, traced.tracer)
    for screen in screens.values():
        with pytest.raises(Unauthenticated):
            await ask(screen)
    assert (traced.only.target, traced.only.status) == ("/a/B", Code.UNAUTHENTICATED.value)
