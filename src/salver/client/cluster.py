"""A client of several servers: asks the one that has the model, as their map says.

The map is fetched from the server that the client was given, when it is first needed, when it is
older than half a minute, and when an answer says that it came from elsewhere. Where nobody knows a
model, or the server that has it cannot be reached, the given one is asked, which hands the request
on by itself.

A request that found no connection goes to another server at once: one that has the model too, and
at last the given one. One that has lost its connection fails, since nobody can tell whether it has
arrived, and the next one goes elsewhere.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from salver.client.address import Address
from salver.client.exchange import Exchange, NotSent, Reply
from salver.client.kept import KeptTransports
from salver.errors import DeadlineExceeded, ServingError, Unavailable
from salver.peers.map import PeerMap, read

__all__ = ["AsyncClusterTransport", "AsyncTransport", "ClusterTransport", "Routes", "Transport"]

_PATH: Final = "/cluster/v1/map"
_FORWARDED_TO: Final = "salver-forwarded-to"
_FRESH_S: Final = 30.0
_AGAIN_S: Final = 5.0  # after a map that could not be had
_ASIDE_S: Final = 1.0  # a server that could not be reached is not asked
_CONNECT_S: Final = 1.0  # a machine that is off says nothing
_FETCH_S: Final = 5.0
_FOUND: Final = 200
_MOST_ASIDE: Final = 64
_MOST_ROUTED: Final = 3  # servers for one request, before the given one


class Transport(Protocol):
    """Carries exchanges to one server."""

    def send(self, exchange: Exchange[Any], timeout_s: float | None) -> Reply: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same for a loop."""

    async def send(self, exchange: Exchange[Any], timeout_s: float | None) -> Reply: ...
    async def close(self) -> None: ...


class Routes:
    """Which server is asked for which model. Thread-safe."""

    def __init__(
        self,
        address: Address,
        *,
        clock: Callable[[], float] = time.monotonic,
        pick: Callable[[int], int] = random.randrange,
    ) -> None:
        """Know nothing yet.

        Args:
            address: the one that was given.
            clock: seconds, monotonic.
            pick: a number below another, at random.
        """
        self._address = address
        self._clock = clock
        self._pick = pick
        self._lock = threading.Lock()
        self._map = PeerMap()
        self._old_at_s = -1.0  # the map is to be fetched then
        self._aside: dict[str, float] = {}  # address → until when

    def is_to_be_fetched(self) -> bool:
        """Whether the caller is to fetch the map now; others go on with what is known."""
        with self._lock:
            now_s = self._clock()
            if now_s < self._old_at_s:
                return False
            self._old_at_s = now_s + _AGAIN_S
            return True

    def fetched(self, reply: Reply) -> None:
        """The map has come; what is none changes nothing."""
        if reply.status != _FOUND:
            return
        try:
            map = read(reply.body)
        except ServingError:
            return
        with self._lock:
            self._map = map
            self._old_at_s = self._clock() + _FRESH_S

    def noted(self, headers: Mapping[str, str]) -> None:
        """An answer has come. If it is from elsewhere, the map is out of date."""
        if _FORWARDED_TO in headers:
            with self._lock:
                self._old_at_s = min(self._old_at_s, self._clock() + _ASIDE_S)

    def address_of(self, model: str) -> Address | None:
        """Where a model is; None where the given server is to be asked."""
        map, now_s = self._map, self._clock()
        placed = map.models.get(model)
        if placed is None:
            return None
        targets = [self._target(map, node) for node in placed.nodes]
        usable = [each for each in targets if each and self._aside.get(each, 0.0) <= now_s]
        if not usable:
            return None
        target = usable[self._pick(len(usable))]
        return replace(self._address, target=target, connect_s=_CONNECT_S)

    def failed(self, address: Address, error: ServingError) -> bool:
        """A server has not answered; whether another one may be asked at once.

        What did get there is sent again by who has asked, if at all.
        """
        is_unsent = has_not_arrived(error)
        if is_unsent or isinstance(error, Unavailable):
            self._put_aside(address)
        return is_unsent

    def deadline(self, timeout_s: float | None) -> "Callable[[], float | None]":
        """What is left of the time of a request, whenever it is asked; None: for ever."""
        if timeout_s is None:
            return lambda: None
        until_s = self._clock() + timeout_s
        return lambda: until_s - self._clock()

    def _put_aside(self, address: Address) -> None:
        with self._lock:
            if len(self._aside) >= _MOST_ASIDE:
                self._aside.clear()
            self._aside[address.target] = self._clock() + _ASIDE_S

    def _target(self, map: PeerMap, node: str) -> str:
        peer = map.peers[node]
        if self._address.is_grpc:
            return peer.grpc
        scheme = "https" if self._address.is_secure else "http"
        return f"{scheme}://{peer.rest}" if peer.rest else ""


