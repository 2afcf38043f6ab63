"""Carries exchanges over gRPC."""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from salver.client.address import Address, Tls
from salver.client.exchange import Exchange, NotSent, Reply
from salver.client.propagation import trace_headers
from salver.errors import Code, FailedPrecondition, InvalidArgument, ServingError, error_of
from salver.vocabulary.hints import HINT_METADATA

__all__ = ["AsyncGrpcTransport", "GrpcTransport"]

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that comes back is seen within the pauses between retries.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Two clients in one process do not share how the last attempt of the other went.
    ("grpc.use_local_subchannel_pool", 1),
)

# How the library begins what it says of a call that found no connection. Nothing else tells it from
# one that has lost its connection; in other words of another release it counts as that.
_NOT_SENT: Final = "failed to connect to all addresses"


def _grpc(module: str = "grpc") -> Any:
    """The library, which none but users of gRPC need.

    Raises:
        FailedPrecondition: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise FailedPrecondition(
            f"gRPC needs the package grpcio: {error}",
            hint="pip install grpcio, or use the REST API: a URL that begins with http://",
        ) from error


class GrpcTransport:
    """Sends and waits. Thread-safe."""

    def __init__(self, address: Address, tls: Tls | None, headers: Mapping[str, str]) -> None:
        """Make it; connects when there is something to send.

        Raises:
            FailedPrecondition: grpcio is not installed.
            InvalidArgument: the TLS files are none.
        """
        self._grpc = _grpc()
        self._metadata = _metadata(headers)
        self._channel = _channel(self._grpc, self._grpc, address, tls)

    def send(self, exchange: Exchange[Any], timeout_s: float | None) -> Reply:
        """Send a request and wait for the reply.

        Raises:
            ServingError: with the code and text of the status.
        """
        call = self._channel.unary_unary(exchange.path)
        try:
            body = call(exchange.body or b"", timeout=timeout_s, metadata=self._sent())
        except self._grpc.RpcError as error:
            raise _error(error) from error
        return Reply(body)

    def _sent(self) -> tuple[tuple[str, str | bytes], ...]:
        return (*self._metadata, *trace_headers().items())

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class AsyncGrpcTransport:
    """The same for a loop: the one that runs when it is made."""

    def __init__(self, address: Address, tls: Tls | None, headers: Mapping[str, str]) -> None:
        """See `GrpcTransport`."""
        self._grpc = _grpc()
        self._metadata = _metadata(headers)
        self._channel = _channel(self._grpc, _grpc("grpc.aio"), address, tls)

    async def send(self, exchange: Exchange[Any], timeout_s: float | None) -> Reply:
        """See `GrpcTransport.send`."""
        call = self._channel.unary_unary(exchange.path)
        try:
            body = await call(exchange.body or b"", timeout=timeout_s, metadata=self._sent())
        except self._grpc.RpcError as error:
            raise _error(error) from error
        return Reply(body)

    def _sent(self) -> tuple[tuple[str, str | bytes], ...]:
        return (*self._metadata, *trace_headers().items())

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def _channel(grpc: Any, twin: Any, address: Address, tls: Tls | None) -> Any:
    """A channel of `grpc` or of its twin for loops."""
    # A proxy's own loopback is another.
    options = (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if address.is_loopback else _OPTIONS
    if address.connect_s is not None:
        # By its name the shortest pause between two attempts; it is how long each may take, too.
        limit = ("grpc.min_reconnect_backoff_ms", int(address.connect_s * 1000))
        options = (*options, limit)
    if not address.is_secure:
        return twin.insecure_channel(address.target, options=options)
    tls = tls or Tls()
    if not tls.is_verified:
        raise InvalidArgument("gRPC always verifies the server: give its authority as Tls(ca=…)")
    try:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(tls.ca),
            private_key=_read(tls.key),
            certificate_chain=_read(tls.certificate),
        )
    except OSError as error:
        raise InvalidArgument(f"TLS cannot be set up: {error}") from error
    return twin.secure_channel(address.target, credentials, options=options)


def _read(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str | bytes], ...]:
    """As gRPC takes it.

    Raises:
        InvalidArgument: a name or a value cannot be sent.
    """
    for name, value in headers.items():
        if not re.fullmatch("[0-9A-Za-z_.-]+", name) or not re.fullmatch("[ -~]*", value):
            # The value may be a key.
            raise InvalidArgument(f"{name!r} is no header that gRPC can send, or its value is none")
    return tuple(
        (name.lower(), value.encode() if name.lower().endswith("-bin") else value)
        for name, value in headers.items()
    )


def _error(error: Any) -> ServingError:
    code, details = error.code().value[0], error.details() or ""
    is_unsent = code == Code.UNAVAILABLE and details.startswith(_NOT_SENT)
    made = NotSent(details) if is_unsent else error_of(code, details)
    said = [value for key, value in error.trailing_metadata() or () if key == HINT_METADATA]
    made.hint = unquote(said[0]) if said else None
    return made
