import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from salver.transport.accepting import Acceptor
from salver.transport.turns import Turns, make_board, open_board

WAIT_S = 10.0


class Greeter(asyncio.Protocol):
    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        connection = transport.get_extra_info("socket")
        self.has_no_delay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.write(self._greeting + bytes([bool(self.has_no_delay)]))
        transport.close()


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        listener.setblocking(False)
        yield listener


async def greeted(address: tuple[str, int], **more: Any) -> bytes:
    reader, writer = await asyncio.open_connection(*address, **more)
    greeting = await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()
    return greeting


async def test_connections_are_made_and_counted_and_do_not_delay(
    listener: socket.socket,
) -> None:
    address = listener.getsockname()
    acceptor = Acceptor(listener, lambda: Greeter(b"hello"))
    assert [await greeted(address) for _ in range(3)] == [b"hello\1"] * 3
    assert acceptor.accepted == 3
    acceptor.close()


async def test_each_turn_of_the_loop_takes_one_connection(listener: socket.socket) -> None:
    clients = [socket.create_connection(listener.getsockname()) for _ in range(6)]
    made: list[str] = []
    other = listener.dup()
    acceptors = [
        Acceptor(listener, _noting(made, "one")),
        Acceptor(other, _noting(made, "other")),
    ]
    for _ in range(20):  # turns; three are needed
        await asyncio.sleep(0)
    # Two loops that are awake share what waits; here they are two readers of one loop.
    assert made.count("one") == made.count("other") == 3
    for acceptor in acceptors:
        acceptor.close()
    for client in clients:
        client.close()


async def test_who_holds_more_lets_the_other_go_first_and_takes_what_is_left(
    listener: socket.socket,
) -> None:
    board_descriptor = make_board(2)
    board = open_board(board_descriptor)
    made: list[str] = []
    all_made = asyncio.Event()

    def make() -> asyncio.Protocol:
        made.append("one")
        if len(made) == 6:
            all_made.set()
        return asyncio.Protocol()

    acceptor = Acceptor(listener, make, turns=Turns(board, 0, (0, 1)), held=lambda: 5)
    Turns(board, 1, (0, 1))  # which holds none, and accepts none either
    clients = [socket.create_connection(listener.getsockname()) for _ in range(6)]
    for _ in range(20):  # turns of the loop, which take less than the other gets
        await asyncio.sleep(0)
    assert made == []

    await asyncio.wait_for(all_made.wait(), WAIT_S)
    acceptor.close()
    for client in clients:
        client.close()
    os.close(board_descriptor)


def _noting(made: list[str], name: str) -> Callable[[], asyncio.Protocol]:
    def make() -> asyncio.Protocol:
        made.append(name)
        return asyncio.Protocol()

    return make


async def test_closed_it_leaves_connections_to_the_others(listener: socket.socket) -> None:
    address = listener.getsockname()
    others = listener.dup()
    acceptor = Acceptor(listener, lambda: Greeter(b"one"))
    assert await greeted(address) == b"one\1"
    acceptor.close()
    waiting = asyncio.ensure_future(greeted(address))
    second = Acceptor(others, lambda: Greeter(b"other"))
    assert await waiting == b"other\1"
    second.close()


class Broken(socket.socket):
    """A listener without descriptors to give, once."""

    fails_with: OSError | None = None

    def accept(self) -> Any:
        if self.fails_with is not None:
            error, self.fails_with = self.fails_with, None
            raise error
        return super().accept()


@pytest.mark.parametrize("error", [BlockingIOError(), ConnectionAbortedError()])
async def test_a_connection_that_another_process_took_or_that_left_is_no_error(
    error: OSError, caplog: pytest.LogCaptureFixture
) -> None:
    with Broken() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        listener.fails_with = error
        acceptor = Acceptor(listener, lambda: Greeter(b"hello"))
        assert await greeted(listener.getsockname()) == b"hello\1"
        acceptor.close()
    assert not caplog.records


async def test_without_descriptors_it_pauses_says_so_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Broken() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        listener.fails_with = OSError(errno.EMFILE, "Too many open files")
        with caplog.at_level(logging.ERROR):
            acceptor = Acceptor(listener, lambda: Greeter(b"hello"))
            assert await greeted(listener.getsockname()) == b"hello\1"
        assert "Cannot accept connections: [Errno 24] Too many open files" in caplog.text
        acceptor.close()


async def test_closed_in_a_pause_it_stays_closed(caplog: pytest.LogCaptureFixture) -> None:
    with Broken() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        listener.fails_with = OSError(errno.EMFILE, "Too many open files")
        acceptor = Acceptor(listener, lambda: Greeter(b"hello"))
        with socket.create_connection(listener.getsockname()):
            for _ in range(20):  # turns
                await asyncio.sleep(0)
            assert caplog.records
            acceptor.close()
    assert acceptor.accepted == 0
