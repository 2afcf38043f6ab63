"""What the connections of one server share."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from salver.errors import Overloaded, drop_frames, out_of_memory
from salver.instruments.heap import joined
from salver.instruments.threads import VERY_LARGE_BYTES, InPool
from salver.tracing.tracer import TRACE_HEADER
from salver.transport.heads import HeadCache, Refusal, RequestHead, RequestLine
from salver.transport.http1.responses import ResponseHeads
from salver.transport.in_flight import UNLIMITED, Holding, MemoryInFlight
from salver.transport.inflating import Broken, InflateLimits, Inflating, TooLarge
from salver.transport.limits import HttpLimits
from salver.transport.messages import (
    Client,
    ErrorPage,
    Handler,
    HttpRequest,
    HttpResponse,
    PageHeaders,
    Screen,
)
from salver.vocabulary.access import Principal

__all__ = [
    "CLIENT_LEFT",
    "FORWARDED_TO_HEADER",
    "MODEL_VERSION_HEADER",
    "AccessRecord",
    "OpenConnection",
    "Service",
    "overload",
]

logger = logging.getLogger(__name__)

MODEL_VERSION_HEADER = "salver-model-version"
FORWARDED_TO_HEADER = "salver-forwarded-to"
"""Of answers that another server has given: its name."""
_UNAVAILABLE = 503
CLIENT_LEFT = HttpResponse(499, b"")
"""What the access log says of a request that was given up unanswered, as nginx does."""


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """One request, answered or given up.

    Attributes:
        time: when it was answered, seconds since the epoch.
        remote: the client's address, without its port.
        method: empty for a request that was refused before its first line was understood; so is
            `target`.
        bytes_in: of the body as it arrived, without its transfer coding.
        bytes_out: of the answer's body.
        seconds: from the last byte of the request to the answer.
        model_version: the version that answered, as the answer's header says.
        principal: whom the request is from; None where nobody has looked, or it could not be told.
        trace_id: of the trace that it is told in, as the answer's header says.
        forwarded_to: the server that has answered in the place of this one, likewise.
    """

    time: float
    remote: str | None
    method: str
    target: str
    status: int
    bytes_in: int
    bytes_out: int
    seconds: float
    model_version: str | None
    user_agent: str | None
    principal: str | None = None
    trace_id: str | None = None
    forwarded_to: str | None = None


class OpenConnection(Protocol):
    """What a server does with one of its connections."""

    @property
    def is_unanswered(self) -> bool:
        """True while a client waits for an answer, or for the rest of one."""

    def sweep(self, now: float) -> None:
        """End the connection if it has been too slow, at this monotonic time."""

    def drain(self) -> None:
        """End the connection as soon as nothing is unanswered."""

    def abort(self) -> None:
        """End the connection now."""


class Service:
    """Shared by a server and its connections; used on the loop only.

    Attributes:
        admit: see `HeadCache`; None where every head is taken.
        screen: see there; None where every body is taken.
        tick: monotonic seconds at the last sweep: good enough for timeouts, and free to read.
        connections: all that are open.
        in_flight: requests whose answers are being made by an awaitable.
        draining: every further answer over HTTP/1 ends its connection.
        is_closed: and connections of HTTP/2 end when they have begun: no more are taken.
        on_connection: called when a connection has been made.
        on_empty: called when the last connection has gone.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        error_page: ErrorPage,
        limits: HttpLimits,
        access: Callable[[AccessRecord], None] | None,
        clock: Callable[[], float],
        run_in_pool: InPool,
        monotonic: Callable[[], float] = time.monotonic,
        page_headers: PageHeaders | None = None,
        admit: Callable[[RequestHead], None] | None = None,
        memory: MemoryInFlight = UNLIMITED,
        screen: Screen | None = None,
    ) -> None:
        self.handler = handler
        self.screen = screen
        self.admit = admit
        self.page_headers = page_headers
        self.error_page = error_page
        self.limits = limits
        self.memory = memory
        self.access = access
        self.clock = clock
        self.run_in_pool = run_in_pool
        self.monotonic = monotonic
        self.heads = HeadCache(limits.max_body_bytes, admit)
        self.response_heads = ResponseHeads()
        self.connections: set[OpenConnection] = set()
        self.in_flight = 0
        self.draining = False
        self.is_closed = False
        self.on_connection: Callable[[], None] = _nothing
        self.on_empty: Callable[[], None] = _nothing
        self.tick = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Read the clocks, for timeouts and `Date`."""
        self.tick = self.monotonic()
        self.response_heads.tick(self.clock())

    def fault_page(self, error: Exception, target: str | None) -> HttpResponse:
        """The page of a request whose handler has failed; the log hears of it."""
        if isinstance(error, MemoryError):
            refused = out_of_memory(error)
            logger.warning("A request was refused: %s", refused.message)
            return self.refusal_page(Refusal(429, refused.message, refused.hint), target)
        logger.error("The handler of a request has failed.", exc_info=error)
        drop_frames(error)
        return self.refusal_page(Refusal(500, "Internal Server Error"), target)

    def broke_off(self, error: Exception) -> None:
        """The log hears of an answer that cannot be finished."""
        logger.error("An answer was broken off: what makes it has failed.", exc_info=error)
        drop_frames(error)

    async def inflated(self, body: bytes, holding: Holding, coding: bytes = b"gzip") -> bytes:
        """A compressed body as it was; empty where it is broken or cut short.

        Source: TensorFlow Serving `net_http/compression/gzip_zlib.cc` for what a broken one becomes
        (nothing, and an empty document is the error the client reads). Deviations: several members
        in a row are one body, as RFC 1952 §2.2 says (the reference calls that broken); a body over
        the limit is refused as too large instead of read as empty.

        Args:
            body: as it came.
            holding: of the request; grows by what comes out. Once it is released, nothing more
                is inflated.
            coding: `gzip` or `deflate`.

        Raises:
            Refusal: 413, too much would come out; 503, too much is in flight.
        """
        limits = self.limits
        most_bytes = min(limits.max_inflated_bytes, limits.max_body_bytes)
        bounds = InflateLimits(most_bytes, limits.max_inflate_ratio)
        inflating = Inflating(body, coding, bounds, on_growth=holding.grow)
        try:
            whole: bytes | None = await self.run_in_pool(lambda: inflating.whole(VERY_LARGE_BYTES))
            if whole is None:
                rest = self.run_in_pool(lambda: inflating.whole(most_bytes + 1), most_bytes)
                whole = await rest
        except Broken:
            return b""
        except TooLarge as error:
            raise _too_large(error) from None
        except Overloaded as error:
            raise overload(error) from None
        assert whole is not None  # it has ended, or was too large
        return whole

    async def _joined(self, pieces: "deque[Any]") -> bytes:
        body: bytes = await self.run_in_pool(lambda: joined(pieces), sum(map(len, pieces)))
        return body

    @staticmethod
    def request(head: RequestHead, body: bytes, client: Client) -> HttpRequest:
        """What the handler is given."""
        return HttpRequest(head.method, head.target, head.headers, body, head.keep_alive, client)

    async def answer_unready(
        self, head: RequestHead, body: "bytes | deque[Any]", holding: Holding, client: Client
    ) -> HttpResponse:
        """Answer a request whose body is in pieces, or compressed.

        Args:
            head: of the request.
            body: pieces are put together apart from the loop.
            holding: see `inflated`.
            client: who waits.
        """
        try:
            whole = body if isinstance(body, bytes) else await self._joined(body)
            if head.coding is not None:
                whole = await self.inflated(whole, holding, head.coding)
        except Refusal as refusal:
            return self.refusal_page(refusal, head.target)
        answer = self.handler(self.request(head, whole, client))
        return answer if isinstance(answer, HttpResponse) else await answer

    def refusal_page(self, refusal: Refusal, target: str | None) -> HttpResponse:
        """The page of what the transport refuses by itself; of which target, if that is known."""
        page = self.error_page(refusal.status, refusal.message, refusal.hint)
        headers = page.headers
        if self.page_headers is not None:
            headers = (*headers, *self.page_headers(target))
        if refusal.status == _UNAVAILABLE:
            headers = (*headers, ("Retry-After", str(Overloaded.retry_after_s)))
        return HttpResponse(page.status, page.body, page.content_type, headers, page.close)

    def record(
        self,
        request: RequestHead | RequestLine | None,
        response: HttpResponse,
        remote: str | None,
        bytes_in: int,
        started: float,
        principal: Principal | None = None,
    ) -> None:
        """Tell the access log, if there is one, of an answer.

        Args:
            request: its head, or as much as is known of it.
            response: that was given.
            remote: the client's address.
            bytes_in: of the body.
            started: a monotonic time.
            principal: whom it is from, where that is known.
        """
        if self.access is None:
            return
        head = request if isinstance(request, RequestHead) else None
        agent = None if head is None else head.headers.get(b"user-agent")
        is_head = head is not None and head.is_head
        headers = dict(response.headers)
        self.access(
            AccessRecord(
                time=self.clock(),
                remote=remote,
                method="" if request is None else request.method,
                target="" if request is None else request.target,
                status=response.status,
                bytes_in=bytes_in,
                bytes_out=0 if is_head else response.size,
                seconds=self.monotonic() - started,
                model_version=headers.get(MODEL_VERSION_HEADER),
                trace_id=headers.get(TRACE_HEADER),
                forwarded_to=headers.get(FORWARDED_TO_HEADER),
                user_agent=None if agent is None else agent.decode("latin-1"),
                principal=None if principal is None else principal.name,
            )
        )


def _nothing() -> None:
    """The default of the hooks."""


def overload(error: Overloaded) -> Refusal:
    """The refusal of what would be too much in flight."""
    return Refusal(_UNAVAILABLE, error.message, error.hint)


def _too_large(error: TooLarge) -> Refusal:
    limits = error.limits
    if error.is_by_ratio:
        return Refusal(
            413,
            f"Request body inflates to more than {limits.most_ratio} times its size",
            "The server's --max_inflate_ratio sets this limit.",
        )
    return Refusal(
        413,
        f"Request body is larger than {limits.most_bytes} bytes once inflated",
        "This bounds bodies that are sent gzipped; the server's --max_request_bytes bounds all.",
    )
