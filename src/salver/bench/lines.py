"""What carries the requests of a load: one request at a time on each line."""

from collections.abc import Callable
from typing import Protocol

__all__ = ["Done", "Line", "Lines"]

Done = Callable[[str, str, int], None]
"""Called with what failed (empty for nothing; else a status such as `404`, `UNAVAILABLE`,
`timeout` or `no connection`), the server's words, and how many bytes came back."""


class Line(Protocol):
    """Asks one thing after the other. Of one event loop."""

    def send(self, request: bytes, done: Done) -> None:
        """Ask; `done` is called later, never before this returns. Only one at a time."""
        ...


class Lines(Protocol):
    """The lines to one server."""

    async def open(self, count: int) -> list[Line]:
        """Open so many, connected where the protocol allows.

        Raises:
            Unavailable: the server does not answer.
        """
        ...

    async def close(self) -> None:
        """Drop all of them, with what is under way."""
        ...
