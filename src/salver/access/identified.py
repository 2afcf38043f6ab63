"""Whom credentials were found to be from, kept for the requests that follow. On the loop alone."""

from typing import Final

from salver.vocabulary.access import Principal

__all__ = ["Identified"]

_MOST_BYTES: Final = 8 << 20  # a thousand tokens of the greatest size, and more of the usual ones
_OVERHEAD_BYTES: Final = 256


class Identified:
    """Header values that were right → whose they are, and until when. Wrong ones are not kept.

    When it is full, what came first goes.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        """Start empty."""
        self._entries: dict[bytes, tuple[Principal, float]] = {}
        self._left = most_bytes
        self.get: Final = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, shown: bytes, principal: Principal, until_s: float) -> None:
        """Keep one.

        Args:
            shown: as it was sent.
            principal: whose it is.
            until_s: when it is no more taken, in seconds since the epoch; may be infinite.
        """
        self.drop(shown)
        self._entries[shown] = (principal, until_s)
        self._left -= len(shown) + _OVERHEAD_BYTES
        while self._left < 0:
            self.drop(next(iter(self._entries)))

    def drop(self, shown: bytes) -> None:
        """Forget one, if it is here."""
        if self._entries.pop(shown, None) is not None:
            self._left += len(shown) + _OVERHEAD_BYTES
