"""What the flags say to the sources that come with Salver, and whom those report to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from salver.sources.protocol import Version

__all__ = ["STALE_WAIT_S", "SourceSettings"]

STALE_WAIT_S: Final = 2.0
"""How long a store may say nothing before what the cache has is served, unless a flag says."""

_LEAST_QUIET_S: Final = 3.0


def _count_nothing(_scheme: str, _operation: str, _code: str) -> None:
    pass


def _keeps_nothing(_number: int, _version: Version) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """The same for all of them.

    Attributes:
        poll_wait_s: see `Source`.
        settle_s: how long the listing of a version without a manifest has to stay the same.
        stale_wait_s: how long a store may say nothing before what the cache has is served.
        timeout_s: how long an answer may take, but for the body of a large one.
        bytes_per_second: the most that all fetches together take; 0 for any.
        config_file: says how stores are reached; empty for none.
        allowed_base_paths: below which requests may name base paths.
        count: told of each request: scheme, operation, and `ok` or what went wrong.
        is_behind: whether fetches run behind requests: that of a command has nobody to let pass.
        is_kept: whether the files of a version are here already, and so were complete once.
    """

    poll_wait_s: float = 60.0
    settle_s: float = 10.0
    stale_wait_s: float = STALE_WAIT_S
    timeout_s: float = 60.0
    bytes_per_second: int = 0
    config_file: str = ""
    allowed_base_paths: tuple[str, ...] = ()
    is_behind: bool = False
    count: Callable[[str, str, str], None] = _count_nothing
    is_kept: Callable[[int, Version], bool] = _keeps_nothing

    @property
    def quiet_s(self) -> float:
        """After which others are not kept waiting by a poll: longer than until it is noticed."""
        return max(_LEAST_QUIET_S, self.stale_wait_s + 1.0)

    @property
    def connect_timeout_s(self) -> float:
        """How long a connection may take."""
        return self.timeout_s / 12

    @property
    def byte_timeout_s(self) -> float:
        """How long a store may send no byte."""
        return self.timeout_s / 2
