"""How much, how fast and how slowly an HTTP/2 client may send."""

import math
from dataclasses import dataclass, fields

from salver.transport.http2.frames import MAX_FRAME_BYTES, MAX_WINDOW, MIN_FRAME_BYTES

__all__ = ["Http2Limits"]

_MAY_BE_ZERO = frozenset({"header_table_bytes", "max_ping_strikes"})


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Bounds on one connection. The first eight are told to the client in SETTINGS or windows.

    Frames that move nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones)
    take a token each from a bucket: `control_burst` at first, `control_frames_per_s` more each
    second, and a few for every request and every DATA frame. Resets have a bucket of their own. A
    client whose bucket is empty is told ENHANCE_YOUR_CALM.

    Attributes:
        max_concurrent_streams: requests at one time, cancelled ones whose work still runs among
            them; more are refused (gRPC's C core: no bound). A client's library queues what is
            beyond, so that neither a batch of one client nor its watches may need more.
        max_header_list_bytes: a request's fields, 32 more for each (HPACK's measure); twice as much
            ends the connection, be it of the block as it arrives.
        max_continuation_frames: parts of one header block behind its first (CVE-2024-27316).
        header_table_bytes: HPACK's dynamic table for what the client sends.
        max_frame_bytes: the longest frame.
        stream_window_bytes: what a client may send of one request ahead of the server.
        connection_window_bytes: and of all together; what a connection can hold unread.
        settings_timeout_s: for the acknowledgement of our SETTINGS.
        preface_timeout_s: for the client's preface and SETTINGS, from when HTTP/2 is known to be
            spoken.
        header_timeout_s: for the rest of a frame or header block that has begun; and for preface
            and SETTINGS, from when the connection was accepted.
        body_timeout_s: a body may go this long without progress, unless its stream `is_untimed`.
        min_body_progress_bytes: less than this within `body_timeout_s` is no progress.
        write_timeout_s: what was answered may lie unread by the client this long, be it that its
            windows or its socket are full.
        max_unread_output_bytes: acknowledgements and answers that the client does not read; beyond
            it the client is not read either.
        max_remembered_resets: streams we have reset and whose late frames are dropped in silence.
        reset_burst: streams reset by the client, or by us for its faults, at once
            (CVE-2023-44487, CVE-2025-8671; nghttp2: 1000). An answered request earns one more.
        resets_per_s: and each second (nghttp2: 33).
        control_burst: frames that move nothing, at once (nghttp2's glitches: 10000).
        control_frames_per_s: and each second (nghttp2: 330).
        min_ping_interval_s: a client that pings more often than this, while nothing else moves,
            makes a strike (gRPC's `grpc.http2.min_ping_interval_without_data_ms`: 5 min; as there,
            2 h while there is no request, unless `permit_pings_without_calls`).
        max_ping_strikes: more end the connection with `too_many_pings`; 0: any number
            (`grpc.http2.max_ping_strikes`).
        permit_pings_without_calls: see `min_ping_interval_s`
            (`grpc.keepalive_permit_without_calls`), and we ping without requests too.
        keepalive_time_s: of silence, after which we ping (`grpc.keepalive_time_ms`).
        keepalive_timeout_s: for the answer to that (`grpc.keepalive_timeout_ms`).
        max_connection_idle_s: without requests, after which the connection ends
            (`grpc.max_connection_idle_ms`).
        max_connection_age_s: after which the connection ends gracefully
            (`grpc.max_connection_age_ms`).
        max_connection_age_grace_s: what is unanswered so long after that is cut off
            (`grpc.max_connection_age_grace_ms`).
        drain_ping_timeout_s: at a graceful end, how long requests that were on their way are
            waited for when the client does not answer our ping.
        linger_s: how long a client has to read why its connection ends.
    """

    max_concurrent_streams: int = 2048
    max_header_list_bytes: int = 64 * 1024
    max_continuation_frames: int = 16
    header_table_bytes: int = 4096
    max_frame_bytes: int = 256 * 1024
    stream_window_bytes: int = 4 * 1024 * 1024
    connection_window_bytes: int = 16 * 1024 * 1024
    settings_timeout_s: float = 10.0
    preface_timeout_s: float = 10.0
    header_timeout_s: float = 50.0
    body_timeout_s: float = 50.0
    min_body_progress_bytes: int = 1024
    write_timeout_s: float = 50.0
    max_unread_output_bytes: int = 1024 * 1024
    max_remembered_resets: int = 1024
    reset_burst: int = 1000
    resets_per_s: float = 33.0
    control_burst: int = 10_000
    control_frames_per_s: float = 330.0
    min_ping_interval_s: float = 300.0
    max_ping_strikes: int = 2
    permit_pings_without_calls: bool = False
    keepalive_time_s: float = 7200.0
    keepalive_timeout_s: float = 20.0
    max_connection_idle_s: float = math.inf
    max_connection_age_s: float = math.inf
    max_connection_age_grace_s: float = math.inf
    drain_ping_timeout_s: float = 1.0
    linger_s: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and not value > 0:
                if value == 0 and field.name in _MAY_BE_ZERO:
                    continue
                raise ValueError(f"{field.name} must be positive")
        if not MIN_FRAME_BYTES <= self.max_frame_bytes <= MAX_FRAME_BYTES:
            raise ValueError("max_frame_bytes must be 2**14 to 2**24 - 1")
        for name in ("stream_window_bytes", "connection_window_bytes"):
            if not 0 < getattr(self, name) <= MAX_WINDOW:
                raise ValueError(f"{name} must be at most 2**31 - 1")
        if self.connection_window_bytes < 65_535:
            raise ValueError("connection_window_bytes must be at least 65535")
