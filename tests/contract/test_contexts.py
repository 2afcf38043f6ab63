"""What an interceptor is told of a request, over every transport."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import trustme

from salver.config.tls import TlsConfig
from salver.inference.context import RequestContext
from salver.protocols.api import Api, RestRoute
from salver.protocols.calls import served_methods
from salver.protocols.methods import Call
from salver.protocols.rest_errors import error_page, refusal_or_fault
from salver.protocols.router import Router
from salver.transport.messages import HttpRequest, HttpResponse
from salver.transport.server import HttpServer
from salver.transport.tls import server_context
from salver.vocabulary.requests import ServableRequest
from tests.rpc_servers import SERVERS

A = TypeVar("A")
HOST = "127.0.0.1"
NAMES = ("client.example", "client@example.org")


class Seen:
    """An interceptor that writes down what it is told."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def __call__(
        self, context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
    ) -> "A | Coroutine[Any, Any, A]":
        identity = context.identity
        self.all.append(
            {
                "protocol": context.protocol,
                "target": context.target,
                "peer": context.peer,
                "key": context.header(b"x-api-key"),
                "none": context.header(b"x-none"),
                "servable": context.servable,
                "has_timeout": context.timeout_s is not None,
                "subject": None if identity is None else identity.subject,
                "names": () if identity is None else tuple(identity.names),
            }
        )
        return proceed()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def of_client(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert(*NAMES, common_name="a client", organization_name="An, Org")


def tls(authority: trustme.CA) -> TlsConfig:
    issued = authority.issue_cert(HOST)
    return TlsConfig(
        server_key=issued.private_key_pem.bytes().decode(),
        server_cert=issued.cert_chain_pems[0].bytes().decode(),
        custom_ca=authority.cert_pem.bytes().decode(),
        client_verify=True,
    )


def echo(data: bytes, _call: Call) -> bytes:
    return data


API = Api(
    routes=[RestRoute("/a/(?P<name>[a-z]+)", lambda _: HttpResponse(200, b"ok"))],
    methods={"/t.S/Echo": echo},
    servable_of=lambda _method, data: ServableRequest(data.decode()),
)


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_grpc_call_tells_who_calls_what(
    authority: trustme.CA, of_client: trustme.LeafCert, kind: str, is_secure: bool
) -> None:
    seen = Seen()
    server = SERVERS[kind](served_methods(API, [seen]))
    ((_, port),) = server.listen_tcp(HOST, 0, tls(authority) if is_secure else None)
    await server.start()
    target = f"{HOST}:{port}"
    if is_secure:
        credentials = grpc.ssl_channel_credentials(
            authority.cert_pem.bytes(),
            of_client.private_key_pem.bytes(),
            of_client.cert_chain_pems[0].bytes(),
        )
        channel = grpc.aio.secure_channel(target, credentials)
    else:
        channel = grpc.aio.insecure_channel(target)
    async with channel:
        call = channel.unary_unary("/t.S/Echo")
        assert await call(b"m", timeout=30, metadata=(("x-api-key", "k"),)) == b"m"
    await server.drain(0)
    [told] = seen.all
    subject, names = told.pop("subject"), told.pop("names")
    assert told == {
        "protocol": "GRPC",
        "target": "/t.S/Echo",
        "peer": HOST,
        "key": b"k",
        "none": None,
        "servable": ServableRequest("m"),
        "has_timeout": True,
    }
    check_identity(subject, names, is_secure=is_secure)


def check_identity(subject: str | None, names: tuple[str, ...], *, is_secure: bool) -> None:
    if not is_secure:
        assert (subject, names) == (None, ())
        return
    assert names == NAMES
    assert subject is not None
    assert subject.startswith("CN=a client,")
    assert r"O=An\, Org" in subject


@asynccontextmanager
async def http_server(seen: Seen, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    router = Router(
        [API],
        failed=refusal_or_fault,
        not_found=lambda _request: HttpResponse(404),
        interceptors=[seen],
        timeout_s=5.0,
    )
    server = HttpServer(
        router,
        error_page=error_page,
        clock=time.time,  # noqa: TID251 - the clock that is injected
        run_in_pool=lambda call, _size=0: asyncio.to_thread(call),
    )
    ((_, port),) = await server.listen(HOST, 0, context)
    yield port
    await server.close()


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_rest_request_tells_who_asks_for_what(
    authority: trustme.CA, of_client: trustme.LeafCert, tmp_path: Path, is_secure: bool
) -> None:
    config, seen = tls(authority), Seen()
    context, of_peer = None, None
    if is_secure:
        context = server_context(
            server_key=config.server_key,
            server_cert=config.server_cert,
            custom_ca=config.custom_ca,
            client_verify=True,
        )
        of_peer = ssl.create_default_context()
        authority.configure_trust(of_peer)
        of_client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        of_peer.load_cert_chain(tmp_path / "client.pem")
    async with http_server(seen, context) as port:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=of_peer)
        writer.write(b"GET /a/m HTTP/1.1\r\nHost: a\r\nX-API-Key: k\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()
    [told] = seen.all
    subject, names = told.pop("subject"), told.pop("names")
    assert told == {
        "protocol": "REST",
        "target": "/a/m",
        "peer": HOST,
        "key": b"k",
        "none": None,
        "servable": ServableRequest("m"),
        "has_timeout": True,
    }
    check_identity(subject, names, is_secure=is_secure)


def test_a_request_is_a_context() -> None:
    """For the type checker: the transport knows nothing of the interface it has."""
    contexts: list[RequestContext] = [HttpRequest("GET", "/"), Call()]
    assert [context.identity for context in contexts] == [None, None]
