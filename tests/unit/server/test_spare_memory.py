import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from salver.instruments.machine import resident_bytes
from salver.server.spare_memory import SpareMemory

MIB = 1 << 20
EVERY_S = 0.001


class Process:
    """One whose memory a test sets."""

    def __init__(self) -> None:
        self.resident = 400 * MIB
        self.in_flight = 0
        self.looks = 0
        self.looked = asyncio.Event()
        self.has_given = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.given_back: list[int] = []

    def resident_bytes(self) -> int:
        self.looks += 1
        self.looked.set()
        return self.resident

    def in_flight_bytes(self) -> int:
        return self.in_flight

    def give_back(self) -> None:
        self.given_back.append(self.resident)
        self.resident -= 50 * MIB
        self.loop.call_soon_threadsafe(self.has_given.set)

    async def gives(self) -> None:
        await asyncio.wait_for(self.has_given.wait(), 60)

    async def looks_taken(self, count: int = 3) -> None:
        until = self.looks + count
        while self.looks < until:
            await asyncio.wait_for(self.looked.wait(), 60)
            self.looked.clear()


@pytest.fixture
async def process() -> Process:
    return Process()


@pytest.fixture
async def spare(process: Process) -> SpareMemory:
    made = SpareMemory(
        asyncio.get_running_loop(),
        process.in_flight_bytes,
        resident_bytes=process.resident_bytes,
        give_back=process.give_back,
    )
    made.start(EVERY_S)
    return made


async def test_a_process_that_has_grown_gives_back_once(
    process: Process, spare: SpareMemory
) -> None:
    process.resident = 600 * MIB
    await process.gives()
    await process.looks_taken(10)
    assert process.given_back == [600 * MIB]
    spare.stop()


async def test_little_growth_is_left_alone(process: Process, spare: SpareMemory) -> None:
    process.resident = 500 * MIB
    await process.looks_taken()
    assert process.given_back == []
    spare.stop()


async def test_nothing_is_given_back_while_requests_would_take_it_again(
    process: Process, spare: SpareMemory
) -> None:
    process.in_flight = 100 * MIB
    process.resident = 600 * MIB
    await process.looks_taken()
    assert process.given_back == []
    process.in_flight = 0
    await process.gives()
    assert process.given_back == [600 * MIB]
    spare.stop()


async def test_growth_counts_from_the_least_it_has_held(
    process: Process, spare: SpareMemory
) -> None:
    process.resident = 200 * MIB  # a model went
    await process.looks_taken()
    process.resident = 350 * MIB
    await process.gives()
    assert process.given_back == [350 * MIB]
    spare.stop()


class NoThread(ThreadPoolExecutor):
    """Has no memory for a thread the first time."""

    has_failed = False

    def submit(self, /, *args: Any, **more: Any) -> Any:
        if not self.has_failed:
            self.has_failed = True
            raise RuntimeError("can't start new thread")
        return super().submit(*args, **more)


async def test_where_no_thread_can_be_had_it_is_tried_again(
    process: Process, spare: SpareMemory
) -> None:
    asyncio.get_running_loop().set_default_executor(NoThread(1))
    process.resident = 600 * MIB
    await process.gives()
    assert process.given_back == [600 * MIB]
    spare.stop()


async def test_nobody_looks_after_the_end(process: Process, spare: SpareMemory) -> None:
    spare.stop()
    looks = process.looks
    await asyncio.sleep(10 * EVERY_S)
    assert process.looks == looks


def test_a_process_knows_what_it_holds() -> None:
    before = resident_bytes()
    held = bytearray(64 * MIB)
    held[::4096] = b"x" * len(held[::4096])
    assert resident_bytes() - before > 32 * MIB
