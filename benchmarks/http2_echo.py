"""The ceiling of our gRPC: our own HTTP/2 engine, which looks at nothing and answers at once.

It takes any request to its end and answers as many bytes as it is told, as gRPC frames them: no
method, no message, no model. What gRPC adds to the engine is measured against this.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone

import uvloop
from load import framed

from salver.transport.http2.connection import Http2Connection
from salver.transport.http2.header_blocks import encode_block
from salver.transport.http2.stream import Stream
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpRequest, HttpResponse
from salver.transport.service import Service

SWEEP_S = 1.0


class Echo:
    """An `Http2Service`."""

    def __init__(self, answer_bytes: int) -> None:
        self._head = encode_block([(b":status", b"200"), (b"content-type", b"application/grpc")])
        self._data = framed(bytes(answer_bytes))
        self._trailers = encode_block([(b"grpc-status", b"0")])

    def opened(self, stream: Stream, is_last: bool) -> None:
        stream.answerer = _Call(self, stream)
        if is_last:
            self.answer(stream)

    def answer(self, stream: Stream) -> None:
        stream.respond(self._head, self._data, self._trailers)


class _Call:
    def __init__(self, echo: Echo, stream: Stream) -> None:
        self._echo = echo
        self._stream = stream

    def received(self, data: bytes | memoryview, is_last: bool) -> None:
        if is_last:
            self._echo.answer(self._stream)

    def left(self) -> None:
        pass


def service() -> Service:
    """What connections need of a server; nothing here speaks HTTP/1.1."""

    def refuse(request: HttpRequest) -> HttpResponse:
        return HttpResponse(404)

    def page(status: int, message: str, hint: str | None) -> HttpResponse:
        return HttpResponse(status, message.encode())

    def in_pool(work: Callable[[], bytes]) -> Awaitable[bytes]:
        return asyncio.get_running_loop().run_in_executor(None, work)

    return Service(
        refuse,
        error_page=page,
        limits=HttpLimits(),
        access=None,
        clock=lambda: datetime.now(timezone.utc).timestamp(),
        run_in_pool=in_pool,
    )


async def serve(port: int, answer_bytes: int) -> None:
    shared, echo = service(), Echo(answer_bytes)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Http2Connection(shared, echo), "127.0.0.1", port)
    while True:
        await asyncio.sleep(SWEEP_S)
        shared.refresh()
        now = time.monotonic()
        for connection in list(shared.connections):
            connection.sweep(now)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--answer-bytes", type=int, required=True)
    chosen = arguments.parse_args()
    uvloop.run(serve(chosen.port, chosen.answer_bytes))


if __name__ == "__main__":
    main()
