"""Limits of principals, over one process and over several that share a table."""

import asyncio
import itertools
import math
from collections.abc import Callable

import pytest

from salver.access.limit_table import LimitTable
from salver.access.limits import Limits, refused_later
from salver.errors import LimitExceeded
from salver.instruments.machine import make_shared_memory
from salver.vocabulary.access import Principal, Role


class _Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _principal(name: str = "alice", kind: str = "api_key", **limits: float) -> Principal:
    return Principal(name, kind, Role("scorer", **limits))  # type: ignore[arg-type]


def _admitted(enter: Callable[[], object], times: int) -> int:
    admitted = 0
    for _ in range(times):
        try:
            enter()
        except LimitExceeded:
            continue
        admitted += 1
    return admitted


def test_a_principal_without_limits_has_nothing_to_release() -> None:
    assert Limits().enter(_principal()) is None


def test_admits_a_burst_and_then_the_rate(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    alice = _principal(requests_per_second=10, burst=5)
    assert _admitted(lambda: limits.enter(alice), 20) == 5
    clock.now_s += 0.3
    assert _admitted(lambda: limits.enter(alice), 20) == 3
    clock.now_s += 100
    assert _admitted(lambda: limits.enter(alice), 20) == 5


def test_a_burst_of_one_admits_one_request_each_interval(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    alice = _principal(requests_per_second=4, burst=1)
    for _ in range(100):
        assert _admitted(lambda: limits.enter(alice), 3) == 1
        clock.now_s += 0.25


def test_says_when_the_next_request_would_be_let_in(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    alice = _principal(requests_per_second=0.1, burst=1)
    limits.enter(alice)
    with pytest.raises(LimitExceeded) as refused:
        limits.enter(alice)
    assert refused.value.retry_after_s == 10
    clock.now_s += refused.value.retry_after_s
    limits.enter(alice)


def test_a_role_with_no_requests_per_second_gets_one_burst_alone(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    alice = _principal(requests_per_second=0, burst=2)
    assert _admitted(lambda: limits.enter(alice), 5) == 2
    clock.now_s += 1e6
    assert _admitted(lambda: limits.enter(alice), 5) == 0


def test_a_request_under_way_counts_until_it_is_released(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    alice = _principal(max_concurrent_requests=2)
    first, second = limits.enter(alice), limits.enter(alice)
    assert first is not None
    assert second is not None
    with pytest.raises(LimitExceeded) as refused:
        limits.enter(alice)
    assert refused.value.retry_after_s == 1
    first()
    assert limits.enter(alice) is not None


def test_a_request_refused_for_those_under_way_takes_no_token(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    alice = _principal(requests_per_second=1, burst=2, max_concurrent_requests=1)
    release = limits.enter(alice)
    assert release is not None
    assert _admitted(lambda: limits.enter(alice), 10) == 0
    release()
    limits.enter(alice)


def test_principals_have_limits_of_their_own_also_with_one_name(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    for each in (_principal("a"), _principal("b"), _principal("a", "jwt")):
        limited = Principal(each.name, each.kind, Role("r", requests_per_second=1))
        assert _admitted(lambda limited=limited: limits.enter(limited), 3) == 1  # type: ignore[misc]


def test_counts_the_refused_by_their_reason(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    _admitted(lambda: limits.enter(_principal("a", requests_per_second=1)), 3)
    _admitted(lambda: limits.enter(_principal("b", max_concurrent_requests=1)), 5)
    assert limits.rejected == {"rate": 2, "concurrency": 4}


def test_another_role_of_the_same_principal_is_obeyed_at_once(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    assert _admitted(lambda: limits.enter(_principal(requests_per_second=1, burst=1)), 3) == 1
    release = limits.enter(_principal(max_concurrent_requests=3))
    assert release is not None
    assert limits.enter(_principal()) is None


def test_an_endless_rate_alone_is_no_limit() -> None:
    assert Limits().enter(_principal(requests_per_second=math.inf, burst=1)) is None


def _refusal(limits: Limits, principal: Principal) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as refused:
        limits.enter(principal)
    return refused.value


def test_who_asks_again_and_again_though_refused_is_told_later(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    greedy = _principal(requests_per_second=0.001)
    limits.enter(greedy)
    delays = [_refusal(limits, greedy).delay_s for _ in range(1200)]
    assert not any(delays[:20])
    assert all(0.05 <= delay <= 0.15 for delay in delays[20:1020])
    assert not any(delays[1020:])  # no more than so many wait at a time
    times = sorted(delays[20:36])  # of sixteen that were refused in one moment
    assert min(later - sooner for sooner, later in itertools.pairwise(times)) > 1e-3
    other = _principal("bob", requests_per_second=0.001)
    limits.enter(other)
    assert _refusal(limits, other).delay_s == 0
    clock.now_s += 1.1
    assert _refusal(limits, greedy).delay_s == 0


@pytest.mark.parametrize(("timeout_s", "delay_s"), [(None, 0.02), (0.001, 0.0005), (-1.0, 0.0)])
async def test_a_refusal_that_is_kept_back_comes_before_the_client_has_left(
    timeout_s: float | None, delay_s: float
) -> None:
    error = LimitExceeded("no")
    error.delay_s = 0.02
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    with pytest.raises(LimitExceeded) as raised:
        await refused_later(error, timeout_s)
    assert raised.value is error
    assert loop.time() - begun_s >= delay_s * 0.9


# -- several processes -----------------------------------------------------------------------------


@pytest.fixture
def shared(clock: _Clock) -> Callable[[int], Limits]:
    import os

    descriptor = make_shared_memory("test-limits")
    os.truncate(descriptor, LimitTable.size_of(4))
    return lambda column: Limits(LimitTable(descriptor, num_columns=4, column=column), clock=clock)


def test_limits_are_of_all_processes_together(
    clock: _Clock, shared: Callable[[int], Limits]
) -> None:
    all_limits = [shared(column) for column in range(4)]
    alice = _principal(requests_per_second=10, burst=8, max_concurrent_requests=6)
    entered = sum(_admitted(lambda one=one: one.enter(alice), 5) for one in all_limits)  # type: ignore[misc]
    assert entered == 6


def test_requests_of_a_process_that_died_are_forgotten(
    clock: _Clock, shared: Callable[[int], Limits]
) -> None:
    alice = _principal(max_concurrent_requests=3)
    dies, goes_on = shared(1), shared(0)
    assert _admitted(lambda: dies.enter(alice), 9) == 3
    assert _admitted(lambda: goes_on.enter(alice), 9) == 0
    assert goes_on._table is not None
    goes_on._table.clear(1)
    assert _admitted(lambda: goes_on.enter(alice), 9) == 3


def test_tells_whether_the_next_request_would_be_refused_and_counts_nothing(clock: _Clock) -> None:
    limits = Limits(clock=clock)
    alice, bob = _principal(requests_per_second=10), _principal("bob", max_concurrent_requests=1)
    for principal in (alice, bob):
        assert not limits.is_spent(principal)
        assert not limits.is_spent(principal)
        release = limits.enter(principal)
        assert limits.is_spent(principal)
        clock.now_s += 0.2
        assert limits.is_spent(principal) is (release is not None)
        if release is not None:
            release()
        assert not limits.is_spent(principal)
    assert not limits.is_spent(_principal("eve"))
    assert limits.rejected == {}
