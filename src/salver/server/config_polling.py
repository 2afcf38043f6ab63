"""Reads the configuration file again and again, and applies what it says.

A change is noticed at once where the file system can tell, and by polling in any case. What is
wrong with the file is logged at each poll, and what was served goes on. A pipe in its place is
refused, since it might be waited for without end.

A file is applied until that has succeeded once, and again only when its bytes have changed: until
then what requests make of the configuration stays.

Source: TensorFlow Serving `model_servers/server.cc`, PollFilesystemAndReloadConfig, which applies
the file at each poll.
"""

import logging
import os
import threading
from typing import Protocol

from salver.config.models import ModelConfig, parse_model_config
from salver.config.start_up import Configuration, mark_of
from salver.config.text_format import ending_of, read_file
from salver.errors import Cancelled, ServingError
from salver.instruments.threads import Breather
from salver.sources.links import directories_of
from salver.sources.polling import Polling, Wait

__all__ = ["ConfigPolling", "Configurable", "apply_file", "make_config_polling"]

_logger = logging.getLogger(__name__)

# A watch begins at some moment after it was asked for, and what changes before that is not told. So
# the file is read a few times more, soon.
_SOON_S = 1.0
_TIMES_SOON = 3

_REST_S = 0.25  # between the two readings of a YAML file that has changed


class Configurable(Protocol):
    """What is configured: a `ServerCore`."""

    @property
    def applied(self) -> tuple[ModelConfig, ...] | None:
        """The present configuration; None when the last one was not applied whole."""
        ...

    def apply(
        self,
        models: tuple[ModelConfig, ...] | None,
        *,
        is_awaited: bool = True,
        is_anew: bool = False,
    ) -> None:
        """Make `models` the configuration; `is_anew`: also of models that were unloaded."""
        ...


class ConfigPolling(Polling):
    """One thread that reads a configuration file. Safe to use from any thread."""

    def __init__(
        self,
        path: str,
        poll_wait_seconds: float,
        core: Configurable,
        *,
        begun_with: tuple[ModelConfig, ...] | None = None,
        begun_mark: int | None = None,
        is_watching: bool = True,
        wait: Wait = threading.Event.wait,
    ) -> None:
        """Do nothing before `start`.

        Args:
            path: of a ModelServerConfig, in a form that its ending says.
            poll_wait_seconds: pause between readings, positive.
            core: told of each configuration that differs from its own. What it would wait for is
                not waited for, so a model that never comes keeps no later configuration waiting.
            begun_with: what the server has read in this file when it started.
            begun_mark: of the bytes that it has read then; see `mark_of`.
            is_watching: see `Polling`.
            wait: see there.
        """
        self._path = os.path.abspath(path)
        super().__init__("salver-config-poll", what=self._path, is_watching=is_watching, wait=wait)
        self._poll_wait_seconds = poll_wait_seconds
        self._core = core
        self._begun_with = begun_with
        self._begun_mark = begun_mark
        self._content: bytes | None = None  # what `_models` were read from; parsing takes long
        self._models: tuple[ModelConfig, ...] | None = None
        self._is_anew = False  # the content has changed, and was not applied yet
        self._watched: frozenset[str] = frozenset()
        self._times_soon = 0

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
        self._watch()
        try:
            models = self._read()
        except ServingError as error:
            _complain("Failed to read ModelServerConfig file", error)
            return
        if not self._is_anew:
            return
        try:
            self._core.apply(models, is_awaited=False, is_anew=True)
            self._is_anew = False
        except Cancelled:
            raise
        except ServingError as error:
            _complain("PollFilesystemAndReloadConfig failed to ReloadConfig", error)

    def _read(self) -> tuple[ModelConfig, ...] | None:
        # Read once, since what is parsed must be what is remembered.
        content = read_file(self._path)
        if content != self._content and ending_of(self._path) in (".yaml", ".yml"):
            content = self._at_rest(content)
        if content != self._content:
            # A megabyte takes 0.2 s, and requests are answered meanwhile.
            self._models = parse_model_config(content, self._path, Breather())
            is_first, self._content = self._content is None, content
            # At the first reading, what the server began with is what there was before.
            has_none = self._core.applied is None and self._models is not None
            is_begun = self._models == self._begun_with and not has_none
            if self._begun_mark is not None:
                is_begun &= mark_of(content) == self._begun_mark
            self._is_anew |= not is_first or not is_begun
        return self._models

    def _at_rest(self, content: bytes) -> bytes:
        """What a file holds once two readings agree.

        A YAML file that is just being written is whole after each line, only with fewer models.
        """
        while not self._closing.is_set():
            self._wait(self._closing, _REST_S)
            before, content = content, read_file(self._path)
            if content == before:
                return content
        raise Cancelled("The server stops")


def _complain(what: str, error: ServingError) -> None:
    if error.hint:
        _logger.error("%s: %s (%s)", what, error.message, error.hint)
    else:
        _logger.error("%s: %s", what, error.message)


def make_config_polling(configuration: Configuration, core: Configurable) -> ConfigPolling | None:
    """The polling that the flags ask for, not yet begun; None when they ask for none."""
    options = configuration.options
    if not options.model_config_file or options.model_config_file_poll_wait_seconds <= 0:
        return None
    return ConfigPolling(
        options.model_config_file,
        options.model_config_file_poll_wait_seconds,
        core,
        begun_with=configuration.models,
        begun_mark=configuration.models_mark,
    )


def apply_file(path: str, core: Configurable) -> None:
    """Make what a configuration file says the configuration, also where nothing in it has changed.

    Args:
        path: of a ModelServerConfig; empty for none, which leaves everything as it is.
        core: what is configured. Its models are not waited for.

    Raises:
        ServingError: the file cannot be read, or is wrong; nothing has changed then.
    """
    if path:
        models = parse_model_config(read_file(path), path, Breather())
        core.apply(models, is_awaited=False, is_anew=True)
