"""Finds out which model ended a worker, if one did."""

import signal
from collections.abc import Mapping
from typing import Protocol

from salver.servable import ServableId
from salver.workers.causes import MemoryKills, is_fault, while_running
from salver.workers.crew import Crew
from salver.workers.ledger import Ledger
from salver.workers.member import Member

__all__ = ["Endings", "Judge"]


class Judge(Protocol):
    """What is asked of an `Isolation`."""

    def died(self, code: int, answers: Mapping[ServableId, int]) -> None: ...


class Endings:
    """Looks at each worker that has ended. Safe to use from any thread."""

    def __init__(
        self,
        crew: Crew,
        ledger: Ledger,
        isolation: Judge,
        memory_kills: MemoryKills | None = None,
    ) -> None:
        """Have seen no end.

        Args:
            crew: knows which versions answer requests.
            ledger: knows how many they have answered.
            isolation: is told which ones a worker may have died of.
            memory_kills: tells whether the system ends processes for want of memory.
        """
        self._crew = crew
        self._ledger = ledger
        self._isolation = isolation
        self._memory_kills = memory_kills or MemoryKills()

    def examine(self, member: Member) -> None:
        """Name the versions that a worker was running when it ended, if it may have died of them.

        Not when it ended as it should, or was killed by somebody. A version that was loaded
        meanwhile is a suspect too; whoever had it loaded judges that by itself.
        """
        code, activity = member.code, member.activity
        if code is None or member.goodbye is not None:
            return
        marks, loading = activity.running, self._crew.marked(activity.loading)
        if member.was_killed:  # as its loop did not turn
            marks = frozenset() if activity.in_loop is None else frozenset({activity.in_loop})
            loading = frozenset()
        elif not self._is_own_doing(code):
            return
        running = self._crew.answering(marks)
        member.is_victim = bool(running or loading)
        if running:
            member.cause = while_running(member.cause, running)
            suspects = {id: self._ledger.answers(id) for id in running}
            self._isolation.died(code, dict.fromkeys(loading - running, 0) | suspects)

    def _is_own_doing(self, code: int) -> bool:
        was_memory = self._memory_kills.happened()
        return is_fault(code) or (was_memory and code == -signal.SIGKILL)
