"""The control frames of a server, as a client obeys them."""

from salver.transport.http2.client.stream import Loss
from salver.transport.http2.client.streams import ClientStreams
from salver.transport.http2.control import Control
from salver.transport.http2.frames import MAX_WINDOW, Code, ConnectionFault, Setting

__all__ = ["ClientControl"]

_LONGEST_REASON = 200


class ClientControl(Control):
    """Obeys the control frames of one server.

    Attributes:
        last_id: what the server will look at, since it has said that it goes; None before.
    """

    _streams: ClientStreams
    last_id: int | None = None

    def _on_push_promise(self, payload: bytes, flags: int, stream_id: int) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "pushes were declined")

    def _on_goaway(self, payload: bytes, flags: int, stream_id: int) -> None:
        super()._on_goaway(payload, flags, stream_id)
        last_id = int.from_bytes(payload[:4], "big") & MAX_WINDOW
        code = int.from_bytes(payload[4:8], "big")
        said = payload[8 : 8 + _LONGEST_REASON].decode(errors="replace")
        if self.last_id is None or last_id < self.last_id:
            self.last_id = last_id
            self._streams.refuse_above(last_id, _why(code, said))

    def _on_reset(self, payload: bytes, flags: int, stream_id: int) -> None:
        streams = self._streams
        stream = streams.open.get(stream_id)
        if stream is not None and len(payload) == 4:
            code = int.from_bytes(payload, "big")
            has_begun = code != Code.REFUSED_STREAM
            text = "the server has refused it" if not has_begun else f"the server reset it ({code})"
            streams.leave(stream, Loss(text, has_begun, code))
            streams.pay_reset()
            return
        super()._on_reset(payload, flags, stream_id)

    def _judge_ping(self) -> None:
        """Servers may ping as they like, as long as there are tokens."""

    def _on_setting(self, number: int, value: int) -> None:
        if number == Setting.MAX_CONCURRENT_STREAMS:
            self._streams.most = min(value, self._limits.max_concurrent_streams)
        elif number == Setting.ENABLE_PUSH and value:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a server has no push to allow")
        else:
            super()._on_setting(number, value)


def _why(code: int, said: str) -> str:
    return f"the server goes ({code}{': ' if said else ''}{said})"
