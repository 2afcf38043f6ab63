"""The server over real sockets, with grpc's own clients."""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
import trustme

from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument, NotFound
from salver.protocols.methods import Call, MethodTable, Stream
from salver.rpc.errors import CannotListen
from tests.rpc_servers import SERVERS, AnyServer

HOST = "127.0.0.1"

# HTTP/2, by hand: types of frames, and what a client begins with.
_DATA, _HEADERS, _SETTINGS, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 7, 8
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def _headers(method: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/t.S/{method}",
        ":authority": "here",
        "content-type": "application/grpc",
        "te": "trailers",  # codespell:ignore te
    }
    block = b"".join(
        bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    return _frame(_HEADERS, 4, 1, block)


def _message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


class _Wire:
    """A client that says what it is told to, and nothing by itself: no acknowledgement either."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    async def frame(self, kind: int) -> bytes:
        """The payload of the next frame of a kind."""
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == kind:
                return payload


@asynccontextmanager
async def _wire(server: AnyServer) -> AsyncIterator[_Wire]:
    ((_, port),) = server.listen_tcp(HOST, 0)
    await server.start()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield _Wire(reader, writer)
    finally:
        writer.transport.abort()


class _Methods:
    """A table, and what its methods saw."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_entered = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.was_cancelled = asyncio.Event()

    def table(self) -> MethodTable:
        return {
            "/t.S/Echo": self.echo,
            "/t.S/Later": self.later,
            "/t.S/Wait": self.wait,
            "/t.S/NotFound": self.not_found,
            "/t.S/Advised": self.advised,
            "/t.S/Broken": self.broken,
            "/t.S/BrokenLater": self.broken_later,
            "/t.S/Each": Stream(self.each),
            "/t.S/Count": Stream(self.count, is_request_single=True),
        }

    def echo(self, data: bytes, call: Call) -> bytes:
        self.calls.append(call)
        self.is_entered.set()
        return data

    async def later(self, data: bytes, _call: Call) -> bytes:
        await asyncio.sleep(0)
        return data

    async def wait(self, data: bytes, _call: Call) -> bytes:
        self.is_entered.set()
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        return data

    def not_found(self, data: bytes, _call: Call) -> bytes:
        raise NotFound(data.decode())

    def advised(self, data: bytes, _call: Call) -> bytes:
        raise NotFound("Servable not found", hint=data.decode())

    def broken(self, _data: bytes, _call: Call) -> bytes:
        raise ZeroDivisionError("no number")

    async def broken_later(self, _data: bytes, _call: Call) -> bytes:
        raise ZeroDivisionError("no number")

    async def each(
        self, requests: AsyncIterator[bytes], call: Call
    ) -> "AsyncGenerator[bytes, None]":
        self.calls.append(call)
        async for data in requests:
            if data == b"not found":
                raise NotFound("nothing")
            if data == b"advised":
                raise NotFound("nothing", hint="anything")
            if data == b"broken":
                raise ZeroDivisionError("no number")
            yield data
        self.was_cancelled.set()

    async def count(
        self, requests: AsyncIterator[bytes], _call: Call
    ) -> "AsyncGenerator[bytes, None]":
        try:
            async for data in requests:
                for number in range(int(data)):
                    yield str(number).encode()  # a client may leave as soon as it has read this
            await self.may_go_on.wait()
        finally:
            self.was_cancelled.set()


@pytest.fixture
async def methods() -> _Methods:
    return _Methods()


@pytest.fixture(params=SERVERS)
def make_server(request: pytest.FixtureRequest) -> Callable[..., AnyServer]:
    return SERVERS[request.param]


@pytest.fixture
async def server(
    methods: _Methods, make_server: Callable[..., AnyServer]
) -> AsyncIterator[AnyServer]:
    server = make_server(methods.table())
    yield server
    await server.drain(0)


@pytest.fixture
async def channel(server: AnyServer) -> AsyncIterator[Any]:
    ((_, port),) = server.listen_tcp(HOST, 0)
    await server.start()
    unlimited = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(f"{HOST}:{port}", unlimited) as channel:
        yield channel


async def _call(channel: Any, method: str, data: bytes = b"", **more: Any) -> bytes:
    answer = await channel.unary_unary(f"/t.S/{method}")(data, wait_for_ready=True, **more)
    return bytes(answer)


async def _outcome(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


async def _refusal(awaitable: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code().name, caught.value.details()


def _hints(error: Any) -> list[str]:
    return [unquote(value) for key, value in error.trailing_metadata() if key == "salver-hint"]


class TestUnary:
    @pytest.mark.parametrize("method", ["Echo", "Later"])
    @pytest.mark.parametrize("data", [b"", b"some", bytes(range(256)) * 40_000])
    async def test_bytes_go_in_and_come_out_at_once_or_later(
        self, channel: Any, method: str, data: bytes
    ) -> None:
        assert await _call(channel, method, data) == data

    async def test_the_deadline_reaches_the_method(self, channel: Any, methods: _Methods) -> None:
        await _call(channel, "Echo", timeout=30)
        await _call(channel, "Echo")
        first, second = methods.calls
        assert first.timeout_s is not None
        assert 25 < first.timeout_s < 31
        assert second.timeout_s is None

    async def test_an_error_is_its_code_and_text(self, channel: Any) -> None:
        assert await _refusal(_call(channel, "NotFound", b"Servable not found")) == (
            "NOT_FOUND",
            "Servable not found",
        )

    @pytest.mark.parametrize(
        "hint", ["Models of this server: mlp.", "“mlp” – 5 % of it\nand more ", "x" * 1024]
    )
    async def test_a_hint_travels_beside_the_text(self, channel: Any, hint: str) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _call(channel, "Advised", hint.encode())
        assert (caught.value.code().name, caught.value.details()) == (
            "NOT_FOUND",
            "Servable not found",
        )
        assert _hints(caught.value) == [hint]

    async def test_an_error_without_a_hint_has_no_field_for_one(self, channel: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _call(channel, "NotFound", b"x")
        assert _hints(caught.value) == []

    async def test_a_long_text_is_cut(self, channel: Any) -> None:
        _, text = await _refusal(_call(channel, "NotFound", b"x" * 2000))
        assert text == "x" * 1024 + "...TRUNCATED"

    @pytest.mark.parametrize("method", ["Broken", "BrokenLater"])
    async def test_a_method_that_breaks_is_logged_and_the_server_lives(
        self, channel: Any, method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await _refusal(_call(channel, method)) == ("INTERNAL", "Internal error: no number")
        assert [record.message for record in caplog.records] == [
            "A call failed in a way it should not"
        ]
        assert caplog.records[0].exc_info is not None
        assert await _call(channel, "Echo", b"still there") == b"still there"

    async def test_an_unknown_method_is_unimplemented(self, channel: Any) -> None:
        assert (await _refusal(_call(channel, "Nothing")))[0] == "UNIMPLEMENTED"

    async def test_a_client_that_leaves_cancels_the_method(
        self, channel: Any, methods: _Methods
    ) -> None:
        call = channel.unary_unary("/t.S/Wait")(b"")
        await methods.is_entered.wait()
        call.cancel()
        await asyncio.wait_for(methods.was_cancelled.wait(), 10)

    async def test_a_deadline_that_passes_cancels_the_method(
        self, channel: Any, methods: _Methods
    ) -> None:
        refusal = await _refusal(_call(channel, "Wait", timeout=0.2))
        assert refusal[0] == "DEADLINE_EXCEEDED"
        await asyncio.wait_for(methods.was_cancelled.wait(), 10)

    @pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
    async def test_a_compressed_request_is_read(self, channel: Any, how: Any) -> None:
        data = b"some" * 10_000
        assert await _call(channel, "Echo", data, compression=how) == data

    async def test_what_is_in_flight_is_counted(
        self, channel: Any, server: AnyServer, methods: _Methods
    ) -> None:
        assert server.in_flight == 0
        call = asyncio.ensure_future(_call(channel, "Wait"))
        await methods.is_entered.wait()
        assert server.in_flight == 1
        methods.may_go_on.set()
        await call
        await server.drain(30)
        assert server.in_flight == 0

    @pytest.mark.parametrize("method", ["Echo", "Wait", "Count"])
    async def test_a_call_without_its_message_is_refused(self, channel: Any, method: str) -> None:
        call = channel.stream_unary(f"/t.S/{method}")(timeout=30)
        await call.done_writing()
        assert await _refusal(call) == ("INTERNAL", "The call ended without its message")

    async def test_a_client_that_leaves_before_its_message_is_whole_is_forgotten(
        self, server: AnyServer, methods: _Methods, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with _wire(server) as wire:
            half = _frame(_DATA, 0, 1, _message(b"whole")[:-2])
            wire.send(_PREFACE, _frame(_SETTINGS, 0, 0), _headers("Echo"), half)
            await wire.frame(_SETTINGS)
        assert await server.drain(30) == 0
        assert methods.calls == []
        assert caplog.records == []


class TestStreams:
    async def test_each_message_is_answered_as_it_comes(
        self, channel: Any, methods: _Methods
    ) -> None:
        call = channel.stream_stream("/t.S/Each")(timeout=30)
        for data in (b"a", b"b"):
            await call.write(data)
            assert await call.read() == data
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert methods.calls[0].timeout_s is not None

    @pytest.mark.parametrize(
        ("data", "code"), [(b"not found", "NOT_FOUND"), (b"broken", "INTERNAL")]
    )
    async def test_an_error_ends_the_stream(
        self, channel: Any, data: bytes, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        call = channel.stream_stream("/t.S/Each")()
        await call.write(data)
        assert (await _refusal(call.read()))[0] == code
        assert len(caplog.records) == (code == "INTERNAL")

    async def test_the_hint_of_an_error_comes_with_the_end_of_the_stream(
        self, channel: Any
    ) -> None:
        for first in ([], [b"a"]):
            call = channel.stream_stream("/t.S/Each")()
            for data in first:
                await call.write(data)
                assert await call.read() == data
            await call.write(b"advised")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert (caught.value.details(), _hints(caught.value)) == ("nothing", ["anything"])

    async def test_one_request_may_have_many_responses(
        self, channel: Any, methods: _Methods
    ) -> None:
        methods.may_go_on.set()
        call = channel.unary_stream("/t.S/Count")(b"3")
        assert [message async for message in call] == [b"0", b"1", b"2"]

    async def test_a_client_that_leaves_ends_the_method(
        self, channel: Any, methods: _Methods
    ) -> None:
        call = channel.unary_stream("/t.S/Count")(b"1")
        assert await call.read() == b"0"
        call.cancel()
        await asyncio.wait_for(methods.was_cancelled.wait(), 10)


class TestDrain:
    async def test_what_is_in_flight_is_finished(
        self, channel: Any, server: AnyServer, methods: _Methods
    ) -> None:
        call = asyncio.ensure_future(_call(channel, "Wait", b"mine"))
        await methods.is_entered.wait()
        draining = asyncio.ensure_future(server.drain(30))
        await asyncio.sleep(0)
        methods.may_go_on.set()
        assert await draining == 0
        assert await call == b"mine"

    async def test_new_calls_are_turned_away(self, channel: Any, server: AnyServer) -> None:
        await _call(channel, "Echo")
        await server.drain(30)
        refusal = await _refusal(channel.unary_unary("/t.S/Echo")(b""))
        assert refusal[0] == "UNAVAILABLE"

    async def test_what_the_library_has_not_handed_over_yet_is_answered_too(
        self, channel: Any, server: AnyServer, methods: _Methods
    ) -> None:
        echo = channel.unary_unary("/t.S/Echo")
        calls = [asyncio.ensure_future(_outcome(echo(b""))) for _ in range(100)]
        await methods.is_entered.wait()
        await server.drain(30)
        # UNAVAILABLE is for those that had not arrived, which clients may ask somebody else.
        assert set(await asyncio.gather(*calls)) <= {"OK", "UNAVAILABLE"}

    async def test_what_takes_too_long_is_cut_off_and_counted(
        self, channel: Any, server: AnyServer, methods: _Methods
    ) -> None:
        call = asyncio.ensure_future(_call(channel, "Wait"))
        await methods.is_entered.wait()
        assert await server.drain(0.05) == 1
        assert (await _refusal(call))[0] in ("UNAVAILABLE", "CANCELLED")
        assert methods.was_cancelled.is_set()

    async def test_a_stream_that_waits_for_its_client_ends(
        self, channel: Any, server: AnyServer, methods: _Methods
    ) -> None:
        call = channel.stream_stream("/t.S/Each")()
        await call.write(b"a")
        assert await call.read() == b"a"
        assert await server.drain(30) == 0
        assert methods.was_cancelled.is_set()
        assert await call.read() is grpc.aio.EOF

    @pytest.mark.parametrize(
        "said",
        [
            (),
            (_PREFACE, _frame(_SETTINGS, 0, 0)),
            (_PREFACE, _frame(_SETTINGS, 0, 0), _headers("Echo")),
            (_PREFACE, _frame(_SETTINGS, 0, 0), _headers("Echo"), _frame(_DATA, 0, 1, b"\0\0")),
            (_PREFACE, _frame(_SETTINGS, 0, 0), _headers("Count")),
        ],
        ids=["nothing", "settings", "no message", "half a message", "no message to a stream"],
    )
    async def test_a_client_that_is_silent_does_not_hold_it_up(
        self, server: AnyServer, said: tuple[bytes, ...]
    ) -> None:
        async with _wire(server) as wire:
            wire.send(*said)
            if said:
                await wire.frame(_SETTINGS)
            assert await asyncio.wait_for(server.drain(60), 10) == 0

    async def test_a_client_that_is_silent_does_not_cut_short_the_others(
        self, server: AnyServer, methods: _Methods, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("salver.rpc.aio_server._PARTING_S", 0)
        monkeypatch.setattr("salver.rpc.http2_server._PARTING_S", 0)
        async with _wire(server) as wire:
            whole = _frame(_DATA, 1, 1, _message(b"mine"))
            wire.send(_PREFACE, _frame(_SETTINGS, 0, 0), _headers("Wait"), whole)
            await methods.is_entered.wait()
            draining = asyncio.ensure_future(server.drain(30))
            await wire.frame(_GOAWAY)
            await asyncio.wait((draining,), timeout=0.1)  # it would cut it now
            methods.may_go_on.set()
            assert await wire.frame(_DATA) == _message(b"mine")
            assert await draining == 0

    async def test_a_message_that_becomes_whole_meanwhile_is_answered(
        self, server: AnyServer, methods: _Methods
    ) -> None:
        async with _wire(server) as wire:
            message = _message(b"mine")
            first = _frame(_DATA, 0, 1, message[:-2])
            wire.send(_PREFACE, _frame(_SETTINGS, 0, 0), _headers("Wait"), first)
            await wire.frame(_SETTINGS)
            draining = asyncio.ensure_future(server.drain(30))
            await wire.frame(_GOAWAY)
            await asyncio.wait((draining,), timeout=0.1)  # nothing is in flight
            wire.send(_frame(_DATA, 1, 1, message[-2:]))
            await methods.is_entered.wait()
            await asyncio.wait((draining,), timeout=0.7)  # it would cut it now
            methods.may_go_on.set()
            assert await wire.frame(_DATA) == message
        assert await draining == 0

    async def test_an_answer_that_its_client_takes_slowly_is_sent_whole(
        self, server: AnyServer, methods: _Methods, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("salver.rpc.aio_server._PARTING_S", 0)
        monkeypatch.setattr("salver.rpc.http2_server._PARTING_S", 0)
        message = _message(bytes(range(100)))
        window = _frame(_SETTINGS, 0, 0, b"\0\4" + (10).to_bytes(4, "big"))
        async with _wire(server) as wire:
            wire.send(_PREFACE, window, _headers("Echo"), _frame(_DATA, 1, 1, message))
            got = await wire.frame(_DATA)
            assert len(got) == 10
            draining = asyncio.ensure_future(server.drain(30))
            await wire.frame(_GOAWAY)
            await asyncio.wait((draining,), timeout=0.1)  # it would cut it now
            while len(got) < len(message):
                wire.send(_frame(_WINDOW_UPDATE, 0, 1, (10).to_bytes(4, "big")))
                got += await wire.frame(_DATA)
            assert got == message
            assert await draining == 0

    async def test_a_server_that_never_started_is_drained_at_once(
        self, make_server: Callable[..., AnyServer]
    ) -> None:
        assert await make_server({}).drain(30) == 0


class TestListening:
    async def test_a_port_in_use_is_refused_and_it_is_said_why(self, server: AnyServer) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(CannotListen) as caught:
                server.listen_tcp(HOST, port)
        assert caught.value.message == "Failed to BuildAndStart gRPC server"
        assert caught.value.hint == f"{HOST}, port {port}: Address already in use"
        assert isinstance(caught.value, InvalidArgument)

    async def test_two_servers_share_no_port(
        self, server: AnyServer, make_server: Callable[..., AnyServer]
    ) -> None:
        ((_, port),) = server.listen_tcp(HOST, 0)
        await server.start()
        with pytest.raises(CannotListen):
            make_server({}).listen_tcp(HOST, port)

    async def test_a_host_that_is_none_is_refused(self, server: AnyServer) -> None:
        with pytest.raises(CannotListen, match="BuildAndStart") as caught:
            server.listen_tcp("no.such.host.invalid", 0)
        assert "no.such.host.invalid, port 0: " in str(caught.value.hint)

    async def test_ipv6_is_served(self, server: AnyServer) -> None:
        try:
            ((host, port),) = server.listen_tcp("::1", 0)
        except CannotListen:
            pytest.skip("there is no IPv6 here")
        assert host == "::1"
        await server.start()
        async with grpc.aio.insecure_channel(f"[::1]:{port}") as channel:
            assert await _call(channel, "Echo", b"six") == b"six"

    async def test_without_a_host_it_is_every_address(self, server: AnyServer) -> None:
        ((_, port),) = server.listen_tcp("", 0)
        await server.start()
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            assert await _call(channel, "Echo", b"all") == b"all"

    async def test_arguments_override_ours(
        self, methods: _Methods, make_server: Callable[..., AnyServer]
    ) -> None:
        server = make_server(methods.table(), [("grpc.max_receive_message_length", 100)])
        ((_, port),) = server.listen_tcp(HOST, 0)
        await server.start()
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            assert await _call(channel, "Echo", b"x" * 100) == b"x" * 100
            refusal = await _refusal(_call(channel, "Echo", b"x" * 101))
            assert refusal[0] == "RESOURCE_EXHAUSTED"
        await server.drain(0)


class TestUnixSockets:
    async def test_it_is_served_and_gone_afterwards(
        self, server: AnyServer, tmp_path: Path
    ) -> None:
        path = tmp_path / "a socket%20 ü"
        server.listen_unix(str(path))
        await server.start()
        assert path.is_socket()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        await server.drain(0)
        assert not path.exists()

    async def test_calls_come_through_it(self, server: AnyServer, tmp_path: Path) -> None:
        server.listen_unix(str(tmp_path / "s"))
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
            assert await _call(channel, "Echo", b"near") == b"near"

    async def test_a_stale_one_is_replaced(self, server: AnyServer, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        server.listen_unix(str(path))
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            assert await _call(channel, "Echo", b"near") == b"near"

    async def test_one_of_a_living_server_is_left_alone(
        self, server: AnyServer, tmp_path: Path
    ) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(str(path))
            living.listen()
            with pytest.raises(CannotListen) as caught:
                server.listen_unix(str(path))
        assert caught.value.hint == f"{path}: another server listens there"

    async def test_one_of_a_server_too_busy_to_accept_is_left_alone(
        self, server: AnyServer, tmp_path: Path
    ) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as living, ExitStack() as clients:
            living.bind(str(path))
            living.listen(0)
            is_full = False
            while not is_full:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                is_full = client.connect_ex(str(path)) == errno.EAGAIN
            with pytest.raises(CannotListen) as caught:
                server.listen_unix(str(path))
        assert caught.value.hint == f"{path}: another server listens there"

    async def test_a_file_that_is_no_socket_is_left_alone(
        self, server: AnyServer, tmp_path: Path
    ) -> None:
        path = tmp_path / "s"
        path.write_text("precious")
        with pytest.raises(CannotListen) as caught:
            server.listen_unix(str(path))
        assert caught.value.hint == f"{path}: it is there, and no socket"
        assert path.read_text() == "precious"

    async def test_one_of_another_kind_is_left_alone(
        self, server: AnyServer, tmp_path: Path
    ) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(str(path))
            with pytest.raises(CannotListen) as caught:
                server.listen_unix(str(path))
        assert str(caught.value.hint).startswith(f"{path}: ")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def config_of(authority: trustme.CA) -> Callable[..., TlsConfig]:
    certificate = authority.issue_cert("localhost", HOST)

    def make(*, custom_ca: str = "", client_verify: bool = False) -> TlsConfig:
        return TlsConfig(
            certificate.private_key_pem.bytes().decode(),
            "".join(pem.bytes().decode() for pem in certificate.cert_chain_pems),
            custom_ca,
            client_verify,
        )

    return make


@asynccontextmanager
async def _secure(server: AnyServer, security: Any, credentials: Any) -> AsyncIterator[Any]:
    ((_, port),) = server.listen_tcp(HOST, 0, security)
    await server.start()
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        yield channel


async def _code_without_waiting(channel: Any) -> str:
    return (await _refusal(channel.unary_unary("/t.S/Echo")(b"", timeout=20)))[0]


class TestTls:
    async def test_a_client_that_trusts_the_authority_is_served(
        self, server: AnyServer, config_of: Callable[..., TlsConfig], authority: trustme.CA
    ) -> None:
        trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with _secure(server, config_of(), trusting) as channel:
            assert await _call(channel, "Echo", b"secret") == b"secret"

    async def test_a_plain_client_is_not(
        self, server: AnyServer, config_of: Callable[..., TlsConfig]
    ) -> None:
        ((_, port),) = server.listen_tcp(HOST, 0, config_of())
        await server.start()
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            assert await _code_without_waiting(channel) == "UNAVAILABLE"

    async def test_clients_are_verified_where_it_is_asked_for(
        self, server: AnyServer, config_of: Callable[..., TlsConfig], authority: trustme.CA
    ) -> None:
        root = authority.cert_pem.bytes()
        shown = authority.issue_cert("client@example.org")
        known = grpc.ssl_channel_credentials(
            root,
            shown.private_key_pem.bytes(),
            b"".join(pem.bytes() for pem in shown.cert_chain_pems),
        )
        security = config_of(custom_ca=root.decode(), client_verify=True)
        ((_, port),) = server.listen_tcp(HOST, 0, security)
        await server.start()
        target = f"localhost:{port}"
        async with grpc.aio.secure_channel(target, known) as channel:
            assert await _call(channel, "Echo", b"secret") == b"secret"
        nameless = grpc.ssl_channel_credentials(root)
        async with grpc.aio.secure_channel(target, nameless) as channel:
            assert await _code_without_waiting(channel) == "UNAVAILABLE"

    async def test_without_a_custom_authority_the_system_s_count(
        self,
        server: AnyServer,
        config_of: Callable[..., TlsConfig],
        authority: trustme.CA,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(authority.cert_pem.bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        shown = authority.issue_cert("client@example.org")
        known = grpc.ssl_channel_credentials(
            authority.cert_pem.bytes(),
            shown.private_key_pem.bytes(),
            b"".join(pem.bytes() for pem in shown.cert_chain_pems),
        )
        async with _secure(server, config_of(client_verify=True), known) as channel:
            assert await _call(channel, "Echo", b"secret") == b"secret"

    async def test_a_key_that_is_none_is_refused(self, server: AnyServer) -> None:
        with pytest.raises(InvalidArgument, match="no matching PEM pair"):
            server.listen_tcp(HOST, 0, TlsConfig("key", "cert", "", client_verify=False))
