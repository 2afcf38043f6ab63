"""The body of an answer that is sent while it is made: in chunks, or until the connection ends.

One whose length is known is sent as if it were whole.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from salver.transport.messages import StreamedResponse

__all__ = ["StreamedBody"]

_LENGTH: Final = b"Content-Length: "  # with which rendered heads end
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"


class StreamedBody:
    """One such answer, on one connection. Used on the loop only."""

    def __init__(
        self, transport: asyncio.WriteTransport, response: StreamedResponse, *, is_chunked: bool
    ) -> None:
        """Send nothing yet.

        Args:
            transport: of the connection.
            response: what is sent.
            is_chunked: False for a client that is too old for it: the connection's end is that of
                the body.
        """
        self._transport = transport
        self._response = response
        self._is_chunked = is_chunked and response.length is None
        self._has_begun = False
        self._resumed: asyncio.Future[None] | None = None

    async def send(
        self, rendered: bytes, unwritten: Callable[[], int], *, is_head: bool = False
    ) -> None:
        """Send all of it, no faster than the client reads. What makes it is closed in any case.

        Args:
            rendered: its head, as `ResponseHeads` makes it.
            unwritten: called after each part: what the client has yet to read, 0 where the next
                part may be written; else `resume` is called when it may.
            is_head: whether the head is all that is wanted.
        """
        async with aclosing(self._response.parts) as parts:
            self._transport.write(self._head(rendered))
            if is_head:
                return
            self._has_begun = True
            async for part in parts:
                if part:
                    self._write(part)
                    self._response.sent_bytes += len(part)
                if unwritten():
                    await self._wait()
            if self._is_chunked:
                self._transport.write(b"0\r\n\r\n")

    def _head(self, rendered: bytes) -> bytes:
        if self._response.length is not None:
            return b"%b%d\r\n\r\n" % (rendered, self._response.length)
        head = rendered.removesuffix(_LENGTH)
        return head + (_CHUNKED if self._is_chunked else b"\r\n")

    def probe(self) -> None:
        """Send what means nothing, if there is such: a client that is gone answers by a reset."""
        if self._has_begun and self._response.probe:
            self._write(self._response.probe)

    def resume(self) -> None:
        """The next part may be written."""
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    def _write(self, part: bytes) -> None:
        if self._is_chunked:
            part = b"%x\r\n%b\r\n" % (len(part), part)
        self._transport.write(part)

    async def _wait(self) -> None:
        self._resumed = asyncio.get_running_loop().create_future()
        try:
            await self._resumed
        finally:
            self._resumed = None
