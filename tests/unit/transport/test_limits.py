import pytest

from salver.transport.limits import HttpLimits


def test_the_timeouts_are_those_of_the_reference() -> None:
    limits = HttpLimits()
    assert (limits.read_timeout_s, limits.write_timeout_s) == (50, 50)


def test_a_gzipped_body_inflates_to_no_more_than_in_the_reference() -> None:
    assert HttpLimits().max_inflated_bytes == 104857600


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_body_bytes must be positive"):
        HttpLimits(max_body_bytes=0)
