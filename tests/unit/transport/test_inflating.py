import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import Cancelled, Overloaded
from salver.transport.in_flight import Holding, MemoryInFlight
from salver.transport.inflating import RATIO_FROM_BYTES, Broken, InflateLimits, Inflating, TooLarge

EVER = 1 << 40
LIMITS = InflateLimits(10_000_000)
WHOLE = gzip.compress(b"a" * 1000, mtime=0)


def inflated(
    data: bytes, limits: InflateLimits = LIMITS, *, step: int = EVER, encoding: bytes = b"gzip"
) -> bytes:
    inflating = Inflating(data, encoding, limits)
    asked = step
    while (whole := inflating.whole(asked)) is None:
        asked += step
    return whole


@given(st.lists(st.binary(max_size=100), min_size=1), st.integers(1, 50))
def test_members_in_a_row_are_one_body(members: list[bytes], step: int) -> None:
    body = b"".join(gzip.compress(member, mtime=0) for member in members)
    assert inflated(body, step=step) == b"".join(members)


@pytest.mark.parametrize("step", [1000, 65_536, 99_999, EVER])
def test_a_body_longer_than_a_slice_is_inflated_whole(step: int) -> None:
    noise = bytes(hash((number, "x")) & 0xFF for number in range(200_000))
    assert inflated(gzip.compress(noise, mtime=0), step=step) == noise
    assert inflated(zlib.compress(noise), step=step, encoding=b"deflate") == noise


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "data error"),
        (b"no gzip", "zlib error"),
        (WHOLE[:-1], "data error"),
        (WHOLE[:5], "data error"),
        (WHOLE + b"trailing garbage", "zlib error"),
        (WHOLE[:-8] + b"\0" * 8, "zlib error"),
        (WHOLE + WHOLE[:-1], "data error"),
    ],
)
def test_what_is_no_gzip_is_broken(body: bytes, why: str) -> None:
    with pytest.raises(Broken, match=why):
        inflated(body)


def test_a_single_member_has_nothing_behind_it() -> None:
    for rest in (WHOLE, b"more"):
        inflating = Inflating(WHOLE + rest, b"gzip", LIMITS, has_one_member=True)
        with pytest.raises(Broken, match="not all input consumed"):
            inflating.whole(EVER)
    assert Inflating(WHOLE, b"gzip", LIMITS, has_one_member=True).whole(EVER) == b"a" * 1000


def test_one_that_ends_where_the_limit_does_without_its_end_is_broken() -> None:
    inflating = Inflating(WHOLE[:-8], b"gzip", InflateLimits(1000))
    assert inflating.whole(1000) is None
    with pytest.raises(Broken):
        inflating.whole(1001)


def test_a_body_may_be_as_large_as_the_limit() -> None:
    assert len(inflated(WHOLE, InflateLimits(1000))) == 1000


@pytest.mark.parametrize("body", [WHOLE, gzip.compress(b"a" * 500, mtime=0) * 2])
@pytest.mark.parametrize("step", [100, EVER])
def test_a_larger_body_is_refused(body: bytes, step: int) -> None:
    with pytest.raises(TooLarge) as raised:
        inflated(body, InflateLimits(999), step=step)
    assert not raised.value.is_by_ratio
    assert raised.value.limits.most_bytes == 999


def test_a_body_may_become_only_so_many_times_its_size() -> None:
    body = gzip.compress(bytes(3 << 20), mtime=0)
    ratio = (3 << 20) // len(body)
    assert len(inflated(body, InflateLimits(10 << 20, ratio + 1))) == 3 << 20
    with pytest.raises(TooLarge) as raised:
        inflated(body, InflateLimits(10 << 20, ratio - 1))
    assert raised.value.is_by_ratio


def test_what_stays_small_may_have_any_ratio() -> None:
    body = gzip.compress(bytes(RATIO_FROM_BYTES), mtime=0)
    assert len(inflated(body, InflateLimits(10 << 20, 1))) == RATIO_FROM_BYTES


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000, mtime=0)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflated(bomb, InflateLimits(1_000_000))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_many_empty_members_cost_no_memory() -> None:
    body = gzip.compress(b"", mtime=0) * 20_000 + gzip.compress(b"x", mtime=0) * 20_000
    tracemalloc.start()
    try:
        assert inflated(body) == b"x" * 20_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_it_ends_where_there_is_no_room_or_nobody_waits() -> None:
    memory = MemoryInFlight(2_500_000)
    holding = Holding(memory)
    body = gzip.compress(bytes(9_000_000))
    with pytest.raises(Overloaded):
        Inflating(body, b"gzip", LIMITS, on_growth=holding.grow).whole(EVER)
    assert 1_000_000 < memory.held_bytes <= 2_500_000
    holding.release()
    assert memory.held_bytes == 0
    with pytest.raises(Cancelled):
        Inflating(body, b"gzip", LIMITS, on_growth=holding.grow).whole(EVER)
    assert memory.held_bytes == 0
