"""A body that is made while it is sent, in steps that a test sees."""

from collections.abc import AsyncGenerator, Iterable

from salver.transport.messages import HttpRequest, HttpResponse, StreamedResponse

__all__ = ["Parts"]


class Parts:
    """Makes parts; a handler whose answer they are.

    Attributes:
        made: how many.
        is_closed: whether nobody wants more.
    """

    def __init__(self, parts: Iterable[bytes | Exception], *, probe: bytes = b"") -> None:
        self._parts = parts
        self._probe = probe
        self.made = 0
        self.is_closed = False

    async def answer(self, _request: HttpRequest) -> HttpResponse:
        return StreamedResponse(
            200, self._made(), "text/x", (("A", "b"),), probe=self._probe
        ).with_headers((("C", "d"),))

    async def _made(self) -> "AsyncGenerator[bytes, None]":
        try:
            for part in self._parts:
                self.made += 1
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.is_closed = True
