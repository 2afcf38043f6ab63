"""Notices workers that are there and answer nothing any more, and ends them.

A process that is stopped, or whose loop is stuck, keeps its connections, and whatever is asked of
all workers waits for it: loads, reloads, withdrawals. Its end ends all that, and it is replaced.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

from salver.workers.member import Member
from salver.workers.messages import Ping

__all__ = ["EVERY_S", "KILL_AFTER", "WARN_AFTER", "Watch"]

_log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
WARN_AFTER: Final = 10  # looks without an answer
KILL_AFTER: Final = 60


class Watch:
    """Asks each worker again and again whether its loop turns.

    It counts its own looks and no time, so that nobody is blamed when all processes, this one
    too, were frozen together.
    """

    def __init__(self, present: Callable[[], Iterable[Member]]) -> None:
        """Watch nobody yet.

        Args:
            present: all workers that have not ended.
        """
        self._present = present
        self._asked: dict[Member, tuple[Future[Any], int]] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="salver-watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def look(self) -> None:
        """Look once. A worker that imports its libraries yet is not asked."""
        asked = self._asked
        self._asked = {}
        for member in self._present():
            if not member.has_greeted or member.ended.is_set():
                continue
            answer, missed = asked.get(member, (None, 0))
            if answer is None or answer.done():
                self._asked[member] = (member.ask(Ping()), 0)
            else:
                self._asked[member] = (answer, missed + 1)
                self._judge(member, missed + 1)

    def _judge(self, member: Member, missed: int) -> None:
        if missed == WARN_AFTER:
            _log.warning("%s has not answered for %g s", member, missed * EVERY_S)
        elif missed == KILL_AFTER:
            _log.error("%s has not answered for %g s: it is killed", member, missed * EVERY_S)
            member.kill(f"killed, as it had not answered for {missed * EVERY_S:g} s")

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self.look()
