"""The window a client may fill: what of it is given back, and when."""

from salver.transport.http2.frames import window_update
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.stream import Outbox, Stream

__all__ = ["Inflow"]


class Inflow:
    """The receiving side's flow control of one connection, RFC 9113 §5.2.

    Window is given back when half of it is due, so that a small request costs no frame.

    Attributes:
        window: what the client may still send.
        due: bytes that are done with and have not been given back.
    """

    __slots__ = ("_half", "_out", "_stream_half", "due", "window")

    def __init__(self, out: Outbox, limits: Http2Limits) -> None:
        self._out = out
        self._half = limits.connection_window_bytes // 2
        self._stream_half = limits.stream_window_bytes // 2
        self.window = limits.connection_window_bytes
        self.due = 0

    def credit(self, stream: Stream | None, count: int) -> None:
        """Bytes are done with; of a stream that goes on, or of none."""
        self.due += count
        if self.due > self._half:
            self._out.parts.append(window_update(0, self.due))
            self.window += self.due
            self.due = 0
        if stream is not None and not stream.is_remote_done and not stream.is_gone:
            stream.to_credit += count
            if stream.to_credit > self._stream_half:
                self._out.parts.append(window_update(stream.id, stream.to_credit))
                stream.recv_window += stream.to_credit
                stream.to_credit = 0
