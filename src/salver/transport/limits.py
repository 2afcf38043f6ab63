"""How much, and how slowly, a client may send."""

from dataclasses import dataclass, fields

__all__ = ["HttpLimits"]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds on one connection. The reference has none but its idle timeouts.

    Attributes:
        max_header_bytes: request line and fields together (tomcat: 8 KiB; node.js: 16 KiB; Go:
            1 MiB).
        max_body_bytes: a body as it arrives and, when it is gzipped, inflated.
        max_inflated_bytes: a gzipped body once it is inflated, if that is less (the reference: 100
            MiB). Gzip makes little of much: 100 kB can be what inflates to that.
        max_inflate_ratio: bytes that a gzipped body may become for each that came, beyond a MiB.
        read_timeout_s: a connection may idle, a head may take to arrive, and a body may go without
            progress this long (libevent's default for a connection: 50 s).
        write_timeout_s: what was answered may lie unread by the client this long (libevent: 50 s).
        min_body_progress_bytes: less than this within `read_timeout_s` is no progress, nor within
            `write_timeout_s` of who reads an answer.
        max_pipelined_bytes: requests that wait behind an unanswered one; beyond it, reading pauses.
        linger_s: after a refusal, how long the rest of the request is read and dropped, so that
            the client reads the refusal instead of a connection reset (nginx: 30 s).
        max_linger_bytes: that are dropped so; beyond it the connection is left to fill up.
    """

    max_header_bytes: int = 64 * 1024
    max_body_bytes: int = 1024 * 1024 * 1024
    max_inflated_bytes: int = 100 * 1024 * 1024
    max_inflate_ratio: int = 1000
    read_timeout_s: float = 50.0
    write_timeout_s: float = 50.0
    min_body_progress_bytes: int = 1024
    max_pipelined_bytes: int = 64 * 1024
    linger_s: float = 2.0
    max_linger_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be positive")
