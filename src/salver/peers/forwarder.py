"""Hands requests on to the servers that have their models, as the map says.

A request goes to one of two that are chosen at random, and to another one where the first has begun
nothing. It is handed on once: what another server has handed on is answered here, or not at all.
"""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from functools import partial
from typing import Final, Protocol, TypeVar, cast

from salver.errors import (
    Code,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    PeerLost,
    ServingError,
    Unavailable,
)
from salver.inference.context import RequestContext
from salver.metrics.text import Family
from salver.peers.choice import Asked, Choice
from salver.peers.counts import Counts, Outcome, PeerOutcome
from salver.peers.held import Held
from salver.peers.hops import PARENT, Hops
from salver.peers.map import Peer, PeerMap, Placed
from salver.peers.transports import (
    Absent,
    Fields,
    GrpcTransport,
    HopFailed,
    Late,
    NotBegun,
    Refused,
    RestTransport,
    TriedCall,
)
from salver.protocols.forwarding import Elsewhere, Target
from salver.protocols.methods import Call
from salver.protocols.version_header import VERSION_HEADER
from salver.tracing.parent import traceparent
from salver.tracing.tracer import Tracer
from salver.transport.messages import HttpRequest, HttpResponse, StreamedResponse
from salver.transport.service import FORWARDED_TO_HEADER
from salver.vocabulary.access import Principal
from salver.vocabulary.requests import ServableRequest

__all__ = ["LocalModels", "PeerForwarder"]

A = TypeVar("A")

_MOST_TRIES: Final = 4  # peers for one request
_GRACE_S: Final = 0.05  # for the answer of a peer whose own time is over at the same moment
_EXPIRED: Final = "Timed out waiting for the answer of the server {}"
_NOT_FOUND: Final = 404
# What it fails with here may be because its version has just gone, or has yet to come.
_MAY_BE_ELSEWHERE: Final = frozenset({Code.NOT_FOUND, Code.UNAVAILABLE, Code.INVALID_ARGUMENT})


class LocalModels(Protocol):
    """The models that are here."""

    def is_available(self, request: ServableRequest) -> bool:
        """Whether a version here answers a request."""
        ...

    def labels(self, name: str) -> Mapping[str, int]:
        """Label → version of one model."""
        ...


