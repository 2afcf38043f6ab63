"""Answers of peers that are handed on while they come."""

from collections.abc import AsyncGenerator, Callable

__all__ = ["Held"]


class Held:
    """The parts of an answer, for which a peer is asked until their end; closed in any case."""

    def __init__(self, parts: "AsyncGenerator[bytes, None]", release: Callable[[], None]) -> None:
        """Take the parts, and what is called when they are closed."""
        self._parts = parts
        self._release = release

    def __aiter__(self) -> "Held":
        return self

    async def __anext__(self) -> bytes:
        return await self._parts.__anext__()

    async def aclose(self) -> None:
        """End it, wherever it is."""
        self._release()
        await self._parts.aclose()