def map_address(address: Address) -> Address | None:
    """Where the map is fetched: by REST, which the port of gRPC answers too; None for a socket."""
    if not address.is_grpc:
        return address
    if address.target.startswith("unix:"):
        return None
    scheme = "https" if address.is_secure else "http"
    return Address(
        is_grpc=False, is_secure=address.is_secure, target=f"{scheme}://{address.target}"
    )


def has_not_arrived(error: ServingError) -> bool:
    """Whether a request was not sent, because there was no connection."""
    if isinstance(error, NotSent):
        return True
    import httpx  # here: a client of gRPC may do without

    return isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)


def is_over(left_s: float | None) -> bool:
    """Whether nothing is left of a time."""
    return left_s is not None and left_s <= 0


MAP: Final[Exchange[Reply]] = Exchange(_PATH, None, lambda reply: reply)


class ClusterTransport:
    """A transport for each server. Thread-safe."""

    def __init__(
        self,
        address: Address,
        make: Callable[[Address], Transport],
        make_rest: Callable[[Address], Transport],
        routes: Routes | None = None,
    ) -> None:
        """Make that of the given server.

        Args:
            address: of the given server.
            make: makes one for another.
            make_rest: makes one that fetches the map.
            routes: by default new ones.
        """
        self.routes = routes or Routes(address)
        self._given = make(address)
        of_map = map_address(address)
        self._of_map = None if of_map is None else make_rest(of_map)
        self._kept = KeptTransports(make)

    def send(self, exchange: Exchange[Any], timeout_s: float | None, model: str) -> Reply:
        """Send a request about a model to who has it; raises as that transport."""
        self._fetch(timeout_s)
        left = self.routes.deadline(timeout_s)
        for _ in range(_MOST_ROUTED):
            address = self.routes.address_of(model)
            if address is None:
                break
            try:
                return self._noted(self._routed(address, exchange, timeout_s))
            except (Unavailable, DeadlineExceeded) as error:
                if not self.routes.failed(address, error) or is_over(timeout_s := left()):
                    raise
        return self._noted(self._given.send(exchange, timeout_s))

    def close(self) -> None:
        """Close the connections to all."""
        for transport in (self._given, self._of_map, *self._kept.take_out()):
            if transport is not None:
                transport.close()

    def _fetch(self, timeout_s: float | None) -> None:
        if self._of_map is None or not self.routes.is_to_be_fetched():
            return
        limit_s = _FETCH_S if timeout_s is None else min(_FETCH_S, timeout_s)
        try:
            self.routes.fetched(self._of_map.send(MAP, limit_s))
        except ServingError:
            return  # what is known counts for a while longer

    def _routed(self, address: Address, exchange: Exchange[Any], timeout_s: float | None) -> Reply:
        transport = self._kept.take(address)
        try:
            return transport.send(exchange, timeout_s)
        finally:
            for left in self._kept.give_back(address):
                left.close()

    def _noted(self, reply: Reply) -> Reply:
        self.routes.noted(reply.headers)
        return reply


class AsyncClusterTransport:
    """The same for a loop."""

    def __init__(
        self,
        address: Address,
        make: Callable[[Address], AsyncTransport],
        make_rest: Callable[[Address], AsyncTransport],
        routes: Routes | None = None,
    ) -> None:
        """See `ClusterTransport`."""
        self.routes = routes or Routes(address)
        self._given = make(address)
        of_map = map_address(address)
        self._of_map = None if of_map is None else make_rest(of_map)
        self._kept = KeptTransports(make)

    async def send(self, exchange: Exchange[Any], timeout_s: float | None, model: str) -> Reply:
        """See `ClusterTransport.send`."""
        await self._fetch(timeout_s)
        left = self.routes.deadline(timeout_s)
        for _ in range(_MOST_ROUTED):
            address = self.routes.address_of(model)
            if address is None:
                break
            try:
                return self._noted(await self._routed(address, exchange, timeout_s))
            except (Unavailable, DeadlineExceeded) as error:
                if not self.routes.failed(address, error) or is_over(timeout_s := left()):
                    raise
        return self._noted(await self._given.send(exchange, timeout_s))

    async def close(self) -> None:
        """Close the connections to all."""
        for transport in (self._given, self._of_map, *self._kept.take_out()):
            if transport is not None:
                await transport.close()

    async def _routed(
        self, address: Address, exchange: Exchange[Any], timeout_s: float | None
    ) -> Reply:
        transport = self._kept.take(address)
        try:
            return await transport.send(exchange, timeout_s)
        finally:
            for left in self._kept.give_back(address):
                await left.close()

    async def _fetch(self, timeout_s: float | None) -> None:
        if self._of_map is None or not self.routes.is_to_be_fetched():
            return
        limit_s = _FETCH_S if timeout_s is None else min(_FETCH_S, timeout_s)
        try:
            self.routes.fetched(await self._of_map.send(MAP, limit_s))
        except ServingError:
            return

    def _noted(self, reply: Reply) -> Reply:
        self.routes.noted(reply.headers)
        return reply
