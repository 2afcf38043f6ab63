"""How much each principal may ask: requests per second, requests at once, requests under way.

A principal has a bucket of `burst` tokens, to which its rate adds. A request takes one; where there
is none it is refused, and is told when there will be one again. The limits are the server's: see
`limit_table` for how its processes share them.

To refuse costs as much as a small model does, so a client that asks again at once, whatever it is
told, would take from others what its limits keep from it. After twenty refusals within a second it
is told a little later, as many requests as may wait so, and each after another while: they would
all come back together.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import Final, NoReturn

from salver.access.limit_table import CELL_BYTES, LOOK_AGAIN_S, LimitTable, Row
from salver.errors import LimitExceeded
from salver.vocabulary.access import Principal, Role

__all__ = ["Limits", "refused_later"]

_MOST_REMEMBERED: Final = 10_000
_PART_S: Final = 1e-3  # after which two that took one row in the same moment part
_LONGEST_WAIT_S: Final = 3600
_WINDOW_S: Final = 1.0
_REFUSED_AT_ONCE: Final = 20  # in a window, of one principal, by one process
_REFUSED_LATER: Final = 1000  # beyond that; those that wait take memory
_DELAY_S: Final = 0.1  # on average
_SPREAD: Final = (math.sqrt(5) - 1) / 2  # whose multiples' fractions never lie close together
_NEVER_S: Final = 1e9  # between the requests of a role that is allowed none


class _Account:
    """What a principal has used, by one row of the table. `Limits.enter` reads and writes it.

    Its requests are released by it also after its principal has got another.

    Attributes:
        principal: whose it is.
        look_at_s: when it is to be looked again whose the row is.
        interval_s: between tokens; 0 where the rate has no limit.
        short_s: for how long tokens may be missing from the bucket, so that it holds one.
        most: requests under way; 0 for any number.
        refused: requests that were, in the window that began at `refused_since_s`.
        running: requests that this process is answering.
        times: of the table, like the next.
        counts: where `running` is written for the other processes.
        read: reads what all processes are answering out of `memory`, at `first`; None where this
            one is alone.
        row: which of them are its own.
        release: ends a request.
    """

    __slots__ = (
        "counts", "first", "full_at", "interval_s", "look_at_s", "memory", "most", "own",
        "principal", "read", "refused", "refused_since_s", "release", "row", "running", "short_s",
        "times",
    )  # fmt: skip

    def __init__(self, principal: Principal, table: LimitTable, row: Row) -> None:
        self.look_at_s = 0.0
        self.refused = 0
        self.refused_since_s = -inf
        self.running = 0
        self.times, self.counts = table.times, table.counts
        self.row, self.full_at, self.own = row, row.full_at, row.own
        self.memory, self.read = table.memory, table.read
        self.first = row.first * CELL_BYTES
        self.release: Callable[[], None] = self._release
        self.obey(principal)

    def obey(self, principal: Principal) -> None:
        """Have the limits of the role of a principal, from the next request on."""
        self.principal = principal
        role = principal.role
        rate = role.requests_per_second
        self.interval_s = 0.0 if rate == inf else 1 / rate if rate > 0 else _NEVER_S
        self.short_s = (max(1, role.burst) - 1) * self.interval_s + self.interval_s * 1e-6
        self.most = role.max_concurrent_requests

    def delay_s(self, now_s: float) -> float:
        """Count a request that is refused; how long its answer is to be kept back."""
        if now_s - self.refused_since_s > _WINDOW_S:
            self.refused_since_s = now_s
            self.refused = 0
        self.refused += 1
        is_late = 0 < self.refused - _REFUSED_AT_ONCE <= _REFUSED_LATER
        return _DELAY_S * (0.5 + self.refused * _SPREAD % 1) if is_late else 0.0

    @property
    def running_everywhere(self) -> int:
        """Requests that all processes are answering."""
        return self.running if self.read is None else sum(self.read(self.memory, self.first))

    def _release(self) -> None:
        self.running = running = self.running - 1
        self.counts[self.own] = running


class Limits:
    """Counts the requests of principals. Belongs to the loop."""

    def __init__(
        self, table: LimitTable | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nobody has asked for anything yet.

        Args:
            table: that all processes of the server share; None where this is the only one.
            clock: seconds, monotonic, the same for all processes.
        """
        self._table = table
        self._clock = clock
        self._accounts: dict[str, _Account] = {}  # the latest of each name
        self._kept: dict[tuple[str, str], _Account] = {}  # kind and name → the same
        self._rejected: Counter[str] = Counter()

    @property
    def rejected(self) -> Mapping[str, int]:
        """Reason (`rate`, `concurrency`) → requests that were refused."""
        return dict(self._rejected)

    def enter(self, principal: Principal) -> Callable[[], None] | None:
        """Let a request in, if its principal may have one more.

        Args:
            principal: whom it is from.

        Returns:
            What is to be called once when the request is over, however it ends; None where nothing
            has to be.

        Raises:
            LimitExceeded: it has had what it may have for now.
        """
        account = self._accounts.get(principal.name)
        if account is None or account.principal is not principal:
            role = principal.role
            if role.requests_per_second == inf and not role.max_concurrent_requests:
                return None
            now_s = self._clock()
            account = self._account(principal, now_s)
        else:
            now_s = self._clock()
            if now_s >= account.look_at_s:
                account = self._account(principal, now_s)
        most, running = account.most, account.running
        if most:
            read = account.read
            everywhere = running if read is None else sum(read(account.memory, account.first))
            if everywhere >= most:
                error = _too_many_at_once(principal.role)
                raise self._refused("concurrency", error, account, now_s)
        if account.interval_s:
            times, at = account.times, account.full_at
            full_at_s = times[at]
            if full_at_s < now_s:
                full_at_s = now_s
            elif full_at_s - now_s > account.short_s:
                error = _too_many_per_second(principal.role, full_at_s - now_s - account.short_s)
                raise self._refused("rate", error, account, now_s)
            times[at] = full_at_s + account.interval_s
        if not most:
            return None
        account.running = account.counts[account.own] = running + 1
        return account.release

    def is_spent(self, principal: Principal) -> bool:
        """Whether `enter` would refuse a request of this principal now; counts nothing."""
        if not principal.role.has_limits:
            return False
        now_s = self._clock()
        account = self._account(principal, now_s)
        if account.most and account.running_everywhere >= account.most:
            return True
        missing_s = account.times[account.full_at] - now_s if account.interval_s else 0.0
        return missing_s > account.short_s

    def _refused(
        self, reason: str, error: LimitExceeded, account: _Account, now_s: float
    ) -> LimitExceeded:
        self._rejected[reason] += 1
        error.delay_s = account.delay_s(now_s)
        return error

    def _account(self, principal: Principal, now_s: float) -> _Account:
        key = principal.kind, principal.name
        account = self._kept.get(key)
        if account is None or now_s >= account.look_at_s:
            account = self._kept[key] = self._looked_up(account, principal, now_s)
        if account.principal is not principal:
            account.obey(principal)
        self._accounts[principal.name] = account
        return account

    def _looked_up(self, known: _Account | None, principal: Principal, now_s: float) -> _Account:
        if len(self._kept) >= _MOST_REMEMBERED:  # what the others have used stands in the table
            self._kept = {key: each for key, each in self._kept.items() if each.running}
            self._accounts = {each.principal.name: each for each in self._kept.values()}
        if self._table is None:
            self._table = LimitTable()
        table, row = self._table, self._table.find(f"{principal.kind}\0{principal.name}", now_s)
        if row is None:  # so many at once: it is counted by this process alone
            table = LimitTable(num_rows=1)
            row = table.find("", now_s)
            assert row is not None
        if known is None or known.row != row or known.counts is not table.counts:
            known = _Account(principal, table, row)
        known.look_at_s = now_s + (_PART_S if table.was_taken else LOOK_AGAIN_S)
        return known


async def refused_later(error: LimitExceeded, timeout_s: float | None = None) -> NoReturn:
    """Refuse a request when its client has waited for a moment.

    Args:
        error: what `Limits.enter` has raised.
        timeout_s: that the client waits at most; None: for ever.

    Raises:
        LimitExceeded: the error.
    """
    delay_s = error.delay_s if timeout_s is None else min(error.delay_s, timeout_s / 2)
    if delay_s > 0:
        await asyncio.sleep(delay_s)
    raise error


def _too_many_at_once(role: Role) -> LimitExceeded:
    return LimitExceeded(
        f"{role.max_concurrent_requests} requests of this client are being answered already",
        hint=f"Wait for an answer first: max_concurrent_requests of role {role.name}.",
    )


def _too_many_per_second(role: Role, wait_s: float) -> LimitExceeded:
    return LimitExceeded(
        f"This client sends more than {role.requests_per_second:g} requests per second",
        hint=f"Come again later: requests_per_second and burst of role {role.name}.",
        retry_after_s=max(1, min(_LONGEST_WAIT_S, math.ceil(wait_s))),
    )
