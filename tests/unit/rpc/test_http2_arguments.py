"""Channel arguments, as the native transport understands them."""

import math
from typing import Any

import pytest

from salver.rpc.http2_arguments import transport_settings
from salver.rpc.http2_route import MessageLimits
from salver.transport.http2.limits import Http2Limits


def test_none_leave_everything_as_it_is() -> None:
    settings = transport_settings(())
    assert settings.limits == Http2Limits()
    assert settings.messages == MessageLimits((1 << 31) - 1, 100 << 20, 1000, None, None)
    few = transport_settings((), max_inflated_bytes=7, max_inflate_ratio=8)
    assert few.messages == MessageLimits(max_inflated_bytes=7, max_inflate_ratio=8)
    assert settings.warning is None


@pytest.mark.parametrize(
    ("key", "value", "name", "meaning"),
    [
        ("grpc.max_concurrent_streams", 4, "max_concurrent_streams", 4),
        ("grpc.max_metadata_size", 9000, "max_header_list_bytes", 9000),
        ("grpc.max_connection_idle_ms", 1500, "max_connection_idle_s", 1.5),
        ("grpc.max_connection_age_ms", 2000, "max_connection_age_s", 2.0),
        ("grpc.max_connection_age_ms", (1 << 31) - 1, "max_connection_age_s", math.inf),
        ("grpc.max_connection_age_grace_ms", 10, "max_connection_age_grace_s", 0.01),
        ("grpc.keepalive_time_ms", 100, "keepalive_time_s", 0.1),
        ("grpc.keepalive_timeout_ms", 200, "keepalive_timeout_s", 0.2),
        ("grpc.keepalive_permit_without_calls", 1, "permit_pings_without_calls", True),
        ("grpc.http2.min_ping_interval_without_data_ms", 1000, "min_ping_interval_s", 1.0),
        ("grpc.http2.max_ping_strikes", 0, "max_ping_strikes", 0),
        ("grpc.http2.max_frame_size", 16384, "max_frame_bytes", 16384),
        ("grpc.http2.lookahead_bytes", 100_000, "stream_window_bytes", 100_000),
        ("grpc.http2.hpack_table_size.decoder", 0, "header_table_bytes", 0),
        ("grpc.server_handshake_timeout_ms", 5000, "preface_timeout_s", 5.0),
    ],
)
def test_arguments_of_connections(key: str, value: int, name: str, meaning: Any) -> None:
    settings = transport_settings([(key, value)])
    assert getattr(settings.limits, name) == meaning
    assert settings.ignored == ()


def test_a_larger_window_of_a_stream_widens_that_of_the_connection() -> None:
    limits = transport_settings([("grpc.http2.lookahead_bytes", 1 << 30)]).limits
    assert limits.connection_window_bytes == limits.stream_window_bytes == 1 << 30


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("grpc.max_receive_message_length", 1000, MessageLimits(max_receive_bytes=1000)),
        ("grpc.max_receive_message_length", -1, MessageLimits(max_receive_bytes=(1 << 32) - 1)),
        ("grpc.max_send_message_length", 10, MessageLimits(max_send_bytes=10)),
        ("grpc.max_send_message_length", -1, MessageLimits()),
        ("grpc.default_compression_algorithm", 0, MessageLimits()),
        ("grpc.default_compression_algorithm", 1, MessageLimits(encoding=b"deflate")),
        ("grpc.default_compression_algorithm", 2, MessageLimits(encoding=b"gzip")),
        ("grpc.default_compression_level", 1, MessageLimits(encoding=b"gzip")),
    ],
)
def test_arguments_of_messages(key: str, value: int, expected: MessageLimits) -> None:
    settings = transport_settings([(key, value)])
    assert settings.messages == expected
    assert settings.ignored == ()


def test_of_two_with_one_name_the_last_counts() -> None:
    key = "grpc.max_concurrent_streams"
    assert transport_settings([(key, 4), (key, 5)]).limits.max_concurrent_streams == 5


@pytest.mark.parametrize("key", ["grpc.so_reuseport", "grpc.http2.max_pings_without_data"])
def test_what_is_done_in_any_case_is_no_matter(key: str) -> None:
    assert transport_settings([(key, 0)]).ignored == ()
    assert transport_settings([(key, 1)]).ignored == (f"{key}=1",)


def test_what_is_not_understood_is_named_in_one_warning() -> None:
    settings = transport_settings(
        [
            ("grpc.optimization_target", "latency"),
            ("grpc.max_concurrent_streams", 0),
            ("grpc.keepalive_time_ms", "soon"),
            ("grpc.default_compression_algorithm", 7),
            ("grpc.max_connection_age_ms", 2000),
        ]
    )
    assert settings.limits == Http2Limits(max_connection_age_s=2.0)
    assert settings.warning == (
        "--grpc_channel_arguments: grpc.optimization_target=latency, grpc.max_concurrent_streams=0,"
        " grpc.keepalive_time_ms=soon, grpc.default_compression_algorithm=7 mean nothing to the"
        " native transport; --grpc_transport=grpcio takes all arguments of the gRPC library"
    )
