"""Changes of the configuration that workers request on behalf of their clients."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from salver.config.models import ModelConfig
from salver.lifecycle.callers import Caller
from salver.protocols.administration import Administer as DoAdminister
from salver.workers.futures import in_thread
from salver.workers.member import Member
from salver.workers.messages import Administer, Apply, Leave, SetLoaded, Taken

__all__ = ["Changeable", "Reloads"]


class Changeable(Protocol):
    """What is changed: a `ServerCore`."""

    def apply(
        self, models: tuple[ModelConfig, ...] | None, *, is_awaited: bool, caller: Caller
    ) -> None:
        """Apply it, and wait for models until they are there or the caller leaves."""
        ...

    def set_loaded(self, name: str, *, is_loaded: bool, caller: Caller) -> None:
        """Load a model or unload it, and wait for that until the caller leaves."""
        ...


class Reloads:
    """Those that are being applied, each in a thread. Safe to use from any thread."""

    def __init__(
        self, core: Changeable, administer: DoAdminister, on_end: Callable[[], None]
    ) -> None:
        """Begin with none.

        Args:
            core: see there.
            administer: does what administrators request.
            on_end: called after each, also after one that failed, before its worker hears of it.
        """
        self._core = core
        self._administer = administer
        self._on_end = on_end
        self._lock = threading.Lock()  # guards what follows
        self._callers: dict[tuple[Member, int], Caller] = {}

    def begin(self, member: Member, change: Apply | SetLoaded | Administer) -> "Future[Any]":
        """Do what a worker requests; done when all workers know what came of it."""
        key = member, change.number
        caller = Caller(on_taken=lambda: member.notify(Taken(change.number)), actor=change.actor)
        with self._lock:
            self._callers[key] = caller

        def work() -> Any:
            try:
                return self._change(change, caller)
            finally:
                self._forget(key)
                self._on_end()

        try:
            return in_thread("salver-reload", work)
        except RuntimeError:
            self._forget(key)
            raise

    def _change(self, change: Apply | SetLoaded | Administer, caller: Caller) -> Any:
        match change:
            case Administer(request):
                return self._administer(request, caller)
            case SetLoaded(name, is_loaded):
                self._core.set_loaded(name, is_loaded=is_loaded, caller=caller)
            case Apply(models, is_awaited):
                self._core.apply(models, is_awaited=is_awaited, caller=caller)
        return None

    def _forget(self, key: tuple[Member, int]) -> None:
        with self._lock:
            del self._callers[key]

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
