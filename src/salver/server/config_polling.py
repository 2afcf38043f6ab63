"""Reads the configuration file again and again, and applies what it says.

A change is noticed at once where the file system can tell, and by polling in any case. What is
wrong with the file is logged at each poll, and what was served goes on. A pipe in its place is
refused, since it might be waited for without end.

Source: TensorFlow Serving `model_servers/server.cc`, PollFilesystemAndReloadConfig.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from salver.config.models import ModelConfig, parse_model_config
from salver.config.options import ServerOptions
from salver.config.text_format import read_file
from salver.errors import Cancelled, ServingError
from salver.sources.watcher import Watcher
from salver.threads import Breather

__all__ = ["ConfigPolling", "Configurable", "directories_of", "make_config_polling"]

_logger = logging.getLogger(__name__)

_MOST_LINKS = 40  # as Linux follows

# A watch begins at some moment after it was asked for, and what changes before that is not told. So
# the file is read a few times more, soon.
_SOON_S = 1.0
_TIMES_SOON = 3


class Configurable(Protocol):
    """What is configured: a `ServerCore`."""

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """The present configuration; None when the last one was not applied whole."""
        ...

    def apply(self, models: tuple[ModelConfig, ...] | None, *, is_awaited: bool = True) -> None:
        """Make `models` the configuration."""
        ...


class ConfigPolling:
    """One thread that reads a configuration file. Safe to use from any thread."""

    def __init__(
        self,
        path: str,
        poll_wait_seconds: float,
        core: Configurable,
        *,
        is_watching: bool = True,
        wait: Callable[[threading.Event, float | None], bool] = threading.Event.wait,
    ) -> None:
        """Do nothing before `start`.

        Args:
            path: of a ModelServerConfig in text form.
            poll_wait_seconds: pause between readings, positive.
            core: told of each configuration that differs from its own. What it would wait for is
                not waited for, so a model that never comes keeps no later configuration waiting.
            is_watching: whether a change on disk may wake the poll before its time.
            wait: waits for an event so many seconds; a test's own clock goes in here.
        """
        self._path = os.path.abspath(path)
        self._poll_wait_seconds = poll_wait_seconds
        self._core = core
        self._wait = wait
        self._content: bytes | None = None  # what `_models` were read from; parsing takes long
        self._models: tuple[ModelConfig, ...] | None = None
        self._wake = threading.Event()
        self._is_closing = False
        self._watcher = Watcher(self._wake.set) if is_watching else None
        self._watched: frozenset[str] = frozenset()
        self._times_soon = 0
        self._thread = threading.Thread(target=self._run, name="salver-config-poll", daemon=True)

    def start(self) -> None:
        """Begin to poll: at once, then after each pause."""
        self._thread.start()

    def poke(self) -> None:
        """Poll now."""
        self._wake.set()

    def stop(self) -> None:
        """Apply nothing more; `close` waits for the threads."""
        self._is_closing = True
        self._wake.set()
        if self._watcher is not None:
            self._watcher.stop()

    def close(self, timeout_s: float | None = None) -> bool:
        """Stop and join the threads.

        Args:
            timeout_s: how long to wait; a file system may hang for ever. None for any time.

        Returns:
            Whether the threads have ended.
        """
        self.stop()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        has_ended = self._watcher is None or self._watcher.close(left_s)
        return has_ended and not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._is_closing:  # asked after the clearing, which may have undone a `stop`
                return
            self._watch()
            try:
                self._poll()
            except Cancelled:  # the server stops
                return
            except Exception:
                _logger.exception("The poll of %s failed", self._path)
            self._wait(self._wake, self._pause_s())

    def _pause_s(self) -> float:
        if self._times_soon == 0:
            return self._poll_wait_seconds
        self._times_soon -= 1
        return min(_SOON_S, self._poll_wait_seconds)

    def _watch(self) -> None:
        if self._watcher is None:
            return
        directories = frozenset(filter(os.path.isdir, directories_of(self._path)))
        if directories != self._watched:
            self._watched, self._times_soon = directories, _TIMES_SOON
        self._watcher.watch(directories)

    def _poll(self) -> None:
        try:
            models = self._read()
        except ServingError as error:
            _complain("Failed to read ModelServerConfig file", error)
            return
        if models == self._core.applied:
            return
        try:
            self._core.apply(models, is_awaited=False)
        except Cancelled:
            raise
        except ServingError as error:
            _complain("PollFilesystemAndReloadConfig failed to ReloadConfig", error)

    def _read(self) -> tuple[ModelConfig, ...] | None:
        # Read once, since what is parsed must be what is remembered.
        content = read_file(self._path)
        if content != self._content:
            # A megabyte takes 0.2 s, and requests are answered meanwhile.
            self._models = parse_model_config(content, self._path, Breather())
            self._content = content
        return self._models


def _complain(what: str, error: ServingError) -> None:
    if error.hint:
        _logger.error("%s: %s (%s)", what, error.message, error.hint)
    else:
        _logger.error("%s: %s", what, error.message)


def make_config_polling(options: ServerOptions, core: Configurable) -> ConfigPolling | None:
    """The polling that the flags ask for, not yet begun; None when they ask for none."""
    if not options.model_config_file or options.model_config_file_poll_wait_seconds <= 0:
        return None
    return ConfigPolling(
        options.model_config_file, options.model_config_file_poll_wait_seconds, core
    )


def directories_of(path: str) -> frozenset[str]:
    """The directories in which a change may give a path another content.

    That is where the file lies, and where each link on the way to it lies: Kubernetes gives a
    ConfigMap new files by moving one link (`..data`), on which all others lead.

    Args:
        path: absolute.
    """
    return frozenset(os.path.realpath(os.path.dirname(step)) for step in _steps(path))


def _steps(path: str) -> Iterator[str]:
    """The path, each link on the way, and where the links lead."""
    for _ in range(_MOST_LINKS):
        yield path
        link = next((part for part in _parts(path) if os.path.islink(part)), None)
        if link is None:
            return
        yield link
        try:
            target = os.path.join(os.path.dirname(link), os.readlink(link))
        except OSError:  # it has just gone
            return
        path = target + path[len(link) :]


def _parts(path: str) -> Iterator[str]:
    """All beginnings of a path, the shortest first, and itself."""
    parent = os.path.dirname(path)
    if parent != path:
        yield from _parts(parent)
    yield path
