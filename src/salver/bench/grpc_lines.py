"""gRPC over one connection, by grpc.aio."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import grpc
import grpc.aio

from salver.bench.lines import Done, Line
from salver.client.address import Address, Tls
from salver.errors import InvalidArgument

__all__ = ["GrpcLines"]

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


class GrpcLines:
    """See `Lines`. As in a client process, all calls share a connection."""

    def __init__(
        self,
        address: Address,
        tls: Tls | None,
        path: str,
        timeout_s: float,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connect to nobody yet.

        Args:
            address: of gRPC.
            tls: of use where the address is secure.
            path: full name of the method that all lines call.
            timeout_s: the deadline of a call.
            headers: the metadata of each call.
        """
        self._metadata = tuple((headers or {}).items()) or None
        self._address = address
        self._tls = tls or Tls()
        self._path = path
        self._timeout_s = timeout_s
        self._channel: Any = None
        self._lines: list[_GrpcLine] = []

    async def open(self, count: int) -> list[Line]:
        """See `Lines`; whether the server is there shows with the first call.

        Raises:
            InvalidArgument: the TLS files are none.
        """
        if self._channel is None:
            self._channel = self._connected()
        call = self._channel.unary_unary(self._path)
        opened = [_GrpcLine(call, self._timeout_s, self._metadata) for _ in range(count)]
        self._lines += opened
        return cast("list[Line]", opened)

    async def close(self) -> None:
        """See `Lines`."""
        for line in self._lines:
            await line.close()
        self._lines.clear()
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _connected(self) -> Any:
        target = self._address.target
        if not self._address.is_secure:
            return grpc.aio.insecure_channel(target, options=_OPTIONS)
        try:
            ca = None if self._tls.ca is None else Path(self._tls.ca).read_bytes()
        except OSError as error:
            raise InvalidArgument(f"TLS cannot be set up: {error}") from error
        credentials = grpc.ssl_channel_credentials(root_certificates=ca)
        return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


class _GrpcLine:
    """One call at a time."""

    def __init__(
        self,
        call: Callable[..., Any],
        timeout_s: float,
        metadata: tuple[tuple[str, str], ...] | None,
    ) -> None:
        self._call = call
        self._metadata = metadata
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def send(self, request: bytes, done: Done) -> None:
        """See `Line`."""
        self._task = self._loop.create_task(self._ask(request, done))

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _ask(self, request: bytes, done: Done) -> None:
        try:
            body = await self._call(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            is_late = code is grpc.StatusCode.DEADLINE_EXCEEDED
            done("timeout" if is_late else code.name, error.details() or "", 0)
            return
        done("", "", len(body))
