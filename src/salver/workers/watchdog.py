"""Ends workers that are there and answer nothing any more.

A process that is stopped, or whose loop is stuck, keeps its connections, and loads, reloads and
withdrawals wait for it. Its end ends these waits, and it is replaced.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

from salver.workers.member import Member
from salver.workers.messages import Ping
from salver.workers.periodic import Periodic

__all__ = ["EVERY_S", "KILL_AFTER", "WARN_AFTER", "Watchdog"]

_log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
WARN_AFTER: Final = 10  # polls without an answer
KILL_AFTER: Final = 60


class Watchdog(Periodic):
    """Polls each worker whether its loop turns.

    It counts polls and no time, so that no worker is blamed when all processes, this one too, were
    frozen together.
    """

    def __init__(self, present: Callable[[], Iterable[Member]]) -> None:
        """Watch nobody yet.

        Args:
            present: all workers that have not ended.
        """
        super().__init__("salver-watch", self.poll, lambda: EVERY_S)
        self._present = present
        self._pending: dict[Member, tuple[Future[Any], int]] = {}

    def poll(self) -> None:
        """Poll once. A worker that still imports its libraries is left out."""
        pending, self._pending = self._pending, {}
        for member in self._present():
            if not member.has_greeted or member.ended.is_set():
                continue
            answer, missed = pending.get(member, (None, 0))
            if answer is None or answer.done():
                self._pending[member] = (member.request(Ping()), 0)
            else:
                self._pending[member] = (answer, missed + 1)
                self._missed(member, missed + 1)

    @staticmethod
    def _missed(member: Member, count: int) -> None:
        if count == WARN_AFTER:
            _log.warning("%s has not answered for %g s", member, count * EVERY_S)
        elif count == KILL_AFTER:
            _log.error("%s has not answered for %g s: it is killed", member, count * EVERY_S)
            member.kill(f"killed, as it had not answered for {count * EVERY_S:g} s")
