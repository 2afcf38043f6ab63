"""Times by which the whole of an answer has to be there, however slowly it drips.

The timeouts of the library are those of each byte. A deadline is of a thread, and bounds whatever
that thread reads from connections.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore
import httpx

__all__ = ["obey_deadlines", "within"]

_until: Final = threading.local()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Have what is read in here, in this thread, be there in so many seconds, or time out."""
    before: float | None = getattr(_until, "s", None)
    until_s = time.monotonic() + seconds
    _until.s = until_s if before is None else min(before, until_s)
    try:
        yield
    finally:
        _until.s = before


def obey_deadlines(client: httpx.Client) -> httpx.Client:
    """Have the connections of a client keep to them, those through proxies too."""
    for transport in {client._transport, *client._mounts.values()}:
        pool: Any = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Network(pool._network_backend)
    return client


def _left_s(timeout_s: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    until_s: float | None = getattr(_until, "s", None)
    if until_s is None:
        return timeout_s
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise error("too slow")
    return left_s if timeout_s is None else min(left_s, timeout_s)


class _Network(httpcore.NetworkBackend):
    def __init__(self, network: httpcore.NetworkBackend) -> None:
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = _left_s(timeout, httpcore.ConnectTimeout)
        return _Stream(
            self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = _left_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._network.connect_unix_socket(path, timeout, socket_options))

    def sleep(self, seconds: float) -> None:
        self._network.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left_s(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = _left_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
