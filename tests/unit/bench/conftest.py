import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from salver.client.address import Address, parse_address

Answer = Callable[[int], tuple[float, bytes]]
"""Number of a request, from 0 → seconds until it is answered, and the bytes of the answer."""


def answer_bytes(status: int = 200, body: bytes = b"{}", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


class ScriptedServer:
    """Answers over HTTP what it is told, when it is told; no bytes for hanging up."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: (0.0, answer_bytes())
        self.received: list[bytes] = []
        self.connections = 0

    async def start(self) -> Address:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return parse_address(f"http://{host}:{port}/prefix")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.received.append(head + await reader.readexactly(length))
                seconds, data = self.answer(len(self.received) - 1)
                await asyncio.sleep(seconds)  # what the server is for
                if not data:
                    return
                writer.write(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    """Not started: `start` gives its address."""
    server = ScriptedServer()
    yield server
    await server.stop()
