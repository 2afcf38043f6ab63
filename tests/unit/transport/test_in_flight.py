from concurrent.futures import ThreadPoolExecutor

import pytest

from salver.errors import Cancelled, Code, Overloaded
from salver.transport import in_flight
from salver.transport.in_flight import Holding, MemoryInFlight, default_bytes_in_flight


def test_requests_hold_up_to_the_limit_together() -> None:
    memory = MemoryInFlight(100)
    one, two = Holding(memory), Holding(memory)
    one.grow(60)
    two.grow(40)
    assert memory.held_bytes == 100
    with pytest.raises(Overloaded) as raised:
        two.grow(1)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert raised.value.message == "Requests in flight would hold 101 bytes, more than 100"
    assert "--max_memory_in_flight_bytes" in str(raised.value.hint)
    assert (memory.held_bytes, memory.rejected) == (100, 1)
    one.release()
    two.grow_to(90)
    assert (two.size, memory.held_bytes) == (90, 90)
    two.grow_to(10)
    assert two.size == 90


def test_without_a_limit_everything_is_counted_and_nothing_refused() -> None:
    memory = MemoryInFlight(None)
    Holding(memory).grow(1 << 60)
    assert memory.held_bytes == 1 << 60


def test_an_answer_is_counted_whatever_the_limit() -> None:
    memory = MemoryInFlight(10)
    answer = Holding(memory)
    answer.add(50)
    with pytest.raises(Overloaded):
        Holding(memory).grow(1)
    answer.release()
    answer.release()
    Holding(memory).grow(10)
    assert memory.held_bytes == 10


def test_what_has_ended_holds_nothing_more() -> None:
    memory = MemoryInFlight(10)
    holding = Holding(memory)
    holding.release()
    with pytest.raises(Cancelled):
        holding.grow(1)
    holding.add(1)
    assert memory.held_bytes == 0


def test_threads_lose_no_count() -> None:
    memory = MemoryInFlight(None)

    def work(_number: int) -> None:
        for _ in range(200):
            holding = Holding(memory)
            holding.grow(3)
            holding.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert memory.held_bytes == 0


def test_half_of_the_memory_is_the_limit_where_nobody_says_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_flight, "memory_bytes", lambda: 2001)
    assert default_bytes_in_flight() == 1000
