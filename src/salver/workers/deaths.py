"""Finds out which version ended a worker, if one did."""

import signal
from collections.abc import Callable, Mapping

from salver.vocabulary.servable import ServableId
from salver.workers.causes import MemoryKills, is_fault, while_running
from salver.workers.group import WorkerGroup
from salver.workers.member import Member
from salver.workers.reports import ReportStore

__all__ = ["Deaths"]


class Deaths:
    """Examines each worker that has ended. Safe to use from any thread."""

    def __init__(
        self,
        group: WorkerGroup,
        reports: ReportStore,
        blame: Callable[[int, Mapping[ServableId, int]], None],
        memory_kills: MemoryKills | None = None,
    ) -> None:
        """Have seen no end.

        Args:
            group: knows which versions answer requests.
            reports: knows how many they have answered.
            blame: called with an exit status and those that a worker may have died of; see
                `Isolation.died`.
            memory_kills: tells whether the system ends processes for want of memory.
        """
        self._group = group
        self._reports = reports
        self._blame = blame
        self._memory_kills = memory_kills or MemoryKills()

    def examine(self, member: Member) -> None:
        """Name the versions that a worker was running when it ended, if it may have died of them.

        Not when it ended as it should, or was killed by somebody. A version that was loaded
        meanwhile is a suspect too; the load itself sees to that.
        """
        code, activity = member.code, member.activity
        if code is None or member.goodbye is not None:
            return
        marks, loading = activity.running, self._group.marked(activity.loading)
        if member.was_killed:  # as its loop did not turn
            marks = frozenset() if activity.in_loop is None else frozenset({activity.in_loop})
            loading = frozenset()
        elif not self._is_own_doing(code):
            return
        running = self._group.answering(marks)
        member.was_ended_by_model = bool(running or loading)
        if running:
            member.cause = while_running(member.cause, running)
            suspects = {id: self._reports.answers(id) for id in running}
            self._blame(code, dict.fromkeys(loading - running, 0) | suspects)

    def _is_own_doing(self, code: int) -> bool:
        was_memory = self._memory_kills.happened()
        return is_fault(code) or (was_memory and code == -signal.SIGKILL)
