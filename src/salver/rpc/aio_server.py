"""The one place that knows the gRPC library: serves a table of methods through grpc.aio."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal
from urllib.parse import quote

# The library writes to standard error, in a form of its own, each TLS handshake that fails, and why
# it cannot listen, which our own errors say. It looks at this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from salver.config.grpc import ChannelArgument
from salver.config.tls import TlsConfig
from salver.errors import Internal, InvalidArgument, Overloaded, ServingError, drop_frames
from salver.protocols.methods import (
    OTHERS,
    CallScreens,
    MethodTable,
    Stream,
    StreamMethod,
    UnaryMethod,
)
from salver.protocols.version_header import VERSION_HEADER
from salver.rpc.aio_call import AioCall
from salver.rpc.errors import CannotListen, rpc_status
from salver.rpc.http2_metadata import percent_encoded
from salver.rpc.http2_running import NO_MESSAGE, broken
from salver.rpc.http2_service import NO_SCREENS
from salver.transport.in_flight import UNLIMITED, Holding, MemoryInFlight
from salver.transport.listeners import open_listeners, unix_socket_refusal
from salver.transport.tls import server_context
from salver.vocabulary.hints import HINT_METADATA

__all__ = ["CannotListen", "RpcServer", "Security"]

_log = logging.getLogger(__name__)

Security = TlsConfig | Literal["alts"] | None
"""What protects a port; None leaves it plain."""

_OUR_ARGUMENTS: Final[tuple[ChannelArgument, ...]] = (
    ("grpc.max_receive_message_length", (1 << 31) - 1),
    ("grpc.max_send_message_length", -1),
    # Two servers on one port would share its connections without a word.
    ("grpc.so_reuseport", 0),
)
_QUIET_S: Final = 0.005  # so long is nothing handed over when there is nothing more
_MOST_TURNS: Final = 20
_PARTING_S: Final = 0.5  # for clients to hang up when nothing is in flight any more
_STATUS: Final = {status.value[0]: status for status in grpc.StatusCode}


class RpcServer:
    """A gRPC server. Belongs to the loop that is running when it is made.

    Listen, then start, then drain; each but listening once.
    """

    def __init__(
        self,
        table: MethodTable,
        arguments: Sequence[ChannelArgument] = (),
        *,
        memory: MemoryInFlight = UNLIMITED,
        screens: CallScreens = NO_SCREENS,
    ) -> None:
        """Make a server that listens nowhere yet.

        Args:
            table: what is served. Other methods are UNIMPLEMENTED.
            arguments: settings of the library, which count before ours.
            memory: counts the messages of calls that are not answered at once.
            screens: asked before the messages of calls are taken.
        """
        self._screens = screens
        self._draining: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._goaway: asyncio.Future[None] | None = None
        self._memory = memory
        self._calls: set[asyncio.Task[Any]] = set()  # from their messages until they are answered
        self._taken = 0
        self._handlers = {path: self._handler(path, method) for path, method in table.items()}
        self._server = grpc.aio.server(
            handlers=(self,), options=tuple(dict((*_OUR_ARGUMENTS, *arguments)).items())
        )

    @property
    def in_flight(self) -> int:
        """How many calls have brought their message and are not answered yet; streams too."""
        return len(self._calls)

    # -- listening -------------------------------------------------------------------------------

    def listen_tcp(
        self, host: str, port: int, security: Security = None
    ) -> tuple[tuple[str, int], ...]:
        """Open a port.

        Args:
            host: a name or an address; empty for every address of the machine.
            port: 0 takes a free one, the same for all addresses of `host`.
            security: see there.

        Returns:
            The addresses, (host, port) each.

        Raises:
            CannotListen: the port is in use, or the host has no address here.
            InvalidArgument: the key, the certificates or the machine do not fit the security.
        """
        credentials = _credentials(security)
        # The library cannot say why it does not listen, and gives names their addresses as it
        # likes; so the addresses are those a socket of ours could have.
        try:
            probes = open_listeners(host, port)
        except OSError as error:
            where = f"{host or 'any address'}, port {port}"
            raise CannotListen(f"{where}: {error.strerror or error}") from error
        addresses = [probe.getsockname()[:2] for probe in probes]
        for probe in probes:
            probe.close()
        for address, number in addresses:
            # The library takes 0.0.0.0 for all addresses, those of IPv6 too where there are any.
            name = "0.0.0.0" if not host else f"[{address}]" if ":" in address else address  # noqa: S104
            self._add(f"{name}:{number}", credentials, is_alts=security == "alts")
        return tuple(addresses)

    def listen_unix(self, path: str, security: Security = None) -> None:
        """Open a UNIX socket; one that nobody listens on any more is replaced.

        The library removes it at the end.

        Raises:
            CannotListen: another server listens there, it is no socket, or cannot be made.
            InvalidArgument: the key, the certificates or the machine do not fit the security.
        """
        credentials = _credentials(security)
        if (refusal := unix_socket_refusal(path)) is not None:
            raise CannotListen(f"{path}: {refusal}")
        self._add(f"unix:{quote(path)}", credentials, is_alts=security == "alts")

    def _add(self, address: str, credentials: Any, *, is_alts: bool) -> None:
        try:
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            reason = str(error).partition(";")[0]
            if is_alts:
                reason += "; ALTS works on Google Cloud only"
            raise CannotListen(reason) from error

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Answer calls from here on."""
        await self._server.start()

    async def drain(self, grace_s: float) -> int:
        """Take no more calls, end the streams, let the calls be answered, and stop.

        It waits for calls that have brought their message, and for no others: the library would
        also wait for clients that do not speak, or do not answer.

        Args:
            grace_s: what is unanswered by then is cut off.

        Returns:
            How many calls were cut off, streams included.
        """
        if not self._draining.done():
            self._draining.set_result(None)
        loop = asyncio.get_running_loop()
        cut: list[int] = []
        counting = loop.call_later(grace_s, lambda: cut.append(len(self._calls)))
        # The library cancels what it has received and not handed over yet. So answers are held
        # back, which keeps their clients from asking again, until nothing more is handed over.
        self._goaway = loop.create_future()
        await self._take_what_waits()
        stopping = asyncio.ensure_future(self._server.stop(grace_s))
        await asyncio.sleep(_QUIET_S)  # clients hear that the server goes before their answers
        self._goaway.set_result(None)
        await self._part(stopping)
        counting.cancel()
        return sum(cut)

    async def _part(self, stopping: "asyncio.Future[None]") -> None:
        """Wait for the calls, and then no longer than is polite for the connections."""
        while not stopping.done():
            if self._calls:
                call = next(iter(self._calls))
                await asyncio.wait((stopping, call), return_when=asyncio.FIRST_COMPLETED)
                continue
            await asyncio.wait((stopping,), timeout=_PARTING_S)
            if not self._calls:  # a message may have become whole meanwhile
                await self._server.stop(None)
        await stopping

    async def _take_what_waits(self) -> None:
        for _ in range(_MOST_TURNS):
            before = self._taken
            await asyncio.sleep(_QUIET_S)
            if self._taken == before:
                return

    # -- calls -----------------------------------------------------------------------------------

    def service(self, details: Any) -> Any:
        """Find the handler of a method; the library calls this."""
        return self._handlers.get(details.method) or self._handlers.get(OTHERS)

    def _handler(self, path: str, method: UnaryMethod | Stream) -> Any:
        # The library never answers a call that should have one message and has none. So to it
        # every method takes a stream.
        if isinstance(method, Stream):
            return grpc.stream_stream_rpc_method_handler(self._streaming(path, method))
        return grpc.stream_unary_rpc_method_handler(self._unary(path, method))

    def _unary(self, path: str, method: UnaryMethod) -> Any:
        async def answer(_requests: Any, context: Any) -> bytes:
            self._taken += 1
            answered = await self._answered(method, path, context)
            if self._goaway is not None:
                await asyncio.shield(self._goaway)
            # The library keeps the frame that aborts; the message must not be in it.
            if isinstance(answered, ServingError):
                await _abort(context, answered)
            assert isinstance(answered, bytes)
            return answered

        return answer

    async def _answered(self, method: UnaryMethod, path: str, context: Any) -> bytes | ServingError:
        if (refusal := await self._screened(path, context)) is not None:
            return refusal
        if (request := await context.read()) is grpc.aio.EOF:
            return Internal(NO_MESSAGE)
        self._hold()
        try:
            made = method(request, AioCall(context, path))
            return made if isinstance(made, bytes) else await self._held(made, len(request))
        except ServingError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a call ends here; the server goes on
            failure = broken(error)
        drop_frames(failure)  # this one among them
        return failure

    async def _screened(self, path: str, context: Any) -> ServingError | None:
        """Why a call is refused whatever its message is; None to take that."""
        screen = self._screens.get(path)
        if screen is None:
            return None
        try:
            verdict = screen(AioCall(context, path))
            if verdict is not None:
                await verdict
        except Exception as error:  # noqa: BLE001 - a call ends here; the server goes on
            drop_frames(error)
            return error if isinstance(error, ServingError) else broken(error)
        return None

    async def _held(self, answer: Coroutine[Any, Any, bytes], size: int) -> bytes:
        """Wait for an answer, and count its request meanwhile."""
        holding = Holding(self._memory)
        try:
            holding.grow(size)
            return await answer
        except Overloaded:
            answer.close()
            raise
        finally:
            holding.release()

    def _hold(self) -> None:
        """Have the drain wait for the call that is running, until its answer is sent."""
        task: Any = asyncio.current_task()
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _streaming(self, path: str, stream: Stream) -> Any:
        async def answer(_requests: Any, context: Any) -> None:
            if not stream.is_request_single:
                self._hold()
                await self._respond(stream.method, self._requests(context), path, context)
            elif (refusal := await self._screened(path, context)) is not None:
                await _abort(context, refusal)
            elif (request := await context.read()) is grpc.aio.EOF:
                await _abort(context, Internal(NO_MESSAGE))
            else:
                self._hold()
                await self._respond(stream.method, _one(request), path, context)

        return answer

    async def _respond(
        self,
        method: StreamMethod,
        requests: "AsyncGenerator[bytes, None]",
        path: str,
        context: Any,
    ) -> None:
        try:
            async with (
                aclosing(requests),
                aclosing(method(requests, AioCall(context, path))) as responses,
            ):
                async for response in responses:
                    await context.write(response)
        except ServingError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a call ends here; the server goes on
            failure = broken(error)
        else:
            return
        await _abort(context, failure)

    async def _requests(self, context: Any) -> "AsyncGenerator[bytes, None]":
        """The client's messages, until it has no more or the server drains."""
        while True:
            reading = asyncio.ensure_future(context.read())
            try:
                await asyncio.wait((reading, self._draining), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() or (message := reading.result()) is grpc.aio.EOF:
                    return
            finally:
                reading.cancel()
            yield message


async def _one(request: bytes) -> "AsyncGenerator[bytes, None]":
    yield request


def _credentials(security: Security) -> Any:
    """What the library wants for a port; None for a plain one."""
    if security is None:
        _log.info("Using InsecureServerCredentials")
        return None
    if security == "alts":
        _log.info("Using ALTS credentials")
        return grpc.alts_server_credentials()
    # The library says of a wrong key only that it cannot listen.
    context = server_context(
        server_key=security.server_key,
        server_cert=security.server_cert,
        custom_ca=security.custom_ca,
        client_verify=security.client_verify,
    )
    _log.info("Using SSL credentials")
    return grpc.ssl_server_credentials(
        [(security.server_key.encode(), security.server_cert.encode())],
        _authorities(security, context) if security.client_verify else None,
        security.client_verify,
    )


def _authorities(security: TlsConfig, context: ssl.SSLContext) -> bytes:
    """The certificates that clients' are checked against: the system's where none are given."""
    if security.custom_ca:
        return security.custom_ca.encode()
    found = [ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True)]
    if not found:
        raise InvalidArgument(
            "SSLConfig: client_verify needs custom_ca: the system has no authorities"
        )
    return "".join(found).encode()


async def _abort(context: Any, error: ServingError) -> None:
    drop_frames(error)
    status = rpc_status(error)
    metadata = [*(context.trailing_metadata() or ())]
    if status.hint:
        metadata.append((HINT_METADATA, percent_encoded(status.hint).decode()))
    if status.version is not None:
        metadata.append((VERSION_HEADER, str(status.version)))
    await context.abort(_STATUS[status.code], status.message, tuple(metadata))
