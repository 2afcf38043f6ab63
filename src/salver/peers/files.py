"""Reads the map of peers and their secret again and again, in a thread.

What is wrong with a file is logged as an error, once when it comes and again each minute, and what
it said before stays in force. A file that is not there yet says nothing, and is waited for.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from salver.errors import Cancelled, ServingError
from salver.instruments.files import OsErrorsOf, read_regular
from salver.peers.hops import parse_tokens
from salver.peers.map import MOST_BYTES, PeerMap, read
from salver.sources.links import directories_of
from salver.sources.polling import Polling, Wait

__all__ = ["PeerFiles"]

_log = logging.getLogger(__name__)

_PAUSE_S: Final = 2.0  # where the file system tells nothing
_REST_S: Final = 0.2  # until what cannot be read is read once more: it may just be being written
_AGAIN_S: Final = 60.0  # between two complaints of the same
_MOST_TOKEN_BYTES: Final = 1 << 17

T = TypeVar("T")


class PeerFiles(Polling):
    """The files that `--peer_map_file` and `--peer_token_file` name."""

    def __init__(
        self,
        map_file: str,
        token_file: str,
        *,
        put_map: Callable[[PeerMap], None],
        put_tokens: Callable[[Sequence[bytes]], None],
        is_watching: bool = True,
        wait: Wait = threading.Event.wait,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read them, once; `start` begins to read them again.

        Args:
            map_file: path of the map.
            token_file: path of the secret; empty for none.
            put_map: called here, and from the thread when the map says something else.
            put_tokens: likewise with the secrets.
            is_watching: see `Polling`.
            wait: see there.
            monotonic: seconds from any moment on.
        """
        super().__init__("salver-peer-files", what=map_file, is_watching=is_watching, wait=wait)
        self._monotonic = monotonic

        def parse_map(content: bytes) -> PeerMap:
            map = read(content)
            _log.info(
                "Map of peers: generation %d, %d servers, %d models",
                map.generation,
                len(map.peers),
                len(map.models),
            )
            return map

        self._files: list[_File[PeerMap] | _File[tuple[bytes, ...]]] = [
            _File(map_file, MOST_BYTES, parse_map, put_map)
        ]
        if token_file:
            self._files.append(
                _File(
                    token_file,
                    _MOST_TOKEN_BYTES,
                    lambda content: parse_tokens(content, token_file),
                    put_tokens,
                )
            )
        for file in self._files:
            file.read(self._monotonic(), self._rest)

    def _pause_s(self) -> float:
        return _PAUSE_S

    def _poll(self) -> None:
        if self._watcher is not None:
            found = frozenset[str]().union(*(directories_of(file.path) for file in self._files))
            self._watcher.watch(frozenset(filter(os.path.isdir, found)))
        for file in self._files:
            file.read(self._monotonic(), self._rest)

    def _rest(self) -> None:
        if self._thread.ident is not None:  # else it is the start, which does not wait
            self._wait(self._closing, _REST_S)
            if self._closing.is_set():
                raise Cancelled("The server stops")


class _File(Generic[T]):
    """One file."""

    def __init__(
        self,
        path: str,
        most_bytes: int,
        parse: Callable[[bytes], T],
        put: Callable[[T], None],
    ) -> None:
        self.path = os.path.abspath(path)
        self._most_bytes = most_bytes
        self._parse = parse
        self._put = put
        self._looked: tuple[int, ...] | None = None
        self._content: bytes | None = None
        self._error = ""
        self._complained_s = 0.0

    def read(self, now_s: float, rest: Callable[[], None]) -> None:
        """Read it where it has changed, and put what it says in force.

        Args:
            now_s: a monotonic time, for complaints.
            rest: called before a file that is wrong is read once more.
        """
        try:
            looks = self._look()
            if looks == self._looked and not self._error:
                return
            try:
                found = self._found()
            except ServingError:
                rest()
                found = self._found()
        except Cancelled:
            raise
        except ServingError as error:
            self._complain(error.message, now_s)
            return
        if self._error:
            _log.warning("%s is right again", self.path)
            self._error = ""
        self._looked = looks
        if found is not None:
            self._put(found)

    def _look(self) -> tuple[int, ...]:
        with OsErrorsOf(self.path):
            found = os.stat(self.path)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _found(self) -> T | None:
        """What it says; None where that is what it said before."""
        with OsErrorsOf(self.path):
            content = read_regular(self.path, self._most_bytes)
        if content == self._content:
            return None
        found = self._parse(content)
        self._content = content
        return found

    def _complain(self, text: str, now_s: float) -> None:
        if text != self._error or now_s - self._complained_s >= _AGAIN_S:
            stays = "it says nothing" if self._content is None else "what it said before stays"
            _log.error("%s: %s; %s", self.path, text, stays)
            self._error, self._complained_s = text, now_s
