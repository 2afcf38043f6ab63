"""What ends a client's HTTP/2 connection, or a request on it, by the clock."""

from typing import Final

from salver.transport.http2.client.session import ClientSession
from salver.transport.http2.outbox import BaseStream
from salver.transport.http2.watch import BaseWatch

__all__ = ["ClientWatch"]

_MOST_PINGS: Final = 2
"""While nothing else moves; servers of gRPC take so many, and then one each five minutes."""


class ClientWatch(BaseWatch[ClientSession]):
    """The timeouts of a client's session.

    A server that answers nothing is pinged after `keepalive_time_s`, and is gone when it has not
    answered within `keepalive_timeout_s`. Pings are not repeated sooner than servers allow.
    """

    __slots__ = ("_busy_at", "_moved_bytes", "_pinged_at", "_pings")

    def __init__(self, session: ClientSession, now: float) -> None:
        super().__init__(session, now)
        self._busy_at = now
        self._pinged_at = now
        self._pings = 0

    def _is_slow(self, stream: BaseStream, now: float) -> bool:
        if not stream.received_bytes:
            stream.since = now  # a model may think for long
        return super()._is_slow(stream, now)

    def _age(self, now: float) -> None:
        """Leave a server that nobody asks any more."""
        session = self._session
        limits = session.limits
        if session.outstanding:
            self._busy_at = now
        elif now - self._busy_at >= limits.max_connection_idle_s:
            session.retire()
        if now - self._begun >= limits.max_connection_age_s:
            session.retire()

    def _keep_alive(self, now: float) -> None:
        session = self._session
        limits = session.limits
        if session.out.has_moved:
            session.out.has_moved = False
            self._pings = 0
        is_silent = session.ping_since is None and now - session.heard >= limits.keepalive_time_s
        wait_s = (
            limits.keepalive_time_s if self._pings < _MOST_PINGS else limits.min_ping_interval_s
        )
        if is_silent and session.outstanding and now - self._pinged_at >= wait_s:
            self._pings += 1
            self._pinged_at = now
            session.keep_alive(now)
