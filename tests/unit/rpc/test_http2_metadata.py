"""Header fields of gRPC."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.rpc.http2_metadata import is_grpc, percent_encoded, timeout_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2H", 7200.0),
        (b"3M", 180.0),
        (b"10S", 10.0),
        (b"100m", 0.1),
        (b"1500u", 0.002),
        (b"5n", 0.001),
        (b"0S", 0.0),
        (b"00000000000000000000005S", 5.0),
        (b" 5 S ", 5.0),
        (b"99999999H", None),
        (b"1000000000000000000000n", None),
    ],
)
def test_a_timeout_has_a_number_and_a_unit(value: bytes, seconds: float | None) -> None:
    assert timeout_of(value) == seconds


@pytest.mark.parametrize("value", [b"", b"1", b"S", b"10x", b"-1S", b"1.5S", b"1SS", b"1s"])
def test_anything_else_is_no_timeout(value: bytes) -> None:
    with pytest.raises(ValueError, match="no timeout"):
        timeout_of(value)


@given(st.integers(0, 99_999_999), st.sampled_from("mS"))
def test_timeouts_of_whole_milliseconds_are_exact(number: int, unit: str) -> None:
    seconds = timeout_of(f"{number}{unit}".encode())
    longest = 366 * 86400
    exact = number / 1000 if unit == "m" else float(number)
    assert seconds == (exact if exact <= longest else None)


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("", b""),
        ("plain ~ text", b"plain ~ text"),
        ("100%", b"100%25"),
        ("föö\n\x01", b"f%C3%B6%C3%B6%0A%01"),
        ("spaces within", b"spaces within"),
        ("  at its ends: ", b"%20%20at its ends:%20"),
        ("100% ", b"100%25%20"),
        ("  ", b"%20%20"),
    ],
)
def test_a_message_is_percent_encoded_and_keeps_the_spaces_at_its_ends(
    message: str, written: bytes
) -> None:
    assert percent_encoded(message) == written


@pytest.mark.parametrize(
    ("content_type", "is_it"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=x", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/json", False),
        (None, False),
    ],
)
def test_content_types(content_type: bytes | None, is_it: bool) -> None:
    assert is_grpc(content_type) is is_it
