import math

import pytest

from salver.transport.http2.limits import Http2Limits


def test_the_defaults_are_valid() -> None:
    assert Http2Limits().max_concurrent_streams > 0
    assert Http2Limits().max_connection_age_s == math.inf


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrent_streams", 0),
        ("reset_burst", -1),
        ("write_timeout_s", 0.0),
        ("keepalive_time_s", math.nan),
        ("header_table_bytes", -1),
        ("max_frame_bytes", 100),
        ("max_frame_bytes", 2**24),
        ("stream_window_bytes", 2**31),
        ("connection_window_bytes", 2**31),
        ("connection_window_bytes", 1000),
    ],
)
def test_refuses_what_cannot_be(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Http2Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["header_table_bytes", "max_ping_strikes"])
def test_some_may_be_nothing(name: str) -> None:
    assert getattr(Http2Limits(**{name: 0}), name) == 0  # type: ignore[arg-type]
