"""Calls of gRPC to another server, over our own HTTP/2. Used on the loop only.

A call is a `Waiter`, which begins when there is room on a connection, and the `Asker` of its
stream. Messages are bytes both ways, and are not looked into.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and, for what a status of
HTTP means where there is none of gRPC, `http-grpc-status-mapping.md` beside it.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from salver.errors import Code, Internal, ServingError, error_of
from salver.protocols.version_header import VERSION_HEADER
from salver.rpc.http2_messages import HEAD_BYTES, Message, MessageReader, framed
from salver.transport.http2.client.channel import Channel
from salver.transport.http2.client.session import ClientSession
from salver.transport.http2.client.stream import ClientStream, Loss
from salver.transport.http2.frames import Code as Http2Code
from salver.transport.http2.header_blocks import AnswerHeaders
from salver.transport.in_flight import Holding, MemoryInFlight
from salver.vocabulary.hints import HINT_METADATA

__all__ = ["CallEnd", "CallLate", "CallLost", "MessagesCall", "UnaryAsk", "end_of"]

_STATUS: Final = b"grpc-status"
_MESSAGE: Final = b"grpc-message"
_HINT: Final = HINT_METADATA.encode()
_VERSION: Final = VERSION_HEADER.encode()
_OF_ENDS: Final = frozenset(
    {_STATUS, _MESSAGE, _HINT, _VERSION, b"content-type", b"grpc-encoding", b"date"}
)
_MOST_DIGITS: Final = 19  # of a version
_ACCEPTED: Final = b"grpc-accept-encoding"
_CODE_OF_HTTP: Final = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}

Field = tuple[bytes, bytes]
Data = bytes | memoryview


class CallLost(Exception):
    """There will be no answer, or not the rest of one.

    Attributes:
        loss: why.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.reason)
        self.loss = loss


class CallLate(Exception):
    """The time of the call is over. The server has been told that nobody waits any more."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a server has ended a call.

    Attributes:
        code: of gRPC; 0 is fine.
        message: beside it.
        hint: of ours, from a server that is one of ours; None without one.
        version: likewise, of the model that has failed the call.
        fields: further entries of metadata behind the answer.
    """

    code: int
    message: str
    hint: str | None
    version: int | None
    fields: tuple[Field, ...]

    def error(self) -> ServingError:
        """As an error of ours."""
        error = error_of(self.code, self.message)
        error.hint, error.version = self.hint, self.version
        return error


def end_of(headers: AnswerHeaders, trailers: AnswerHeaders | None) -> CallEnd:
    """How a call has ended; read once for all answers whose fields are the same.

    Args:
        headers: of the answer.
        trailers: None for an answer that is one header block.
    """
    last = headers if trailers is None else trailers
    if type(last.memo) is not CallEnd:
        last.memo = _read_end(headers.status, last)
    return last.memo


def _read_end(status: int, last: AnswerHeaders) -> CallEnd:
    said = last.get(_STATUS)
    fields = tuple(
        field for field in last.pairs if field[0] not in _OF_ENDS and field[0] != _ACCEPTED
    )
    if said is None or not said.isdigit() or len(said) > 3:
        code = _CODE_OF_HTTP.get(status, Code.UNKNOWN)
        return CallEnd(
            code, f"It has answered with the status {status} of HTTP", None, None, fields
        )
    hint = last.get(_HINT)
    return CallEnd(
        int(said),
        _text(last.get(_MESSAGE) or b""),
        None if hint is None else _text(hint),
        _version(last.get(_VERSION)),
        fields,
    )


def _version(said: bytes | None) -> int | None:
    is_one = said is not None and said.isdigit() and len(said) <= _MOST_DIGITS
    return int(said) if said is not None and is_one else None


def _text(value: bytes) -> str:
    return unquote(value.decode("latin-1"), errors="replace")


class _Ask:
    """What both kinds of calls have in common."""

    __slots__ = (
        "_block",
        "_channel",
        "_data",
        "_memory",
        "_most_bytes",
        "_reader",
        "_stream",
        "_timer",
    )

    def __init__(
        self, channel: Channel, block: bytes, data: bytes, most_bytes: int, memory: MemoryInFlight
    ) -> None:
        """Make it; `begin` is the channel's to call.

        Args:
            channel: to whom.
            block: the header block.
            data: the message.
            most_bytes: of an answer.
            memory: counts what comes of an answer, until it is whole.
        """
        self._channel = channel
        self._block = block
        self._data: bytes | tuple[bytes, bytes] = framed(data)
        self._most_bytes = most_bytes
        self._memory = memory
        self._reader: MessageReader | None = None  # most need none
        self._stream: ClientStream | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, session: ClientSession) -> None:
        """See `Waiter`."""
        raise NotImplementedError

    def lost(self, loss: Loss) -> None:
        """See `Waiter` and `Asker`."""
        self._fail(CallLost(loss))

    def _fail(self, error: BaseException) -> None:
        """There is no answer, or no more of it."""
        raise NotImplementedError

    def _start(self, timeout_s: float | None) -> None:
        if timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout_s, self._expire)
        self._channel.submit(self)

    def _expire(self) -> None:
        self._fail(CallLate())
        self.give_up()

    def give_up(self) -> None:
        """Nobody waits for it any more: end it there."""
        if self._timer is not None:
            self._timer.cancel()
        if self._stream is None:
            self._channel.withdraw(self)
        else:
            self._stream.reset(Http2Code.CANCEL)


