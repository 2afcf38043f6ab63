"""gRPC over a session in this process: what its clients may not do, or seldom do."""

import asyncio
import gc
import gzip
import random
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
from tests.unit.transport.http2.asking import Answer, Asking

from salver.errors import NotFound
from salver.protocols.methods import Call, MethodTable, Stream
from salver.rpc.http2_messages import MessageReader
from salver.rpc.http2_route import MessageLimits
from salver.rpc.http2_service import GrpcService
from salver.transport.http2.stream import Stream as Http2Stream
from salver.transport.inflating import Inflating

HEAD = [
    (":method", "POST"), (":scheme", "http"), (":path", "/t/Echo"), (":authority", "here"),
    ("content-type", "application/grpc"), ("te", "trailers"),
]  # fmt: skip


def message(data: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


def head(*more: tuple[str, str], **changes: str) -> list[tuple[str, str]]:
    fields = [(name, changes.get(name.strip(":").replace("-", "_"), value)) for name, value in HEAD]
    return [*fields, *more]


class Methods:
    def __init__(self) -> None:
        self.calls: list[float | None] = []
        self.taken = 0
        self.never = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.kept: weakref.ref[Any] | None = None

    def table(self) -> MethodTable:
        return {
            "/t/Echo": self.echo,
            "/t/Wait": self.wait,
            "/t/FailsLate": self.fails_late,
            "/t/GivenUp": self.given_up,
            "/t/Starved": self.starved,
            "/t/StarvedLate": self.starved_late,
            "/t/Future": self.future,
            "/t/Each": Stream(self.each),
            "/t/Nothing": Stream(self.nothing),
            "/t/One": Stream(self.each, is_request_single=True),
        }

    def echo(self, data: bytes, call: Call) -> bytes:
        self.calls.append(call.timeout_s)
        return data

    async def wait(self, _data: bytes, _call: Call) -> bytes:
        try:
            await self.never.wait()
        finally:
            self.cancelled.set()
        raise AssertionError

    async def fails_late(self, _data: bytes, _call: Call) -> bytes:
        kept = Kept(range(23))
        self.kept = weakref.ref(kept)
        await asyncio.sleep(0)
        raise NotFound(f"none of {len(kept)}")

    def starved(self, _data: bytes, _call: Call) -> bytes:
        raise MemoryError("no room")

    async def starved_late(self, _data: bytes, _call: Call) -> bytes:
        kept = Kept(range(23))
        self.kept = weakref.ref(kept)
        await asyncio.sleep(0)
        raise MemoryError("no room")

    async def given_up(self, _data: bytes, _call: Call) -> bytes:
        raise asyncio.CancelledError

    async def future(self, data: bytes, _call: Call) -> bytes:
        made: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        made.set_result(data)
        return await made

    async def each(
        self, requests: AsyncIterator[bytes], _call: Call
    ) -> "AsyncGenerator[bytes, None]":
        async for data in requests:
            self.taken += 1
            if data == b"wait":
                await self.never.wait()
            if data == b"none":
                raise NotFound("none")
            if data == b"starve":
                raise MemoryError("no room")
            if data == b"give up":
                raise asyncio.CancelledError
            yield data

    async def nothing(
        self, requests: AsyncIterator[bytes], _call: Call
    ) -> "AsyncGenerator[bytes, None]":
        async for data in requests:
            if data == b"say something":
                yield data


class Kept(list[int]):
    """What can be watched as it goes."""


async def in_pool(call: Callable[[], Any], size: int = 0) -> Any:
    await asyncio.sleep(0)
    return call()


class Plain:
    """What answers other requests."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []

    def opened(self, stream: Http2Stream, is_last: bool) -> None:
        stream.headers.memo = self
        self.paths.append(stream.headers.path)


class Served:
    def __init__(self, limits: MessageLimits | None = None, plain: Plain | None = None) -> None:
        self.methods = Methods()
        self.service = GrpcService(
            self.methods.table(),
            in_pool=in_pool,
            limits=limits or MessageLimits(),
            requests=plain,
        )
        self.asking = Asking(self.service)

    async def answer(self, fields: list[tuple[str, str]], body: bytes = b"") -> Answer:
        answer = self.asking.ask(fields, body)
        await self.asking.until_over(answer)
        await self.asking.until(lambda: not self.service.in_flight)
        return answer


async def status(served: Served, fields: list[tuple[str, str]], body: bytes) -> tuple[str, str]:
    answer = await served.answer(fields, body)
    said = answer.trailers or answer.head
    return said["grpc-status"], said.get("grpc-message", "")


async def test_an_answer_has_the_head_and_the_trailers_of_the_c_core() -> None:
    answer = await Served().answer(HEAD, message(b"hi"))
    assert answer.head == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity, deflate, gzip",
    }
    assert (answer.body, answer.trailers) == (message(b"hi"), {"grpc-status": "0"})


@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        (head(path="/t/No"), message(b""), ("12", "Method not found!")),
        (
            head(("grpc-timeout", "1")),
            message(b""),
            ("13", "Error parsing 'grpc-timeout' metadata"),
        ),
        (head(("grpc-timeout", "0S")), b"", ("13", "The call ended without its message")),
        (HEAD, b"", ("13", "The call ended without its message")),
        (HEAD, message(b"half")[:-1], ("13", "The call ended without its message")),
        (HEAD, b"\0\0", ("13", "The call ended without its message")),
        (head(path="/t/One"), b"", ("13", "The call ended without its message")),
        (head(path="/t/One"), message(b"half")[:-1], ("13", "The call ended without its message")),
        (head(path="/t/Each"), message(b"half")[:-1], ("13", "The call ended without its message")),
        (
            head(("grpc-encoding", "snappy")),
            message(b"x", 1),
            ("12", 'Compression algorithm "snappy" is not supported'),
        ),
        (HEAD, message(b"x", 1), ("13", "Compression bit set but no encoding configured")),
        (
            head(("grpc-encoding", "gzip")),
            message(b"x", 1),
            ("13", "Decompression failed due to data error"),
        ),
        (head(("grpc-encoding", "gzip")), message(b"", 1), ("0", "")),
        (head(path="/t/GivenUp"), message(b""), ("1", "Cancelled on the server side")),
        (head(path="/t/Each"), message(b"give up"), ("1", "Cancelled on the server side")),
        (head(path="/t/Each"), message(b"a") + message(b"none"), ("5", "none")),
        (head(path="/t/Each"), message(b"none"), ("5", "none")),
    ],
)
async def test_what_is_wrong_is_told(
    fields: list[tuple[str, str]], body: bytes, expected: tuple[str, str]
) -> None:
    assert await status(Served(), fields, body) == expected


@pytest.mark.parametrize("path", ["/t/Echo", "/t/Each"])
async def test_messages_over_the_limits_are_refused(path: str) -> None:
    served = Served(MessageLimits(max_receive_bytes=20))
    refused = ("8", "SERVER: Received message larger than max (21 vs. 20)")
    assert await status(served, head(path=path), message(bytes(21))) == refused
    served = Served(MessageLimits(max_send_bytes=20))
    refused = ("8", "SERVER: Sent message larger than max (21 vs. 20)")
    assert await status(served, head(path=path), message(bytes(21))) == refused


async def test_a_method_may_wait_for_a_future() -> None:
    assert (await Served().answer(head(path="/t/Future"), message(b"a"))).body == message(b"a")


async def test_what_follows_the_one_message_of_a_call_counts_for_nothing() -> None:
    answer = await Served().answer(HEAD, message(b"1") + message(b"2"))
    assert answer.body == message(b"1")


async def test_a_client_that_does_not_end_its_request_is_answered_all_the_same() -> None:
    served = Served()
    stream = served.asking.begin(HEAD)
    answer = served.asking.send(stream, message(b"some"))
    assert not answer.is_over
    await served.asking.until_over(answer)
    assert answer.body == message(b"some")


async def test_a_request_that_ends_with_an_empty_frame_is_one() -> None:
    served = Served()
    stream = served.asking.begin(HEAD)
    served.asking.send(stream, message(b"some"))
    answer = served.asking.send(stream, b"", is_last=True)
    assert answer.body == message(b"some")
    await asyncio.sleep(0)
    assert served.methods.calls == [None]


class TestOtherRequests:
    async def test_they_are_handed_on_where_somebody_answers_them(self) -> None:
        plain = Plain()
        served = Served(plain=plain)
        for _ in range(2):
            served.asking.begin(head(content_type="application/json", path="/v1"), is_last=True)
        assert plain.paths == [b"/v1", b"/v1"]
        assert (await served.answer(HEAD, message(b"a"))).body == message(b"a")

    @pytest.mark.parametrize(
        ("content_type", "http_status", "has_plain"),
        [("text/plain", "415", False), ("application/grpc-web+proto", "415", True)],
    )
    async def test_else_they_are_refused(
        self, content_type: str, http_status: str, has_plain: bool
    ) -> None:
        served = Served(plain=Plain() if has_plain else None)
        answer = await served.answer(head(content_type=content_type), message(b""))
        assert answer.head[":status"] == http_status
        assert answer.head["grpc-message"]

    async def test_a_call_must_be_posted(self) -> None:
        answer = await Served().answer(head(method="GET"))
        assert answer.head[":status"] == "405"
        assert answer.head["grpc-message"] == "Bad method header"


class TestDeadlines:
    async def test_they_are_kept_by_the_transport_too(self) -> None:
        served = Served()
        fields = head(("grpc-timeout", "1m"), path="/t/Wait")
        assert await status(served, fields, message(b"")) == ("4", "Deadline Exceeded")
        assert served.methods.cancelled.is_set()

    @pytest.mark.parametrize("path", ["/t/Wait", "/t/One", "/t/Each"])
    async def test_also_of_a_call_whose_message_never_comes(self, path: str) -> None:
        served = Served()
        stream = served.asking.begin(head(("grpc-timeout", "1m"), path=path))
        answer = served.asking.answers[stream]
        await served.asking.until_over(answer)
        assert answer.head["grpc-status"] == "4"

    async def test_a_stream_that_has_begun_ends_by_its_trailers(self) -> None:
        served = Served()
        fields = head(("grpc-timeout", "20m"), path="/t/Each")
        answer = await served.answer(fields, message(b"a") + message(b"wait"))
        assert answer.body == message(b"a")
        assert answer.trailers["grpc-status"] == "4"

    async def test_the_method_is_told_of_what_is_left(self) -> None:
        served = Served()
        await served.answer(head(("grpc-timeout", "10S")), message(b""))
        (left,) = served.methods.calls
        assert left is not None
        assert 9 < left <= 10


class TestCompression:
    @pytest.mark.parametrize("size", [10, 100_000])
    @pytest.mark.parametrize("path", ["/t/Echo", "/t/Each"])
    async def test_requests_of_any_size_are_inflated(self, size: int, path: str) -> None:
        body = message(gzip.compress(bytes(size)), 1)
        answer = await Served().answer(head(("grpc-encoding", "gzip"), path=path), body)
        assert answer.body == message(bytes(size))

    async def test_a_large_compressed_one_is_inflated_elsewhere(self) -> None:
        data = bytes(n * n % 251 for n in range(200_000))
        packed = gzip.compress(data, 0)
        served = Served()
        fields = head(("grpc-encoding", "gzip"), path="/t/Future")
        assert (await served.answer(fields, message(packed, 1))).body == message(data)

    async def test_one_that_breaks_late_is_refused(self) -> None:
        body = message(gzip.compress(bytes(100_000))[:-8], 1)
        fields = head(("grpc-encoding", "gzip"))
        assert (await status(Served(), fields, body))[0] == "13"

    @pytest.mark.parametrize("size", [1000, 100_000])
    @pytest.mark.parametrize("path", ["/t/Echo", "/t/Each"])
    async def test_answers_are_compressed_where_that_is_wanted(self, size: int, path: str) -> None:
        served = Served(MessageLimits(encoding=b"gzip"))
        fields = head(("grpc-accept-encoding", "identity, gzip"), path=path)
        answer = await served.answer(fields, message(bytes(size)))
        assert answer.head["grpc-encoding"] == "gzip"
        assert answer.body[0] == 1
        assert gzip.decompress(answer.body[5:]) == bytes(size)

    async def test_but_not_for_clients_that_do_not_accept_it_or_where_it_is_no_use(self) -> None:
        served = Served(MessageLimits(encoding=b"gzip"))
        assert (await served.answer(HEAD, message(bytes(100)))).body == message(bytes(100))
        fields = head(("grpc-accept-encoding", "gzip"))
        assert (await served.answer(fields, message(b"ab"))).body == message(b"ab")


class TestStreams:
    async def test_a_stream_may_be_answered_by_nothing(self) -> None:
        answer = await Served().answer(head(path="/t/Nothing"), message(b"a"))
        assert (answer.body, answer.trailers) == (b"", {"grpc-status": "0"})

    async def test_a_method_that_does_not_read_stops_its_client(self) -> None:
        served = Served()
        stream = served.asking.begin(head(path="/t/Each"))
        served.asking.send(stream, message(b"wait"))
        await served.asking.until(lambda: served.methods.taken)
        client = served.asking.client
        window = client.local_flow_control_window(stream)
        served.asking.send(stream, message(bytes(10_000)))
        assert client.local_flow_control_window(stream) == window - 10_005
        served.methods.never.set()
        answer = served.asking.answers[stream]
        await served.asking.until(lambda: len(answer.body) == 9 + 10_005)

    async def test_more_than_a_window_of_messages_goes_through(self) -> None:
        served = Served()
        stream = served.asking.begin(head(path="/t/Each"))
        data = bytes(1_000_000)
        for n in range(8):
            served.asking.send(stream, message(data))
            answer = served.asking.answers[stream]
            await served.asking.until_bytes(answer, (n + 1) * 1_000_005)
        served.asking.send(stream, b"", is_last=True)
        await served.asking.until_over(answer)
        assert answer.trailers == {"grpc-status": "0"}

    async def test_a_drain_ends_what_its_client_sends(self) -> None:
        served = Served()
        stream = served.asking.begin(head(path="/t/Each"))
        answer = served.asking.send(stream, message(b"a"))
        await served.asking.until(lambda: answer.body)
        served.service.begin_drain()
        served.service.begin_drain()
        await served.asking.until_over(answer)
        assert answer.trailers == {"grpc-status": "0"}

    @pytest.mark.parametrize("path", ["/t/Wait", "/t/Each"])
    async def test_a_client_that_leaves_cancels_it(self, path: str) -> None:
        served = Served()
        stream = served.asking.begin(head(path=path))
        served.asking.send(stream, message(b"wait"), is_last=True)
        await served.asking.until(lambda: served.methods.taken or served.service.in_flight)
        served.asking.client.reset_stream(stream)
        served.asking.exchange()
        await asyncio.wait_for(served.service.ended(), 10)
        assert served.service.in_flight == 0


async def test_a_silent_call_is_one_whose_message_has_not_come() -> None:
    served = Served()
    for path in ("/t/Echo", "/t/One"):
        stream = served.asking.begin(head(path=path))
        (open_stream,) = served.asking.session.streams
        assert served.service.is_silent(open_stream)
        answer = served.asking.send(stream, message(b"a"), is_last=True)
        await served.asking.until_over(answer)
        assert not served.service.is_silent(open_stream)


async def test_what_a_failed_call_had_in_hand_goes_with_it() -> None:
    served = Served()
    gc.disable()
    try:
        assert await status(served, head(path="/t/FailsLate"), message(b"")) == ("5", "none of 23")
        assert served.methods.kept is not None
        assert served.methods.kept() is None
    finally:
        gc.enable()


async def test_an_inflated_message_has_a_limit_of_its_own() -> None:
    served = Served(MessageLimits(max_inflated_bytes=1000))
    fields = head(("grpc-encoding", "gzip"))
    expected = ("8", "Decompressed message larger than max")
    assert await status(served, fields, message(gzip.compress(bytes(1001)), 1)) == expected
    assert await status(served, fields, message(gzip.compress(bytes(1000)), 1)) == ("0", "")
    assert await status(served, head(), message(bytes(1001))) == ("0", "")


@pytest.mark.parametrize(
    ("path", "data"),
    [("/t/Starved", b""), ("/t/StarvedLate", b""), ("/t/Each", b"starve"), ("/t/One", b"starve")],
)
async def test_a_call_that_there_is_no_memory_for_is_refused_in_words(
    path: str, data: bytes
) -> None:
    served = Served()
    found = await status(served, head(path=path), message(data))
    assert found == ("8", "Out of memory: no room")
    assert served.methods.kept is None or served.methods.kept() is None


@pytest.mark.parametrize("path", ["/t/Echo", "/t/One"])
async def test_a_message_that_there_is_no_memory_for_is_refused_in_words(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_reader: object, _data: object) -> None:
        raise MemoryError

    monkeypatch.setattr(MessageReader, "read", full)
    served = Served()
    stream = served.asking.begin(head(path=path))
    answer = served.asking.send(stream, message(bytes(100))[:50])
    await served.asking.until_over(answer)
    assert (answer.head["grpc-status"], answer.head["grpc-message"]) == ("8", "Out of memory")


async def test_an_inflated_message_that_there_is_no_memory_for_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_inflating: object, _most_bytes: int) -> None:
        raise MemoryError

    monkeypatch.setattr(Inflating, "whole", full)
    fields = head(("grpc-encoding", "gzip"))
    for size in (10, 200_000):
        body = message(gzip.compress(random.Random(1).randbytes(size)), flags=1)
        assert await status(Served(), fields, body) == ("8", "Out of memory")


async def test_an_answer_that_there_is_no_memory_to_compress_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_data: bytes, _encoding: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr("salver.rpc.http2_calls.deflated", full)
    served = Served(MessageLimits(encoding=b"gzip"))
    fields = head(("grpc-accept-encoding", "gzip"))
    assert await status(served, fields, message(bytes(100_000))) == ("8", "Out of memory")
