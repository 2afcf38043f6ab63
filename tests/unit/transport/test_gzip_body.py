import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.gzip_body import inflate
from salver.transport.heads import Refusal


@given(st.lists(st.binary(max_size=100), min_size=1))
def test_members_in_a_row_are_one_body(members: list[bytes]) -> None:
    body = b"".join(gzip.compress(member, mtime=0) for member in members)
    assert inflate(body, 10_000_000) == b"".join(members)


def test_a_body_longer_than_a_slice_is_inflated_whole() -> None:
    noise = bytes(hash((number, "x")) & 0xFF for number in range(200_000))
    assert inflate(gzip.compress(noise, mtime=0), len(noise)) == noise


WHOLE = gzip.compress(b"a" * 1000, mtime=0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no gzip",
        WHOLE[:-1],
        WHOLE[:5],
        WHOLE + b"trailing garbage",
        WHOLE[:-8] + b"\0" * 8,
        WHOLE + WHOLE[:-1],
    ],
)
def test_what_is_no_gzip_inflates_to_nothing(body: bytes) -> None:
    assert inflate(body, 10_000) == b""


def test_a_body_may_be_as_large_as_the_limit() -> None:
    assert len(inflate(WHOLE, 1000)) == 1000


@pytest.mark.parametrize("body", [WHOLE, gzip.compress(b"a" * 500, mtime=0) * 2])
def test_a_larger_body_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        inflate(body, 999)
    assert (raised.value.status, raised.value.message) == (
        413,
        "Request body is larger than 999 bytes once inflated",
    )


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000, mtime=0)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            inflate(bomb, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
