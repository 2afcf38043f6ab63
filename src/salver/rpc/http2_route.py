"""What the header fields of a call ask for, read once for all calls that bring the same."""

from copy import copy
from dataclasses import dataclass
from typing import Final

from salver.errors import Internal, InvalidArgument, Unimplemented
from salver.protocols.methods import (
    OTHERS,
    CallScreen,
    CallScreens,
    MethodTable,
    Stream,
    UnaryMethod,
)
from salver.rpc.http2_blocks import (
    TRAILERS_OK,
    Field,
    plain_refusal,
    refusal_of,
    trailers_ok,
)
from salver.rpc.http2_metadata import is_grpc, timeout_of
from salver.transport.http2.header_blocks import Headers

__all__ = ["NO_LIMITS", "MessageLimits", "Route", "route_of"]

_ENCODINGS: Final = (b"gzip", b"deflate")
_NO_METHOD: Final = refusal_of(Unimplemented("Method not found!"))
_BAD_TIMEOUT: Final = refusal_of(Internal("Error parsing 'grpc-timeout' metadata"))
_NOT_POSTED: Final = plain_refusal(405, Internal("Bad method header"))
_NOT_GRPC: Final = plain_refusal(
    415, InvalidArgument("Content-Type must be application/grpc: nothing else is served here")
)
_NOT_GRPC_WEB: Final = plain_refusal(
    415, Unimplemented("gRPC-Web is not served here: use gRPC, or REST, or a proxy that translates")
)


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Bounds on messages, and how answers are sent.

    Attributes:
        max_receive_bytes: of a message as it comes and, when it is compressed, inflated.
        max_inflated_bytes: of one that is compressed, if that is less: little can become very much.
        max_inflate_ratio: bytes that such a one may become for each that came, beyond a MiB.
        max_send_bytes: of an answer; None for any.
        encoding: of answers to clients that accept it: `gzip`, `deflate`; None sends them as they
            are.
    """

    max_receive_bytes: int = (1 << 31) - 1
    max_inflated_bytes: int = 100 << 20
    max_inflate_ratio: int = 1000
    max_send_bytes: int | None = None
    encoding: bytes | None = None

    @property
    def most_inflated_bytes(self) -> int:
        """Of a message that came compressed."""
        return min(self.max_receive_bytes, self.max_inflated_bytes)


NO_LIMITS: Final = MessageLimits()


class Route:
    """Which method answers a call, and how.

    Attributes:
        refusal: the whole answer, where that is known already; None where it is not.
        is_grpc: False for what has another content type.
        method: that is called.
        screen: asked before its message is taken; None where every message is.
        timeout_s: see `Call`.
        encoding: of messages that are flagged as compressed; None where the client names none.
        answer_encoding: of the answer; None leaves it as it is.
        fields: of metadata behind the answer; most have none.
        trailers: the block that ends an answer.
    """

    __slots__ = (
        "answer_encoding", "encoding", "fields", "is_grpc", "method", "refusal", "screen",
        "timeout_s", "trailers",
    )  # fmt: skip

    def __init__(self, *, refusal: bytes | None = None, is_grpc: bool = True) -> None:
        self.refusal = refusal
        self.is_grpc = is_grpc
        self.method: UnaryMethod | Stream | None = None
        self.screen: CallScreen | None = None
        self.timeout_s: float | None = None
        self.encoding: bytes | None = None
        self.answer_encoding: bytes | None = None
        self.fields: tuple[Field, ...] = ()
        self.trailers = TRAILERS_OK

    def with_trailer(self, name: bytes, value: bytes) -> "Route":
        """The same with one more field of metadata behind the answer, for one call."""
        route = copy(self)
        route.fields = (*self.fields, (name, value))
        route.trailers = trailers_ok(route.fields)
        return route


def route_of(
    headers: Headers, table: MethodTable, encoding: bytes | None, screens: CallScreens
) -> Route:
    """Read them.

    Args:
        headers: well formed.
        table: the methods.
        encoding: of answers, where the client accepts it.
        screens: of the methods.
    """
    get = headers.get
    content_type = get(b"content-type")
    if not is_grpc(content_type):
        is_web = (content_type or b"").startswith(b"application/grpc-web")
        return Route(refusal=_NOT_GRPC_WEB if is_web else _NOT_GRPC, is_grpc=is_web)
    if headers.method != b"POST":
        return Route(refusal=_NOT_POSTED)
    path = headers.path.decode("latin-1")
    method = table.get(path) or table.get(OTHERS)
    if method is None:
        return Route(refusal=_NO_METHOD)
    sent_encoding = get(b"grpc-encoding")
    if sent_encoding not in (None, b"identity", *_ENCODINGS):
        name = (sent_encoding or b"").decode("latin-1")
        return Route(
            refusal=refusal_of(Unimplemented(f'Compression algorithm "{name}" is not supported'))
        )
    route = Route()
    route.method = method
    route.screen = screens.get(path if path in table else OTHERS)
    if (timeout := get(b"grpc-timeout")) is not None:
        try:
            route.timeout_s = timeout_of(timeout)
        except ValueError:
            return Route(refusal=_BAD_TIMEOUT)
    route.encoding = None if sent_encoding == b"identity" else sent_encoding
    if encoding is not None:
        accepted = (get(b"grpc-accept-encoding") or b"").replace(b" ", b"").split(b",")
        route.answer_encoding = encoding if encoding in accepted else None
    return route
