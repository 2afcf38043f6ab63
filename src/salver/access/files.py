"""Reads the files of access control again and again, so that a revoked key ends within a second.

What is wrong with a file is logged as an error, once when it comes and again each minute, and what
it said before stays in force: garbage lets nobody in, and shuts nobody out. An empty key file is no
garbage: it has no keys. Nor is a key set without a key: its issuer has withdrawn all.

A file may just be being written, or be truncated and not written yet, so what is new in it counts
once two readings agree. No file waits for another to come to rest, and none rests for ever.
"""

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from salver.access.key_sets import KeySet, no_keys, parse_key_set
from salver.access.keys import KeyLine, lines_of
from salver.access.rules import read_key_file, read_key_set_file, role_problem
from salver.config.auth import AuthConfig, parse_auth_config
from salver.config.text_format import read_file
from salver.errors import ServingError
from salver.sources.links import directories_of
from salver.sources.polling import Polling, Wait

__all__ = ["AuthFiles", "Published"]

_log = logging.getLogger(__name__)

_PAUSE_S: Final = 2.0  # where the file system tells nothing
_REST_S: Final = 0.2  # between the two readings of a file that has changed
_MOST_READINGS: Final = 5  # that differ: then what the file says by then counts
_AGAIN_S: Final = 60.0  # between two complaints of the same

T = TypeVar("T")

Published = Callable[[AuthConfig, "tuple[KeyLine, ...]", Mapping[str, KeySet]], None]
"""Takes what the files say: the configuration, the keys, path of a key set → its keys."""


class AuthFiles(Polling):
    """The files that `--auth_config_file` names, and itself."""

    def __init__(
        self,
        config: AuthConfig,
        publish: Published,
        *,
        is_watching: bool = True,
        wait: Wait = threading.Event.wait,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read all files, once; `start` begins to read them again.

        Args:
            config: what the file said when the server started.
            publish: called here, and from the thread when one of the files has changed.
            is_watching: see `Polling`.
            wait: see there.
            monotonic: seconds from any moment on.
        """
        super().__init__("salver-auth-files", what=config.path, is_watching=is_watching, wait=wait)
        self._publish = publish
        self._monotonic = monotonic
        path = config.path
        self._config = _File(
            path, read_file, lambda content: parse_auth_config(content, path), config, self
        )
        self._keys: _File[tuple[KeyLine, ...]] | None = None
        self._key_sets: dict[str, _File[KeySet | None]] = {}
        self._read(has_changed=True)

    def _pause_s(self) -> float:
        return _PAUSE_S

    def _poll(self) -> None:
        self._watch()
        self._read()
        while any(each.is_changing for each in self._files()):
            self._wait(self._closing, _REST_S)
            if self._closing.is_set():
                return
            self._watch()
            self._read()

    def _watch(self) -> None:
        if self._watcher is not None:
            found = frozenset[str]().union(*map(directories_of, self._paths()))
            self._watcher.watch(frozenset(filter(os.path.isdir, found)))

    def _read(self, *, has_changed: bool = False) -> None:
        has_changed |= self._config.read()
        self._follow(self._config.value)
        if self._keys is not None:
            has_changed |= self._keys.read()
        for each in self._key_sets.values():
            has_changed |= each.read()
        if has_changed:
            self._tell()

    def _follow(self, config: AuthConfig) -> None:
        """Read the files that a configuration names, and those alone."""
        path = config.key_file
        if self._keys is None or self._keys.path != path:
            self._keys = (
                _File(path, read_key_file, lambda it: tuple(lines_of(it, path)), (), self)
                if path
                else None
            )
        paths = {each.jwks_file for each in config.issuers if each.jwks_file}
        self._key_sets = {
            path: self._key_sets.get(path) or self._key_set(path) for path in sorted(paths)
        }

    def _key_set(self, path: str) -> "_File[KeySet | None]":
        return _File(path, read_key_set_file, lambda it: parse_key_set(it, path), None, self)

    def _files(self) -> "list[_File[Any]]":
        found: list[_File[Any]] = [self._config, *self._key_sets.values()]
        return found if self._keys is None else [*found, self._keys]

    def _paths(self) -> list[str]:
        return [each.path for each in self._files()]

    def _tell(self) -> None:
        for path in self._paths():
            with suppress(OSError):
                if os.stat(path).st_mode & stat.S_IWOTH:
                    _log.warning("%s can be written by anybody on this machine", path)
        config = self._config.value
        lines = () if self._keys is None else self._keys.value
        problems = [each for line in lines if (each := role_problem(line, config)) is not None]
        if problems:
            _log.error("%s; %d such keys may do no more than anybody", problems[0], len(problems))
        if self._keys is not None and not lines:
            _log.warning("%s has no keys", self._keys.path)
        key_sets = {path: each.value for path, each in self._key_sets.items()}
        known = {path: keys for path, keys in key_sets.items() if keys is not None}
        for path in (path for path, keys in known.items() if not keys.keys):
            _log.error("Access control: %s; no token of its issuer is taken", no_keys(path))
        self._publish(config, lines, known)

    def now(self) -> float:
        """Of the clock for complaints."""
        return self._monotonic()


class _File(Generic[T]):
    """One file: what it says, or said when it was last right."""

    def __init__(
        self,
        path: str,
        read: Callable[[str], bytes],
        parse: Callable[[bytes], T],
        value: T,
        files: AuthFiles,
    ) -> None:
        """Say `value` until the file was read."""
        self.path = path
        self.value = value
        self._read = read
        self._parse = parse
        self._files = files
        self._content: bytes | None = None
        self._new: bytes | None = None  # what the last reading has found, and did not count yet
        self._num_new = 0
        # What could not be parsed, and why: once is enough, since its parser complains too.
        self._wrong: tuple[bytes, str] | None = None
        self._error: str | None = None
        self._complained_s = 0.0

    @property
    def is_changing(self) -> bool:
        """Whether what was read last counts only if the next reading agrees."""
        return self._new is not None

    def read(self) -> bool:
        """Read it; whether it says something else than before."""
        try:
            content = self._read(self.path)
            if not self._counts(content) or (content == self._content and self._error is None):
                return False
            if self._wrong is not None and content == self._wrong[0]:
                self._complain(self._wrong[1])
                return False
            value = self._parsed(content)
        except ServingError as error:
            self._forget_new()
            self._complain(_told(error))
            return False
        self._wrong = None
        if self._error is not None:
            _log.warning("%s is right again", self.path)
            self._error = None
        is_new = content != self._content
        if is_new and self._content is not None:
            _log.info("%s has changed", self.path)
        self._content, self.value = content, value
        return is_new

    def _counts(self, content: bytes) -> bool:
        """Whether it counts what was read; else it is kept to be compared with the next reading."""
        is_known = self._content is None or content in (self._content, self._new)
        is_known |= self._wrong is not None and content == self._wrong[0]
        if is_known or self._num_new + 1 >= _MOST_READINGS:
            self._forget_new()
            return True
        self._new, self._num_new = content, self._num_new + 1
        return False

    def _forget_new(self) -> None:
        self._new, self._num_new = None, 0

    def _parsed(self, content: bytes) -> T:
        try:
            return self._parse(content)
        except ServingError as error:
            self._wrong = (content, _told(error))
            raise

    def _complain(self, text: str) -> None:
        now_s = self._files.now()
        if text != self._error or now_s - self._complained_s >= _AGAIN_S:
            stays = "what it said before stays" if self.value else "it lets nobody in"
            _log.error("Access control: %s; %s", text, stays)
            self._error, self._complained_s = text, now_s


def _told(error: ServingError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
