"""Wakes the poll as soon as a watched directory changes, where the system can tell.

Only a short cut: polling goes on, so a file system that tells nothing (a network one, say) costs
the poll period and nothing else.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["Watcher"]

_logger = logging.getLogger(__name__)

_BY_POLLING = "Changes on disk are noticed by polling alone: %s"
_SETTLE_MS = 100  # changes nearer together than this wake the poll once; also how long a stop takes
_GATHER_MS = 400  # but never later than this


class Watcher:
    """Watches directories, each without what lies below it, from a thread of its own.

    The library is imported in that thread, so that whoever starts a server does not wait for it.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """Start with nothing to watch, and no thread.

        Args:
            wake: called from the watcher's thread after each change.
        """
        self._wake = wake
        self._changed = threading.Condition()
        self._wanted: frozenset[str] = frozenset()
        self._restart = threading.Event()
        self._is_closing = False
        self._thread: threading.Thread | None = None

    def watch(self, directories: frozenset[str]) -> None:
        """Replace what is watched, if it differs. To be called again and again.

        Args:
            directories: those that exist now. One that was deleted and made anew is another one,
                which the watch finds out by itself; naming it again then watches it again.
        """
        with self._changed:
            if self._is_closing or directories == self._wanted:
                return
            self._wanted = directories
            self._restart.set()
            self._changed.notify()
            if self._thread is None:
                self._start()

    def stop(self) -> None:
        """Stop watching; `close` waits for the thread."""
        with self._changed:
            self._is_closing = True
            self._restart.set()
            self._changed.notify()

    def close(self, timeout_s: float | None = None) -> bool:
        """Stop watching and join the thread; False when it did not end in time."""
        self.stop()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="salver-watcher", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            _logger.info(_BY_POLLING, error)
        else:
            self._thread = thread

    def _run(self) -> None:
        from watchfiles import Change, watch

        while (directories := self._next()) is not None:
            try:
                for changes in watch(
                    *sorted(directories),
                    watch_filter=None,
                    debounce=_GATHER_MS,
                    step=_SETTLE_MS,
                    stop_event=self._restart,
                    recursive=False,
                    raise_interrupt=False,
                    ignore_permission_denied=True,
                ):
                    self._forget({path for change, path in changes if change is Change.deleted})
                    self._wake()
            except (OSError, RuntimeError) as error:  # noqa: PERF203 - ends one watch, not all
                # The system's watches are used up, say.
                _logger.info(_BY_POLLING, error)

    def _forget(self, deleted: set[str]) -> None:
        with self._changed:
            self._wanted -= deleted

    def _next(self) -> frozenset[str] | None:
        """What to watch next; waits while that is nothing. None at the end."""
        with self._changed:
            while not self._is_closing:
                if self._restart.is_set():
                    self._restart.clear()
                    if self._wanted:
                        return self._wanted
                self._changed.wait()
            return None
