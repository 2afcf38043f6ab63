"""`/cluster/v1/map`: which servers there are, and which models each of them has.

For clients that ask the right one by themselves. Those who may see some models only are told of
those, and of the servers that have them.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from salver.instruments.threads import InPool
from salver.peers.map import PeerMap, text
from salver.protocols.api import Api, IsShown, RestRoute
from salver.protocols.etags import etag_of, is_known_to
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Principal, Verb

__all__ = ["MapApi"]

_PATH: Final = r"/cluster/v1/map(?:\?.*)?"
_READ: Final = ("GET", "HEAD")


class MapApi:
    """Answers on its path. Belongs to the loop."""

    def __init__(
        self,
        current: Callable[[], tuple[PeerMap, bytes]],
        is_shown: IsShown,
        in_pool: InPool,
        *,
        is_guarded: bool,
    ) -> None:
        """Make it.

        Args:
            current: the map that is in effect, and its text.
            is_shown: see there.
            in_pool: makes the text of a part of a map, which may take long.
            is_guarded: whether anybody is asked for credentials; else all see the same.
        """
        self._current = current
        self._is_shown = is_shown
        self._in_pool = in_pool
        self._is_guarded = is_guarded
        self._tagged: tuple[bytes, str] = (b"", "")

    def api(self) -> Api:
        """Its table."""
        route = RestRoute(_PATH, self._answer, _READ, verb=Verb.METADATA, is_filtered=True)
        return Api(routes=(route,))

    def _answer(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        map, written = self._current()
        if self._is_guarded:
            return self._answer_guarded(request, map)
        if self._tagged[0] is not written:
            self._tagged = (written, etag_of(written))
        return _answer(request, *self._tagged)

    async def _answer_guarded(self, request: HttpRequest, map: PeerMap) -> HttpResponse:
        principal = request.principal
        body = await self._in_pool(lambda: text(self._seen(map, principal)).encode())
        return _answer(request, body, etag_of(body))

    def _seen(self, map: PeerMap, principal: Principal | None) -> PeerMap:
        models = {
            name: placed for name, placed in map.models.items() if self._is_shown(principal, name)
        }
        if len(models) == len(map.models):
            return map
        nodes = {node for placed in models.values() for node in placed.nodes}
        peers = {name: peer for name, peer in map.peers.items() if name in nodes}
        return replace(map, peers=MappingProxyType(peers), models=MappingProxyType(models))


def _answer(request: HttpRequest, body: bytes, tag: str) -> HttpResponse:
    headers = (("ETag", tag), ("Cache-Control", "no-cache"))
    if is_known_to(request, tag):
        return HttpResponse(304, b"", None, headers)
    return HttpResponse(200, body, headers=headers)
