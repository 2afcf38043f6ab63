import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from salver.errors import Overloaded, ResourceExhausted
from salver.lifecycle.callers import Caller
from salver.operations.admin.calls import AdminCalls
from salver.protocols.administration import Act, Administered, AdminRequest, ReadConfig
from salver.vocabulary.access import Actor

WAIT_S = 10.0


class Server:
    """Takes its time, until a gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.running = 0
        self.most = 0
        self.callers: list[Caller] = []
        self._lock = threading.Condition()
        self._pool = ThreadPoolExecutor(64)

    def administer(self, _request: AdminRequest, caller: Caller) -> Administered:
        with self._lock:
            self.callers.append(caller)
            self.running += 1
            self.most = max(self.most, self.running)
            self._lock.notify_all()
        assert self.gate.wait(WAIT_S)
        with self._lock:
            self.running -= 1
        return Administered.of({})

    def wait_for(self, count: int) -> None:
        with self._lock:
            assert self._lock.wait_for(lambda: self.running >= count, WAIT_S)

    def in_control(self, call: Callable[[], Administered]) -> Awaitable[Administered]:
        return asyncio.wrap_future(self._pool.submit(call))


async def begun(server: Server, count: int) -> None:
    await asyncio.to_thread(server.wait_for, count)


def ask(calls: AdminCalls) -> "asyncio.Future[Administered]":
    return asyncio.ensure_future(calls(ReadConfig, Actor(), lambda answer: answer))


def load(calls: AdminCalls) -> "asyncio.Future[Administered]":
    return asyncio.ensure_future(
        calls.wait_for_model(Act("load", "m"), Actor(), lambda answer: answer)
    )


async def test_a_few_are_done_at_once_and_the_others_in_turn() -> None:
    server = Server()
    calls = AdminCalls(server.administer, server.in_control)
    asked = [ask(calls) for _ in range(100)]
    await begun(server, 4)
    server.gate.set()
    await asyncio.gather(*asked)
    assert (server.most, len(server.callers)) == (4, 100)


async def test_more_than_can_wait_are_refused() -> None:
    server = Server()
    calls = AdminCalls(server.administer, server.in_control)
    asked = [ask(calls) for _ in range(1004)]
    await begun(server, 4)
    with pytest.raises(Overloaded):
        await ask(calls)
    server.gate.set()
    await asyncio.gather(*asked)


async def test_who_leaves_before_his_turn_has_requested_nothing() -> None:
    server = Server()
    calls = AdminCalls(server.administer, server.in_control)
    asked = [ask(calls) for _ in range(5)]
    await begun(server, 4)
    asked[-1].cancel()
    asked[0].cancel()  # whose turn it is: what has begun goes on
    server.gate.set()
    await asyncio.gather(*asked, return_exceptions=True)
    assert len(server.callers) == 4
    assert [caller.has_left for caller in server.callers] == [True, False, False, False]
    assert (await ask(calls)).document == {}


async def test_those_who_wait_for_models_are_few_and_keep_nobody_else_waiting() -> None:
    server = Server()
    calls = AdminCalls(server.administer, server.in_control)
    loads = [load(calls) for _ in range(16)]
    await begun(server, 16)
    with pytest.raises(ResourceExhausted):
        await load(calls)
    reading = ask(calls)
    await begun(server, 17)
    loads[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await loads[0]
    assert server.callers[0].has_left
    server.gate.set()
    await asyncio.gather(*loads[1:], reading)
    await load(calls)


async def test_where_there_is_no_thread_no_turn_is_lost() -> None:
    server = Server()

    def no_thread(_call: object) -> Awaitable[Administered]:
        raise RuntimeError("can't start new thread")

    calls = AdminCalls(server.administer, no_thread)
    for _ in range(20):
        for act in (ask, load):
            with pytest.raises(RuntimeError):
                await act(calls)
