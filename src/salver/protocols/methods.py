"""What a gRPC transport serves: methods from bytes to bytes, by their full names.

No type of a gRPC library stands here, so a transport is one module: it looks a method up, hands it
the message and the call, and says how it went.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from salver.inference.context import Identity, Interceptor
from salver.transport.messages import NO_HEADERS, Headers
from salver.vocabulary.access import UNSAID, Need, Principal
from salver.vocabulary.requests import ServableRequest

__all__ = [
    "OTHERS",
    "Call",
    "CallScreen",
    "CallScreens",
    "Method",
    "MethodTable",
    "Stream",
    "StreamMethod",
    "UnaryMethod",
]


class Call:
    """What a method learns of a call besides its message: a `RequestContext`.

    Each transport has one of its own, which knows the client.

    Attributes:
        timeout_s: seconds left until the client's deadline, when the call was handed over; None
            for a client without one. Below zero when it has passed.
        read_servable: reads the model it asks for out of its message; None where nobody asks.
        need: what has to be permitted; see `RequestContext`.
        principal: whom it is from; see `RequestContext`.
        headers: its header fields, which are shared by all calls that bring the same; None where
            the transport has no such thing.
        interceptors: for a method of streams that has each message pass them; see
            `Stream.has_guarded_messages`.
    """

    __slots__ = ("headers", "interceptors", "need", "principal", "read_servable", "timeout_s")
    protocol = "GRPC"

    def __init__(self, timeout_s: float | None = None) -> None:
        self.timeout_s = timeout_s
        self.read_servable: Callable[[], ServableRequest | None] | None = None
        self.need: Need = UNSAID
        self.principal: Principal | None = None
        self.headers: Headers | None = None
        self.interceptors: Sequence[Interceptor] = ()

    @property
    def target(self) -> str:
        """The full name of the method."""
        return ""

    @property
    def peer(self) -> str | None:
        """See `RequestContext`."""
        return None

    @property
    def identity(self) -> Identity | None:
        """See `RequestContext`."""
        return None

    def header(self, name: bytes) -> bytes | None:
        """See `RequestContext`."""
        return None

    @property
    def all_headers(self) -> Headers:
        """The header fields of this call, also where its transport shares none."""
        return NO_HEADERS if self.headers is None else self.headers

    def add_trailer(self, name: bytes, value: bytes) -> None:
        """Send an entry of metadata behind the answer, or with the error. Before the method ends.

        Args:
            name: in lower case.
            value: printable ASCII.
        """

    @property
    def servable(self) -> ServableRequest | None:
        """See `RequestContext`."""
        return None if self.read_servable is None else self.read_servable()


UnaryMethod = Callable[[bytes, Call], "bytes | Coroutine[Any, Any, bytes]"]
"""One message in, one out: at once, or by a coroutine which may be closed or cancelled.

Raises `ServingError`, also out of the coroutine.
"""

StreamMethod = Callable[[AsyncIterator[bytes], Call], "AsyncGenerator[bytes, None]"]
"""Any number of messages in and out; the generator raises `ServingError`, and may be closed.

What comes in ends when the client has no more, and also when the server drains: a method that
goes on after that holds up the drain.
"""


@dataclass(frozen=True, slots=True)
class Stream:
    """A method of streams, in the table told by this from a unary one.

    Attributes:
        method: see `StreamMethod`.
        is_request_single: whether the client sends exactly one message.
        has_guarded_messages: the method has each message pass `Call.interceptors`, as a call of its
            own. Its beginning then needs no more than credentials.
    """

    method: StreamMethod
    is_request_single: bool = False
    has_guarded_messages: bool = False


Method = UnaryMethod | Stream
MethodTable = Mapping[str, Method]
"""Full name (`/tensorflow.serving.PredictionService/Predict`) → method."""

CallScreen = Callable[[Call], "Coroutine[Any, Any, None] | None"]
"""Asked of a call whose header fields are here and whose message is not: it raises `ServingError`,
also out of what it returns, where the call is refused whatever its message is."""

CallScreens = Mapping[str, CallScreen]
"""Full name → what is asked before a message is taken; see `OTHERS`."""

OTHERS: Final = ""
"""The name under which a table may have a unary method that is called in place of those it has not.

Without one the transport says by itself that there is no such method."""
