"""Configurations that workers ask for, on behalf of their clients."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from salver.config.models import ModelConfig
from salver.lifecycle.callers import Caller
from salver.workers.member import Member
from salver.workers.messages import Apply, Leave, Taken

__all__ = ["ApplyModels", "Reloads"]


class ApplyModels(Protocol):
    """What makes models the configuration; see `ServerCore.apply`."""

    def __call__(
        self, models: tuple[ModelConfig, ...] | None, *, is_awaited: bool, caller: Caller
    ) -> None:
        """Apply it, and wait for models until they are there or the caller leaves."""
        ...


class Reloads:
    """Those that are being applied, each in a thread. Safe to use from any thread."""

    def __init__(self, apply: ApplyModels, on_end: Callable[[], None]) -> None:
        """Begin with none.

        Args:
            apply: see there.
            on_end: called after each, also after one that failed, before its worker hears of it.
        """
        self._apply = apply
        self._on_end = on_end
        self._lock = threading.Lock()  # guards what follows
        self._callers: dict[tuple[Member, int], Caller] = {}

    def begin(self, member: Member, apply: Apply) -> "Future[None]":
        """Apply what a worker asks for; done when all workers know what came of it."""
        key = member, apply.number
        caller = Caller(on_taken=lambda: member.tell(Taken(apply.number)))
        with self._lock:
            self._callers[key] = caller
        answer: Future[None] = Future()

        def work() -> None:
            try:
                try:
                    self._apply(apply.models, is_awaited=apply.is_awaited, caller=caller)
                finally:
                    with self._lock:
                        del self._callers[key]
                    self._on_end()
            except BaseException as error:  # noqa: BLE001 - handed to the worker
                answer.set_exception(error)
            else:
                answer.set_result(None)

        threading.Thread(target=work, name="salver-reload", daemon=True).start()
        return answer

    def left(self, member: Member, leave: Leave) -> None:
        """Nobody waits for that one any more."""
        with self._lock:
            caller = self._callers.get((member, leave.number))
        if caller is not None:
            caller.leave()

    def ended(self, member: Member) -> None:
        """A worker has ended, and with it whoever waited there."""
        with self._lock:
            callers = [caller for (of, _), caller in self._callers.items() if of is member]
        for caller in callers:
            caller.leave()
