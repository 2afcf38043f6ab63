import asyncio
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tests.integration.serving import free_port
from tests.unit.client.test_http_transport import silent

from salver.client.address import Tls, parse_address
from salver.client.exchange import Exchange, NotSent
from salver.client.grpc_transport import AsyncGrpcTransport, GrpcTransport, _metadata
from salver.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""A frame of HTTP/2, with which a server begins."""


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers with the request and its metadata; some methods fail."""

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            if details.method.endswith("/Fail"):
                context.abort(grpc.StatusCode.NOT_FOUND, "not here")
            if details.method.endswith("/Drain"):
                context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
            if details.method.endswith("/Advise"):
                context.set_trailing_metadata(
                    (("other", "x"), ("salver-hint", "take %E2%80%9Cm%E2%80%9D%0Aor 5%25"))
                )
                context.abort(grpc.StatusCode.NOT_FOUND, "not here")
            if details.method.endswith("/Wait"):
                is_over = threading.Event()
                context.add_callback(is_over.set)
                is_over.wait(10)
            metadata = dict(context.invocation_metadata())
            return request + str(metadata.get("x-key", "")).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=(Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(None).wait()


class Twins:
    def __init__(self, is_async: bool) -> None:
        self._is_async = is_async

    def send(
        self,
        url: str,
        method: str = "/s/Echo",
        body: bytes | None = b"x",
        timeout_s: float | None = 10.0,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        address = parse_address(url)
        exchange: Exchange[Any] = Exchange(method, body, lambda reply: reply)
        if self._is_async:

            async def send() -> bytes:
                twin = AsyncGrpcTransport(address, tls, headers or {})
                try:
                    return (await twin.send(exchange, timeout_s)).body
                finally:
                    await twin.close()

            return asyncio.run(send())
        transport = GrpcTransport(address, tls, headers or {})
        try:
            return transport.send(exchange, timeout_s).body
        finally:
            transport.close()


@pytest.fixture(params=[False, True], ids=["blocking", "async"])
def twins(request: pytest.FixtureRequest) -> Twins:
    return Twins(request.param)


def test_bytes_go_and_come_with_metadata(twins: Twins, url: str) -> None:
    assert twins.send(url, headers={"X-Key": "y"}) == b"xy"
    assert twins.send(url, body=None, timeout_s=None) == b""


def test_a_status_is_raised(twins: Twins, url: str) -> None:
    with pytest.raises(NotFound, match=r"^not here$"):
        twins.send(url, "/s/Fail")


def test_only_what_found_no_connection_was_not_sent(twins: Twins, url: str) -> None:
    with pytest.raises(NotSent):
        twins.send(f"grpc://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable) as caught:
        twins.send(url, "/s/Drain")
    assert not isinstance(caught.value, NotSent)
    with broken() as port, pytest.raises(Unavailable) as caught:
        twins.send(f"grpc://127.0.0.1:{port}", body=b"x-of-the-body")
    assert not isinstance(caught.value, NotSent)


@contextmanager
def broken() -> Iterator[int]:
    """A server that goes as soon as a request has come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(SETTINGS)
                received = b""
                while b"x-of-the-body" not in received and (more := connection.recv(1 << 16)):
                    received += more

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(10)


def test_the_hint_of_a_status_is_read(twins: Twins, url: str) -> None:
    with pytest.raises(NotFound) as caught:
        twins.send(url, "/s/Advise")
    assert (caught.value.message, caught.value.hint) == ("not here", "take “m”\nor 5%")


def test_the_time_of_a_call_ends(twins: Twins, url: str) -> None:
    with pytest.raises(DeadlineExceeded):
        twins.send(url, "/s/Wait", timeout_s=0.05)


def test_nobody_there_is_unavailable(twins: Twins, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        twins.send(f"unix:{tmp_path}/none.sock")


def test_grpc_always_verifies(twins: Twins) -> None:
    with pytest.raises(InvalidArgument, match=r"gRPC always verifies the server"):
        twins.send("grpcs://h:1", tls=Tls(is_verified=False))


def test_tls_files_must_be_there(twins: Twins, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"TLS cannot be set up: "):
        twins.send("grpcs://h:1", tls=Tls(ca=tmp_path / "none.pem"))


def test_a_secure_channel_trusts_the_authority_it_is_told(twins: Twins, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(of.bytes() for of in issued.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    server = grpc.server(ThreadPoolExecutor(1), handlers=(Echo(),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        url = f"grpcs://127.0.0.1:{port}"
        assert twins.send(url, tls=Tls(ca=tmp_path / "ca.pem")) == b"x"
        with pytest.raises(Unavailable):
            twins.send(url)
    finally:
        server.stop(None).wait()


def test_without_grpcio_the_error_says_what_to_do(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(FailedPrecondition, match=r"gRPC needs the package grpcio: ") as caught:
        twins.send("grpc://h:1")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("pip install grpcio")


@pytest.mark.parametrize("headers", [{"a b": "c"}, {"a": "é"}, {"a": "b\r\nc: d"}])
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="is no header that gRPC can send"):
        GrpcTransport(parse_address("grpc://127.0.0.1:1"), None, headers)


def test_binary_headers_go_as_bytes() -> None:
    assert _metadata({"Trace-Bin": "ab", "X": "y"}) == (("trace-bin", b"ab"), ("x", "y"))


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch, twins: Twins) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(Unavailable) as raised:
        twins.send("grpc://127.0.0.1:1", "/a.B/C")
    assert "127.0.0.1:1:" in raised.value.message


def test_a_machine_that_is_off_is_unavailable_before_the_time_is_over() -> None:
    with silent() as url:
        target = url.removeprefix("http://")
        address = replace(parse_address(f"grpc://{target}"), connect_s=0.5)
        transport = GrpcTransport(address, None, {})
        with closing(transport), pytest.raises(NotSent):
            transport.send(Exchange("/t.S/M", b"", lambda reply: reply), 15.0)
