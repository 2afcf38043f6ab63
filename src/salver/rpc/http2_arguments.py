"""What `--grpc_channel_arguments` mean to a transport that is not the library they are named for.

Source of the names, and of what their values mean: grpc, `include/grpc/impl/channel_arg_names.h`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from salver.config.grpc import ChannelArgument
from salver.rpc.http2_route import MessageLimits
from salver.transport.http2.limits import Http2Limits

__all__ = ["TransportSettings", "transport_settings"]

_FOR_EVER: Final = (1 << 31) - 1  # of times
_ANY_SIZE: Final = (1 << 32) - 1  # what four bytes can tell
_ENCODING_OF_ALGORITHM: Final = {0: None, 1: b"deflate", 2: b"gzip"}
_ENCODING_OF_LEVEL: Final = {0: None, 1: b"gzip", 2: b"deflate", 3: b"deflate"}


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How our transport serves.

    Attributes:
        limits: of connections.
        messages: of messages.
        ignored: `key=value` of what it does not have, or not with that value.
    """

    limits: Http2Limits
    messages: MessageLimits
    ignored: tuple[str, ...]

    @property
    def warning(self) -> str | None:
        """What to tell of `ignored`; None where there is nothing."""
        if not self.ignored:
            return None
        return (
            f"--grpc_channel_arguments: {', '.join(self.ignored)} mean nothing to the native "
            "transport; --grpc_transport=grpcio takes all arguments of the gRPC library"
        )


def transport_settings(
    arguments: Sequence[ChannelArgument],
    *,
    max_inflated_bytes: int | None = None,
    max_inflate_ratio: int | None = None,
) -> TransportSettings:
    """Read arguments; of two with one name the last counts.

    Args:
        arguments: see there.
        max_inflated_bytes: see `MessageLimits`, which has a default.
        max_inflate_ratio: the same.
    """
    limits: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    if max_inflated_bytes is not None:
        messages["max_inflated_bytes"] = max_inflated_bytes
    if max_inflate_ratio is not None:
        messages["max_inflate_ratio"] = max_inflate_ratio
    ignored = []
    for key, value in dict(arguments).items():
        is_read = _read(_OF_LIMITS, key, value, limits) or _read(_OF_MESSAGES, key, value, messages)
        if not is_read and (key, value) not in _AS_IT_IS:
            ignored.append(f"{key}={value}")
    if "stream_window_bytes" in limits:
        floor = Http2Limits().connection_window_bytes
        limits["connection_window_bytes"] = max(floor, limits["stream_window_bytes"])
    return TransportSettings(Http2Limits(**limits), MessageLimits(**messages), tuple(ignored))


Value = int | str
Reader = tuple[str, Callable[[Any], Any]]


def _read(readers: Mapping[str, Reader], key: str, value: Value, settings: dict[str, Any]) -> bool:
    """Add to `settings` what an argument says; whether there is such an argument and value."""
    if key not in readers:
        return False
    name, read = readers[key]
    try:
        settings[name] = read(value)
    except (ValueError, KeyError):
        return False
    return True


def _whole(least: int, most: int = _FOR_EVER) -> Callable[[Value], int]:
    def read(value: Value) -> int:
        if not isinstance(value, int) or not least <= value <= most:
            raise ValueError(value)
        return value

    return read


def _seconds(value: Value) -> float:
    millis = _whole(1)(value)
    return math.inf if millis == _FOR_EVER else millis / 1000


def _received(value: Value) -> int:
    return _ANY_SIZE if value == -1 else _whole(0)(value)


def _sent(value: Value) -> int | None:
    return None if value == -1 else _whole(0)(value)


_OF_LIMITS: Final[dict[str, Reader]] = {
    "grpc.max_concurrent_streams": ("max_concurrent_streams", _whole(1)),
    "grpc.max_metadata_size": ("max_header_list_bytes", _whole(1)),
    "grpc.max_connection_idle_ms": ("max_connection_idle_s", _seconds),
    "grpc.max_connection_age_ms": ("max_connection_age_s", _seconds),
    "grpc.max_connection_age_grace_ms": ("max_connection_age_grace_s", _seconds),
    "grpc.keepalive_time_ms": ("keepalive_time_s", _seconds),
    "grpc.keepalive_timeout_ms": ("keepalive_timeout_s", _seconds),
    "grpc.keepalive_permit_without_calls": (
        "permit_pings_without_calls",
        lambda value: bool(_whole(0, 1)(value)),
    ),
    "grpc.http2.min_ping_interval_without_data_ms": ("min_ping_interval_s", _seconds),
    "grpc.http2.max_ping_strikes": ("max_ping_strikes", _whole(0)),
    "grpc.http2.max_frame_size": ("max_frame_bytes", _whole(1 << 14, (1 << 24) - 1)),
    "grpc.http2.lookahead_bytes": ("stream_window_bytes", _whole(1)),
    "grpc.http2.hpack_table_size.decoder": ("header_table_bytes", _whole(0)),
    "grpc.server_handshake_timeout_ms": ("preface_timeout_s", _seconds),
}
_OF_MESSAGES: Final[dict[str, Reader]] = {
    "grpc.max_receive_message_length": ("max_receive_bytes", _received),
    "grpc.max_send_message_length": ("max_send_bytes", _sent),
    "grpc.default_compression_algorithm": ("encoding", _ENCODING_OF_ALGORITHM.__getitem__),
    "grpc.default_compression_level": ("encoding", _ENCODING_OF_LEVEL.__getitem__),
}
_AS_IT_IS: Final = frozenset(
    {
        ("grpc.so_reuseport", 0),  # two servers on one port would share its clients without a word
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.hpack_table_size.encoder", 0),
    }
)
"""What the transport does in any case."""
