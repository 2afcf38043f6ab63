"""Whether a listing is what it was: of thousands of models most polls find nothing new."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from salver.remote.listing import fingerprint
from salver.remote.stores import Meta
from salver.sources.protocol import Found

__all__ = ["Unchanged"]

_MOST_PAGES: Final = 64  # that are kept until it is known; of more each poll reads all


class Unchanged:
    """Remembers the last listing of a group by its fingerprints. Used in one thread.

    Attributes:
        found: what was made of it.
    """

    def __init__(self) -> None:
        """Remember nothing."""
        self.found: list[Found] = []
        self._known: tuple[int, ...] | None = None
        self._seen: tuple[int, ...] | None = None

    def changed(self, pages: Iterator[Sequence[Meta]]) -> Iterable[Sequence[Meta]] | None:
        """The pages of a listing; None where they are those of the last one.

        Raises:
            ServingError: as `pages` does.
        """
        self._seen = None
        kept, seen = list[Sequence[Meta]](), list[int]()
        for page in pages:
            kept.append(page)
            seen.append(fingerprint(page))
            if len(kept) == _MOST_PAGES:
                return chain(kept, pages)
        self._seen = tuple(seen)
        return None if self._seen == self._known else kept

    def settle(self, found: list[Found], *, is_quiet: bool) -> None:
        """Say what was made of the listing.

        Args:
            found: see there.
            is_quiet: nothing is waited for, and nothing failed: the same listing means the same.
        """
        is_quiet &= not any(isinstance(what, Exception) for _, what in found)
        self._known = self._seen if is_quiet else None
        self.found = found if self._known is not None else []
