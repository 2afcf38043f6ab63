"""DATA frames: handed over as they arrive, whole or not."""

from typing import Any

from salver.transport.http2.frames import Code, ConnectionFault, Flag
from salver.transport.http2.outbox import BaseStream
from salver.transport.http2.table import StreamTable

__all__ = ["Bodies"]

# What a frame that moves something earns in frames that do not.
_FRAMES_PER_DATA = 3
# Smaller parts of a body that nobody waits for are paid for.
_LATE_BYTES = 256
# A smaller part is handed over as a copy: a view keeps the whole read it came in.
_VIEW_FROM_BYTES = 16 * 1024


class Bodies:
    """Reads the payloads of DATA frames.

    Attributes:
        is_within: a frame has begun whose rest is to come: `go_on` takes it.
    """

    __slots__ = ("_inflow", "_is_last", "_left", "_padding", "_stream", "_streams", "is_within")

    def __init__(self, streams: StreamTable[Any]) -> None:
        self._streams = streams
        self._inflow = streams.inflow
        self._stream: BaseStream | None = None
        self._left = 0
        self._padding = 0
        self._is_last = False
        self.is_within = False

    def take(self, data: bytes, pos: int, length: int, flags: int, stream_id: int) -> int:
        """Take a frame, or as much of it as is there.

        Args:
            data: what came.
            pos: where the payload begins; its first octet is there if the frame is padded.
            length: of the payload.
            flags: of the frame.
            stream_id: of the frame.

        Returns:
            Where in `data` the next frame begins.

        Raises:
            ConnectionFault: the frame ends the connection.
        """
        inflow = self._inflow
        streams = self._streams
        if length > inflow.window:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the connection's window is exceeded")
        inflow.window -= length
        stream = streams.open.get(stream_id)
        end = pos + length
        if (
            stream is None
            or stream.is_remote_done
            or flags & Flag.PADDED
            or not 0 < length <= stream.recv_window
            or end > len(data)
        ):
            return self._take_oddly(data, pos, length, flags, stream, stream_id)
        stream.recv_window -= length
        streams.tokens.left += _FRAMES_PER_DATA
        chunk = data[pos:end] if length < _VIEW_FROM_BYTES else memoryview(data)[pos:end]
        streams.deliver(stream, chunk, length, bool(flags & Flag.END_STREAM))
        return end

    def _take_oddly(
        self,
        data: bytes,
        pos: int,
        length: int,
        flags: int,
        stream: BaseStream | None,
        stream_id: int,
    ) -> int:
        """Take a frame that is incomplete, empty, padded, or of no stream that waits for it."""
        start = pos
        self._left = length
        self._padding = 0
        if flags & Flag.PADDED:
            pos = self._read_padding(data, pos, length)
        self._is_last = bool(flags & Flag.END_STREAM)
        self._stream = stream = self._judge(stream, stream_id, length)
        if self._left and (stream is not None or self._left >= _LATE_BYTES):
            self._streams.tokens.left += 1
        elif not self._left:
            self._streams.take()
        self._inflow.credit(stream, self._padding + pos - start)
        if not self._left and stream is not None and self._is_last:
            self._streams.deliver(stream, b"", 0, True)
        return self.go_on(data, pos)

    def _read_padding(self, data: bytes, pos: int, length: int) -> int:
        if not length:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "padding without its length")
        self._padding = data[pos]
        self._left = length - 1 - self._padding
        if self._left < 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than frame")
        return pos + 1

    def _judge(self, stream: BaseStream | None, stream_id: int, length: int) -> BaseStream | None:
        """Whose the payload is; None if it is to be dropped."""
        streams = self._streams
        if stream is None:
            if streams.is_idle(stream_id):
                raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA on an idle stream")
            streams.take()
            if not streams.was_reset(stream_id):
                streams.reset(stream_id, Code.STREAM_CLOSED)
            streams.take_late(stream_id, length)
        elif stream.is_remote_done:
            streams.fault(stream, Code.STREAM_CLOSED)
        elif length > stream.recv_window:
            streams.fault(stream, Code.FLOW_CONTROL_ERROR)
        else:
            stream.recv_window -= length
            return stream
        return None

    def go_on(self, data: bytes, pos: int) -> int:
        """Take what is there of the payload of the frame that has begun.

        Returns:
            Where in `data` the next frame begins.
        """
        step = min(self._left, len(data) - pos)
        if step:
            self._left -= step
            stream = self._stream
            if stream is None or stream.is_gone:
                self._inflow.credit(None, step)
            else:
                chunk = memoryview(data)[pos : pos + step]
                self._streams.deliver(stream, chunk, step, self._is_last and not self._left)
            pos += step
        if not self._left:
            step = min(self._padding, len(data) - pos)
            self._padding -= step
            pos += step
        self.is_within = bool(self._left or self._padding)
        if not self.is_within:
            self._stream = None
        return pos
