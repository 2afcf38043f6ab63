"""Replaces workers one by one: all when that is requested, some when a load does not return."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from salver.config.options import ServerOptions
from salver.config.start_up import Configuration, check_readable_again
from salver.errors import ServingError
from salver.management.core import ServerCore
from salver.server.config_polling import apply_file
from salver.server.notifying import Notifier
from salver.vocabulary.servable import ServableId
from salver.workers.isolation import Isolation
from salver.workers.member import Member
from salver.workers.slots import Slots
from salver.workers.spawning import Spawner

__all__ = ["Renewal"]

_log = logging.getLogger(__name__)

_IDLE_S: Final = 5.0  # of connections to a worker that is replaced


class Renewal:
    """One at a time. Called in the supervisor's main thread, but where it says otherwise."""

    def __init__(
        self,
        options: ServerOptions,
        read: Callable[[], Configuration],
        *,
        spawner: Spawner,
        slots: Slots,
        isolation: Isolation,
        core: ServerCore,
        notifier: Notifier,
        post: Callable[[Callable[[], object]], None],
        status: Callable[[], str],
    ) -> None:
        """Replace none yet.

        Args:
            options: the flags.
            read: reads what the files that flags name say.
            spawner: starts workers.
            slots: keep them.
            isolation: of versions that workers die of; forgotten with the workers.
            core: has the models.
            notifier: tells a service manager.
            post: has something called in the main thread.
            status: of the server, in a line.
        """
        self._options = options
        self._read = read
        self._spawner = spawner
        self._slots = slots
        self._isolation = isolation
        self._core = core
        self._notifier = notifier
        self._post = post
        self._status = status
        self._thread: threading.Thread | None = None
        self._is_to_begin_again = False
        self._is_stopping = False

    def begin(self) -> None:
        """Replace all, with what the files say by now; if that is under way, once more after it."""
        if self._thread is not None and self._thread.is_alive():
            _log.info("SIGHUP: the workers will be replaced again when they have been")
            self._is_to_begin_again = True
            return
        self._is_to_begin_again = False
        self._notifier.reloading()
        try:
            check_readable_again(self._options)
            configuration = self._read()
        except ServingError as error:
            _log.error("SIGHUP: the workers stay as they are: %s", error.message)
            self._notifier.ready(f"{self._status()}; could not reload: {error.message}")
            return
        _log.info("SIGHUP: replacing the workers one by one")
        self._spawner.configuration = configuration
        self._thread = threading.Thread(target=self._replace, name="salver-renew", daemon=True)
        self._thread.start()

    def replace_stuck(self, id: ServableId, stuck: Sequence[Member]) -> None:
        """Replace workers in which a load of a version does not return; from any thread."""
        threading.Thread(
            target=self._replace_stuck, args=(id, stuck), name="salver-renew", daemon=True
        ).start()

    def stop(self) -> None:
        """The server stops: a renewal that ends is not announced."""
        self._is_stopping = True

    def _replace(self) -> None:
        self._isolation.clear()
        if self._notifier.is_active:
            self._apply_file()
        timeout_s = self._options.drain_timeout_seconds
        if self._slots.replace(idle_s=_IDLE_S, timeout_s=timeout_s):
            _log.info("All workers have been replaced")
        self._post(self._ended)

    def _apply_file(self) -> None:
        try:
            apply_file(self._options.model_config_file, self._core)
        except ServingError as error:
            _log.error("SIGHUP: the models stay as they are: %s", error.message)

    def _ended(self) -> None:
        assert self._thread is not None
        self._thread.join()
        if not self._is_stopping:
            self._notifier.ready(self._status())
        if self._is_to_begin_again:
            self.begin()

    def _replace_stuck(self, id: ServableId, stuck: Sequence[Member]) -> None:
        for member in stuck:
            _log.warning("%s is to be replaced: its load of %s does not return", member, id)
        self._slots.replace(stuck, idle_s=_IDLE_S, timeout_s=self._options.drain_timeout_seconds)
