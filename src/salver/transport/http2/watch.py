"""What ends an HTTP/2 connection, or a stream of it, by the clock."""

from typing import Any, Generic, TypeVar

from salver.transport.http2.endpoint import Endpoint
from salver.transport.http2.frames import Code
from salver.transport.http2.outbox import BaseStream
from salver.transport.http2.session import Session

__all__ = ["BaseWatch", "Watch"]

E = TypeVar("E", bound=Endpoint[Any])


class BaseWatch(Generic[E]):
    """The timeouts that hold for both sides."""

    __slots__ = ("_begun", "_ready_by", "_session")

    def __init__(self, session: E, now: float, *, accepted_s: float | None = None) -> None:
        """Begin.

        Args:
            session: to watch.
            now: monotonic seconds.
            accepted_s: when its connection was accepted; None for now.
        """
        limits = session.limits
        accepted_s = now if accepted_s is None else accepted_s
        self._session = session
        self._begun = now
        self._ready_by = min(now + limits.preface_timeout_s, accepted_s + limits.header_timeout_s)

    def sweep(self, now: float) -> None:
        """End what has been too slow at this monotonic time.

        The session may be closed afterwards (`Session.is_closed`), with a GOAWAY in its `out`.
        """
        session = self._session
        session.tick(now)
        reason = self._overdue(now)
        if reason is not None:
            session.fail(*reason)
            return
        for stream in session.streams:
            if self._is_slow(stream, now):
                session.expire(stream)
        self._age(now)
        self._keep_alive(now)

    def _overdue(self, now: float) -> tuple[int, str] | None:
        """Why the connection ends, if it does."""
        session = self._session
        limits = session.limits
        if not session.is_ready and now >= self._ready_by:
            return Code.PROTOCOL_ERROR, "preface timeout"
        if not session.is_acknowledged and now - self._begun >= limits.settings_timeout_s:
            return Code.SETTINGS_TIMEOUT, "settings timeout"
        if (
            session.partial_since is not None
            and now - session.partial_since >= limits.header_timeout_s
        ):
            return Code.PROTOCOL_ERROR, "header timeout"
        if (
            session.ping_since is not None
            and now - session.ping_since >= limits.keepalive_timeout_s
        ):
            return Code.NO_ERROR, "keepalive timeout"
        return None

    def _is_slow(self, stream: BaseStream, now: float) -> bool:
        limits = self._session.limits
        if stream.is_untimed:
            return False
        if stream.is_waiting and now - stream.write_since >= limits.write_timeout_s:
            return True
        if stream.is_remote_done or stream.unread_bytes:
            stream.since = now
            return False
        if stream.received_bytes - stream.progress >= limits.min_body_progress_bytes:
            stream.progress = stream.received_bytes
            stream.since = now
            return False
        return now - stream.since >= limits.body_timeout_s

    def _age(self, now: float) -> None:
        """Begin, go on with or enforce a graceful end."""
        raise NotImplementedError

    def _keep_alive(self, now: float) -> None:
        """Ping, if it is time."""
        raise NotImplementedError


class Watch(BaseWatch[Session]):
    """The timeouts of a server's session."""

    __slots__ = ("_busy_at",)

    def __init__(self, session: Session, now: float, *, accepted_s: float | None = None) -> None:
        """Begin; see `BaseWatch`."""
        super().__init__(session, now, accepted_s=accepted_s)
        self._busy_at = now

    def _age(self, now: float) -> None:
        """Begin, go on with or enforce a graceful end."""
        session = self._session
        limits = session.limits
        if session.is_busy:
            self._busy_at = now
        is_old = now - self._begun >= limits.max_connection_age_s
        is_idle = now - self._busy_at >= limits.max_connection_idle_s
        if not session.is_draining:
            if is_old or is_idle:
                session.drain()
        elif not session.is_final:
            if now - session.drain_since >= limits.drain_ping_timeout_s:
                session.finish_drain()
        elif is_old and now - session.drain_since >= limits.max_connection_age_grace_s:
            session.fail(Code.NO_ERROR, "max age")

    def _keep_alive(self, now: float) -> None:
        session = self._session
        limits = session.limits
        is_due = session.ping_since is None and now - session.heard >= limits.keepalive_time_s
        if is_due and (session.streams or limits.permit_pings_without_calls):
            session.keep_alive(now)