class UnaryAsk(_Ask):
    """A call of one message that is answered by one."""

    __slots__ = ("_holding", "_message", "answered")

    def __init__(
        self, channel: Channel, block: bytes, data: bytes, most_bytes: int, memory: MemoryInFlight
    ) -> None:
        """Make it; see `_Ask`."""
        _Ask.__init__(self, channel, block, data, most_bytes, memory)
        self.answered: asyncio.Future[tuple[Message | None, CallEnd]] = (
            asyncio.get_running_loop().create_future()
        )
        self._message: Message | None = None
        self._holding: Holding | None = None

    async def answer(self, timeout_s: float | None) -> tuple[Message | None, CallEnd]:
        """The message that came, None for none, and how the call has ended.

        Args:
            timeout_s: how long that may take; None: for ever.

        Raises:
            CallLost: see there.
            CallLate: see there.
            ServingError: the answer cannot be taken.
        """
        self._start(timeout_s)
        try:
            return await self.answered
        finally:
            if not self.answered.done() or self.answered.cancelled():
                self.give_up()
            if self._timer is not None:
                self._timer.cancel()
            if self._holding is not None:
                self._holding.release()

    def begin(self, session: ClientSession) -> None:
        """See `Waiter`."""
        self._stream = session.ask(self._block, self._data, self)

    def received(self, data: Data, is_last: bool) -> None:
        """See `Asker`."""
        if self.answered.done():
            return
        try:
            if len(data):
                self._take(data)
        except (ServingError, MemoryError) as error:
            self.answered.set_exception(error)
            if not is_last:
                self.give_up()
            return
        if is_last:
            stream = self._stream
            assert stream is not None  # it has begun
            self.answered.set_result((self._message, end_of(stream.headers, stream.trailers)))

    def _take(self, data: Data) -> None:
        size = len(data) - HEAD_BYTES
        if (
            self._reader is None
            and size >= 0
            and not data[0]
            and int.from_bytes(data[1:HEAD_BYTES], "big") == size
            and size <= self._most_bytes
        ):
            # The usual: one frame that is the message, as it is.
            self._take_message(Message(False, bytes(data[HEAD_BYTES:])))
            return
        if self._reader is None:
            self._reader = MessageReader(self._most_bytes)
            self._holding = Holding(self._memory)
        if self._holding is not None:
            self._holding.grow(len(data))
        for message in self._reader.read(data):
            self._take_message(message)

    def _take_message(self, message: Message) -> None:
        if self._message is not None:
            raise Internal("It has answered with more than one message")
        self._message = message

    def _fail(self, error: BaseException) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)


class MessagesCall(_Ask):
    """A call of one message that is answered by any number of them."""

    __slots__ = ("_changed", "_end", "_holding", "_messages", "_parts", "_uncredited")

    def __init__(
        self, channel: Channel, block: bytes, data: bytes, most_bytes: int, memory: MemoryInFlight
    ) -> None:
        """Make it; see `_Ask`."""
        _Ask.__init__(self, channel, block, data, most_bytes, memory)
        self._messages: deque[Message] = deque()
        self._parts = MessageReader(most_bytes)
        self._holding: Holding | None = None
        self._end: CallEnd | BaseException | None = None
        self._changed: asyncio.Future[None] | None = None
        self._uncredited = 0

    def start(self, timeout_s: float | None) -> None:
        """Have it begin.

        Args:
            timeout_s: how long all of it may take; None: for ever.
        """
        self._start(timeout_s)

    async def next(self) -> "Message | CallEnd":
        """The next message or, behind the last, how the call has ended.

        Raises:
            CallLost: see there.
            CallLate: see there.
            ServingError: the answer cannot be taken.
        """
        while not self._messages:
            self._credit()
            if isinstance(self._end, BaseException):
                raise self._end
            if self._end is not None:
                return self._end
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        return self._messages.popleft()

    def begin(self, session: ClientSession) -> None:
        """See `Waiter`."""
        self._stream = stream = session.ask(self._block, self._data, self)
        stream.auto_credit = False
        stream.is_untimed = True

    def received(self, data: Data, is_last: bool) -> None:
        """See `Asker`."""
        if self._end is not None:
            return
        self._uncredited += len(data)
        try:
            self._messages.extend(self._parts.read(data))
            self._count(len(data))
        except (ServingError, MemoryError) as error:
            self._end = error
            if not is_last:
                self.give_up()
        else:
            if is_last and self._stream is not None:
                self._end = end_of(self._stream.headers, self._stream.trailers)
            elif not self._messages:
                self._credit()  # the rest of one is to come
        self._wake()

    def _fail(self, error: BaseException) -> None:
        if self._end is None:
            self._end = error
            self._wake()

    def give_up(self) -> None:
        """See `_Ask`."""
        super().give_up()
        self._release()

    def _count(self, more: int) -> None:
        """Count the message that is not whole; what waits behind it is bounded by the window."""
        if self._parts.is_between:
            self._release()
            return
        if self._holding is None:
            self._holding = Holding(self._memory)
        self._holding.grow(more)

    def _release(self) -> None:
        if self._holding is not None:
            self._holding.release()
            self._holding = None

    def _credit(self) -> None:
        if self._uncredited and self._stream is not None:
            self._stream.credit(self._uncredited)
            self._uncredited = 0

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)
