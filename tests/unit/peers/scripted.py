"""A peer that does what a test says, on a real socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from salver.peers.map import Peer

WAIT_S = 10.0
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scripted:
    """What has come.

    Attributes:
        peer: where it listens.
        heads: of the requests.
        bodies: likewise.
        connections: that were made.
        ends: done for each connection that its other end has left, by number.
    """

    peer: Peer
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body; raises IncompleteReadError at the end of a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head, await reader.readexactly(length)


@asynccontextmanager
async def scripted(
    answer: bytes | Script = b"", *, name: str = "p", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Scripted]:
    """A peer that gives one answer to all requests, or does with each request as a script says."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        made.connections += 1
        try:
            if callable(answer):
                await answer(reader, writer)
                return
            while True:
                head, body = await read_request(reader)
                made.heads.append(head)
                made.bodies.append(body)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            made.left.set()
        except asyncio.CancelledError:
            return  # the test is over
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    made = Scripted(Peer(name, f"127.0.0.1:{port}"))
    try:
        yield made
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(check: Callable[[], object]) -> None:
    """Let the loop go on until something is so."""
    for _ in range(int(WAIT_S * 1000)):
        if check():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never was")
