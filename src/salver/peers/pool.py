"""Connections to peers, kept for the requests that follow. Used on the loop only."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeVar

from salver.peers.transports import Late, NotBegun

__all__ = ["Pool", "Pooled", "Pools", "host_and_port"]

_IDLE_S: Final = 20.0
"""Until an idle connection is closed: sooner than a server does it (50 s, as the reference)."""


class Pooled(Protocol):
    """A connection."""

    def is_alive(self) -> bool:
        """Whether a request may be sent on it, as far as is known."""
        ...

    def close(self) -> None:
        """End it; it is idle."""
        ...


C = TypeVar("C", bound=Pooled)

Connect = Callable[["Pool[C]", str, int, "ssl.SSLContext | None"], "Coroutine[Any, Any, C]"]
"""Makes a connection to a host and a port, which tells its pool when it has `joined` and `gone`."""


class Pool(Generic[C]):
    """The connections to one address."""

    def __init__(
        self,
        address: str,
        connect: "Connect[C]",
        *,
        most: int,
        timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        """Be connected to nobody; arguments as of `Pools`."""
        self._host, self._port = host_and_port(address)
        self._connect = connect
        self._most = most
        self._timeout_s = timeout_s
        self._tls = tls
        self._idle: deque[tuple[C, float]] = deque()  # and since when; the last used is last
        self._waiting: deque[asyncio.Future[C | None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._being_made = 0
        self._open = 0

    @property
    def size(self) -> int:
        """How many there are, those included that are being made."""
        return self._being_made + self._open

    def idle(self) -> C | None:
        """The connection that was used last, where one is idle."""
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.is_alive():
                return connection
            connection.close()
        return None

    async def connected(self, expires_s: float | None) -> C:
        """A connection that was idle or is new; waits for one where there are as many as may be.

        Args:
            expires_s: of the loop's clock: when it is too late.

        Raises:
            NotBegun: none could be made.
            Late: it took too long.
        """
        while self.size >= self._most:
            connection = await self._next(expires_s)
            if connection is None:
                connection = self.idle()
            if connection is not None:
                if connection.is_alive():
                    return connection
                connection.close()
        self._being_made += 1
        try:
            return await self._made(expires_s)
        finally:
            self._being_made -= 1
            if self.size < self._most:
                self._wake(None)

    def joined(self) -> None:
        """A connection was made."""
        self._open += 1

    def give(self, connection: C) -> None:
        """Have a connection wait for the next request."""
        if self._is_closed:
            connection.close()
        elif not self._wake(connection):
            self._idle.append((connection, self._loop.time()))

    def gone(self, connection: C) -> None:
        """A connection has ended."""
        for each in self._idle:
            if each[0] is connection:
                self._idle.remove(each)
                break
        self._open -= 1
        self._wake(None)

    def sweep(self, until_s: float) -> None:
        """End those that are idle since then."""
        while self._idle and self._idle[0][1] <= until_s:
            self._idle.popleft()[0].close()

    def close(self) -> None:
        """End those that are idle, and keep none from here on."""
        self._is_closed = True
        self.sweep(self._loop.time())

    async def _made(self, expires_s: float | None) -> C:
        limit_s = self._timeout_s
        if expires_s is not None:
            limit_s = min(limit_s, expires_s - self._loop.time())
        made = self._connect(self, self._host, self._port, self._tls)
        try:
            return await asyncio.wait_for(made, limit_s)
        except asyncio.TimeoutError:
            if limit_s < self._timeout_s:
                raise Late("its time was over") from None
            raise NotBegun(f"no connection within {self._timeout_s:g} s") from None
        except (OSError, ssl.SSLError, ValueError) as error:
            raise NotBegun(f"no connection: {error}") from None

    async def _next(self, expires_s: float | None) -> C | None:
        """The connection that is free next, or None where one may be made.

        Raises:
            Late: see `connected`.
        """
        waiter: asyncio.Future[C | None] = self._loop.create_future()
        timer = None
        if expires_s is not None:
            timer = self._loop.call_at(expires_s, _expire, waiter)
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # It may have been given one in the same turn of the loop.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                given = waiter.result()
                if given is None:
                    self._wake(None)
                else:
                    self.give(given)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            with suppress(ValueError):  # who has woken it has taken it out
                self._waiting.remove(waiter)

    def _wake(self, connection: C | None) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False


class Pools(Generic[C]):
    """The connections to all peers, by their addresses."""

    def __init__(
        self,
        connect: "Connect[C]",
        *,
        most: int,
        timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        """Be connected to nobody.

        Args:
            connect: see there.
            most: connections to one address.
            timeout_s: for a connection to be made.
            tls: see `connect`.
        """
        self._connect = connect
        self._most = most
        self._timeout_s = timeout_s
        self._tls = tls
        self._pools: dict[str, Pool[C]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def of(self, address: str) -> "Pool[C]":
        """The connections to an address."""
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = Pool(
                address, self._connect, most=self._most, timeout_s=self._timeout_s, tls=self._tls
            )
            self._start_sweeping()
        return pool

    def sizes(self) -> dict[str, int]:
        """Address → how many connections there are. From any thread."""
        return {address: pool.size for address, pool in list(self._pools.items()) if pool.size}

    def keep(self, addresses: frozenset[str]) -> None:
        """Forget all other addresses; requests that are under way there go on."""
        for address in [each for each in self._pools if each not in addresses]:
            self._pools.pop(address).close()

    def close(self) -> None:
        """End all that is idle."""
        self.keep(frozenset())
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _start_sweeping(self) -> None:
        if self._sweeping is None:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(_IDLE_S / 4, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        until_s = asyncio.get_running_loop().time() - _IDLE_S
        for pool in self._pools.values():
            pool.sweep(until_s)
        if self._pools:
            self._start_sweeping()


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of `HOST:PORT`; an address of IPv6 stands in brackets there."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _expire(waiter: "asyncio.Future[Any]") -> None:
    if not waiter.done():
        waiter.set_exception(Late("its time was over"))