class PeerForwarder:
    """A `Forwarder`. Belongs to the loop."""

    def __init__(
        self,
        models: LocalModels,
        hops: Hops,
        choice: Choice,
        *,
        name: str,
        rest: RestTransport,
        grpc: GrpcTransport | None = None,
        tracer: Tracer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know of no peers.

        Args:
            models: that are here.
            hops: what is said to peers, and believed of them.
            choice: chooses among them.
            name: of this server.
            rest: carries requests over REST.
            grpc: carries those of gRPC; None: they are answered here alone.
            tracer: notes requests here, so that what a peer notes stands below; None for nobody.
            monotonic: seconds from any moment on.
        """
        self._here = models
        self._hops = hops
        self._choice = choice
        self._name = name
        self._rest = rest
        self._grpc = grpc
        self._tracer = tracer
        self._now = monotonic
        self._counts = Counts()
        self.map = PeerMap()
        self._targets: dict[str, Target] = {}  # of the models that were asked for
        self._elsewhere: tuple[Elsewhere, ...] | None = None  # once somebody has asked

    def put(self, map: PeerMap) -> None:
        """Hand requests on as this map says, from here on."""
        self.map = map
        self._targets = {}
        self._elsewhere = None
        self._choice.keep(map.peers.keys(), map.in_zone_of(self._name))
        others = [peer for peer in map.peers.values() if peer.name != self._name]
        self._rest.keep(frozenset(peer.rest for peer in others))
        if self._grpc is not None:
            self._grpc.keep(frozenset(peer.grpc for peer in others))

    async def close(self) -> None:
        """End all connections to peers."""
        await self._rest.close()
        if self._grpc is not None:
            await self._grpc.close()

    # -- where -----------------------------------------------------------------------------------

    def target_of(self, context: RequestContext, servable: ServableRequest) -> Target | None:
        """See `Forwarder`."""
        placed = self.map.models.get(servable.name)
        if placed is None or self._is_here(servable, placed):
            return None
        return self._target(context, servable, placed)

    def elsewhere(self, context: RequestContext) -> Sequence[Elsewhere]:
        """See `Forwarder`."""
        if self._hops.is_handed_on(context):
            return ()
        if self._elsewhere is None:
            self._elsewhere = tuple(self._listed())
        return self._elsewhere

    def _listed(self) -> Iterator[Elsewhere]:
        for name, placed in sorted(self.map.models.items()):
            nodes = tuple(node for node in placed.nodes if node != self._name)
            if nodes:
                versions = tuple(sorted(placed.versions, reverse=True))
                yield Elsewhere(name, nodes, versions, tuple(sorted(placed.labels.items())))

    def target_after(
        self, context: RequestContext, servable: ServableRequest, error: ServingError
    ) -> Target | None:
        """See `Forwarder`."""
        # Of an error that names a version one was found, and may have been run.
        if error.version is not None or error.code not in _MAY_BE_ELSEWHERE:
            return None
        return self.target_of(context, servable)

    def _is_here(self, servable: ServableRequest, placed: Placed) -> bool:
        label = servable.label
        if label is not None:
            at = placed.labels.get(label)
            # A label that means another version here is behind, or ahead; the map counts.
            if at is not None and self._here.labels(servable.name).get(label) != at:
                return False
        return self._here.is_available(servable)

    def _target(
        self, context: RequestContext, servable: ServableRequest, placed: Placed
    ) -> Target | None:
        if not _is_known(servable, placed) or self._hops.is_handed_on(context):
            return None
        if context.protocol == "GRPC" and self._grpc is None:
            return None
        target = self._targets.get(servable.name)
        if target is None:
            nodes = tuple(node for node in placed.nodes if node != self._name)
            target = self._targets[servable.name] = Target(nodes)
        return target if target.nodes else None

    # -- requests --------------------------------------------------------------------------------

    async def rest(self, request: HttpRequest, target: Target) -> HttpResponse:
        """See `Forwarder`."""
        fields = self._fields(request.principal)

        async def ask(peer: Peer, timeout_s: float | None) -> HttpResponse:
            answer = await self._rest(peer, request, fields, timeout_s)
            shown = answer.with_headers(((FORWARDED_TO_HEADER, peer.name),))
            if answer.status == _NOT_FOUND and not _names_version(answer):
                raise Absent(lambda: shown)
            return shown

        answer = await self._handed_on(target, _rest_address, ask, request.timeout_s)
        if isinstance(answer, StreamedResponse):
            release = self._choice.hold(dict(answer.headers)[FORWARDED_TO_HEADER])
            answer.parts = cast("AsyncGenerator[bytes, None]", Held(answer.parts, release))
        return answer

    async def unary(self, method: str, data: bytes, call: Call, target: Target) -> bytes:
        """See `Forwarder`."""
        grpc = self._grpc
        assert grpc is not None  # else there is no target
        fields = self._fields(call.principal)

        async def ask(peer: Peer, timeout_s: float | None) -> bytes:
            tried = TriedCall(call)
            try:
                answer = await grpc.unary(peer, method, data, tried, fields, timeout_s)
            except ServingError as error:
                if isinstance(error, NotFound) and error.version is None:
                    raise Absent[bytes](partial(tried.fail, error)) from None
                tried.fail(error)
            tried.pass_on()
            return answer

        return await self._handed_on(target, _grpc_address, ask, call.timeout_s)

    async def messages(
        self, method: str, data: bytes, call: Call, target: Target
    ) -> "AsyncGenerator[bytes, None]":
        """See `Forwarder`."""
        grpc = self._grpc
        assert grpc is not None  # else there is no target
        fields = self._fields(call.principal)

        async def ask(
            peer: Peer, timeout_s: float | None
        ) -> "tuple[bytes | None, AsyncGenerator[bytes, None]]":
            answers = grpc.messages(peer, method, data, call, fields, timeout_s)
            try:
                return await anext(answers, None), answers
            except BaseException:
                await answers.aclose()
                raise

        answer, answers = await self._handed_on(target, _grpc_address, ask, call.timeout_s)
        async with aclosing(answers):
            while answer is not None:
                yield answer
                try:
                    answer = await anext(answers, None)
                except HopFailed as error:
                    raise PeerLost(f"Another server has broken off its answer: {error}") from None

    def _fields(self, principal: Principal | None) -> Fields:
        """What is added to a request: who hands it on, whom it is from, and below which span."""
        fields = self._hops.fields(principal)
        trace = None if self._tracer is None else self._tracer.current
        if trace is None or not trace.is_sampled:
            return fields
        parent = traceparent(trace.trace_id, trace.span_id, is_sampled=True)
        return (*fields, (PARENT, parent.encode("ascii")))

    async def _handed_on(
        self,
        target: Target,
        address_of: Callable[[Peer], str],
        ask: "Callable[[Peer, float | None], Awaitable[A]]",
        timeout_s: float | None,
    ) -> A:
        """Ask one peer after the other, until one has begun.

        Raises:
            ServingError: see `Forwarder.rest`.
        """
        expires_s = None if timeout_s is None else self._now() + timeout_s
        tried: dict[str, str] = {}
        absent: Absent[A] | None = None
        while True:
            asked = self._chosen(target, tried, address_of)
            if asked is None:
                break
            peer = self.map.peers.get(asked.peer.name)
            if peer is None:  # it has just left the map
                asked.given_up()
                tried[asked.peer.name] = "it is no more in the map"
                continue
            left_s = None if expires_s is None else expires_s - self._now() + _GRACE_S
            try:
                return await self._asked(asked, peer, ask, left_s)
            except Absent as error:
                absent = error
                tried[peer.name] = str(error)
            except NotBegun as error:
                tried[peer.name] = str(error)
        return self._nobody(tried, absent)

    def _chosen(
        self, target: Target, tried: Collection[str], address_of: Callable[[Peer], str]
    ) -> Asked | None:
        if len(tried) >= _MOST_TRIES:
            return None
        peers = self.map.peers
        nodes = [node for node in target.nodes if node in peers and address_of(peers[node])]
        try:
            return self._choice.choose(nodes, tried)
        except Overloaded:
            self._counts.ended(Outcome.OVERLOADED)
            raise

    async def _asked(
        self,
        asked: Asked,
        peer: Peer,
        ask: "Callable[[Peer, float | None], Awaitable[A]]",
        timeout_s: float | None,
    ) -> A:
        """Ask one peer, and note what comes of it.

        Raises:
            NotBegun: another one may be asked.
            Absent: likewise.
            ServingError: it was the answer, or there is none.
        """
        counts, name = self._counts, peer.name
        try:
            answer = await ask(peer, timeout_s)
        except Absent:
            asked.answered()
            counts.asked(name, PeerOutcome.ABSENT)
            raise
        except Refused:
            asked.failed()
            counts.asked(name, PeerOutcome.REFUSED)
            raise
        except NotBegun:
            asked.failed()
            counts.asked(name, PeerOutcome.NOT_BEGUN)
            raise
        except Late:
            asked.expired()
            counts.asked(name, PeerOutcome.LATE)
            counts.ended(Outcome.LATE)
            raise DeadlineExceeded(_EXPIRED.format(name)) from None
        except HopFailed as error:
            asked.failed()
            counts.asked(name, PeerOutcome.LOST)
            counts.ended(Outcome.LOST)
            raise PeerLost(
                f"The server {name} was asked and has not answered: {error}",
                hint="It may have begun, so no other was asked. Ask again if that does no harm.",
            ) from None
        except ServingError:
            asked.answered()
            counts.asked(name, PeerOutcome.ANSWERED)
            counts.ended(Outcome.ANSWERED)
            raise
        except BaseException as error:
            is_left = isinstance(error, asyncio.CancelledError | GeneratorExit)
            asked.left() if is_left else asked.given_up()
            counts.asked(name, PeerOutcome.CANCELLED if is_left else PeerOutcome.LOST)
            counts.ended(Outcome.CANCELLED if is_left else Outcome.LOST)
            raise
        asked.answered()
        counts.asked(name, PeerOutcome.ANSWERED)
        counts.ended(Outcome.ANSWERED)
        return answer

    def _nobody(self, tried: Mapping[str, str], absent: "Absent[A] | None") -> A:
        """The answer where no peer has given one."""
        if absent is not None:
            self._counts.ended(Outcome.ANSWERED)
            return absent.answer()
        self._counts.ended(Outcome.UNREACHABLE)
        said = "; ".join(f"{name}: {why}" for name, why in tried.items())
        raise Unavailable(
            "None of the servers that have the model can be reached now",
            hint=said or "They have failed just now, and are tried again in a moment.",
        )

    # -- beside ----------------------------------------------------------------------------------

    def families(self) -> list[Family]:
        """What is counted. From any thread."""
        map = self.map
        names = {peer.rest: name for name, peer in map.peers.items()}
        connections: dict[str, int] = {}
        for address, count in self._rest.connections().items():
            connections[names.get(address, "")] = count
        if self._grpc is not None:
            names = {peer.grpc: name for name, peer in map.peers.items()}
            for address, count in self._grpc.connections().items():
                name = names.get(address, "")
                connections[name] = connections.get(name, 0) + count
        return self._counts.families(
            self._choice.states(), connections, map.generation, self._choice.now
        )


def _is_known(servable: ServableRequest, placed: Placed) -> bool:
    """Whether the map says that what is asked for is somewhere."""
    if servable.label is not None:
        return servable.label in placed.labels or not (placed.labels or placed.versions)
    return servable.version is None or not placed.versions or servable.version in placed.versions


def _names_version(answer: HttpResponse) -> bool:
    return any(name.lower() == VERSION_HEADER for name, _ in answer.headers)


def _rest_address(peer: Peer) -> str:
    return peer.rest


def _grpc_address(peer: Peer) -> str:
    return peer.grpc
