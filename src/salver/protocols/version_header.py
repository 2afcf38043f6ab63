"""The response header that says which version answered (ours)."""

from functools import lru_cache
from typing import Final

__all__ = ["VERSION_HEADER", "version_headers"]

VERSION_HEADER: Final = "salver-model-version"


@lru_cache(maxsize=1024)
def version_headers(version: int) -> tuple[tuple[str, str], ...]:
    """The header fields that say which version answered."""
    return ((VERSION_HEADER, str(version)),)
