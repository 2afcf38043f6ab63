"""Processes without clients: for what must not end a worker."""

import logging
import threading
from collections.abc import Callable

from salver.config.model_options import LoadSettings
from salver.lifecycle.loader import Deadly
from salver.vocabulary.servable import ServableId
from salver.workers.channel import ChannelEnded
from salver.workers.member import Member
from salver.workers.messages import Drain
from salver.workers.versions import Source

__all__ = ["SoloProcesses", "load_alone"]

_log = logging.getLogger(__name__)


class SoloProcesses:
    """Starts and ends them. Safe to use from any thread."""

    def __init__(self, spawn: Callable[[Callable[[Member], None]], Member]) -> None:
        """Start none yet.

        Args:
            spawn: starts a process; is given what is to be called when it has ended.
        """
        self._spawn = spawn
        self._lock = threading.RLock()  # guards what follows; a signal handler may interrupt
        self._present: set[Member] = set()
        self._is_stopped = False

    @property
    def present(self) -> tuple[Member, ...]:
        """Those that have not ended."""
        with self._lock:
            return tuple(self._present)

    def start(self, on_end: Callable[[Member], None] = lambda _member: None) -> Member:
        """Start one; it is yet to be started to talk to.

        Raises:
            OSError, RuntimeError: the system gives no process or no thread.
        """

        def ended(member: Member) -> None:
            with self._lock:
                self._present.discard(member)
            on_end(member)

        member = self._spawn(ended)
        with self._lock:
            self._present.add(member)
            is_stopped = self._is_stopped
        if is_stopped:
            member.kill()
        return member

    def try_load(self, settings: LoadSettings, id: ServableId, path: str) -> None:
        """Load a version in a process of its own, which ends; raises as `load_alone`."""
        _log.warning("A worker died while it was loading %s: trying that alone", id)
        load_alone(self.start(), settings, id, path)

    def abandon(self, id: ServableId) -> None:
        """End those that load a version, since the load does not return."""
        for member in self.present:
            if id in member.loading:
                member.kill("killed, as a load in it did not return")

    def stop(self) -> None:
        """End all, now and for ever."""
        with self._lock:
            self._is_stopped = True
        for member in self.present:
            member.kill()


def load_alone(member: Member, settings: LoadSettings, id: ServableId, path: str) -> None:
    """Have a process load a version, and end.

    Args:
        member: a process that is used for nothing else, not started yet.
        settings: how the version is loaded.
        id: its name and number.
        path: its directory.

    Raises:
        Deadly: the process died of it.
        ServingError: the load failed.
    """
    member.start()
    member.said_hello.wait()
    try:
        member.load(id, Source(settings, path)).result()
    except ChannelEnded:
        raise Deadly(
            f"The process that loads {id} dies: {member.cause}",
            hint="It was tried in a process of its own, so that nothing else is harmed.",
        ) from None
    finally:
        if not member.ended.is_set():
            member.notify(Drain(0.0))
            member.ended.wait()
