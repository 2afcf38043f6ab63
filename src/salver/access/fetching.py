"""Fetches the key set of an issuer from its URL: now and then, and when a token names a new key.

While it cannot be fetched the last keys stay in force, for a day at most: whoever could keep us
from the issuer must not keep a revoked key alive for ever. Nobody waits for it but a request whose
token names a key that is not known, and that for seconds; some hundred at a time, since anybody can
make up such a name.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from salver.access.key_sets import MOST_BYTES, KeySet, no_keys, parse_key_set
from salver.access.tokens import NoKeys
from salver.errors import ServingError, Unavailable
from salver.sources.polling import Polling, Wait

__all__ = ["Fetch", "KeySetFetcher", "fetch_key_set"]

_log = logging.getLogger(__name__)

_PAUSE_S: Final = 300.0
_LEAST_PAUSE_S, _MOST_PAUSE_S = 60.0, 3600.0  # whatever Cache-Control says
_RETRY_S, _MOST_RETRY_S = 2.0, 60.0
_LEAST_BETWEEN_S: Final = 10.0  # fetches that tokens cause: anybody can make up the name of a key
_MOST_WAITING: Final = 256  # requests, for one fetch: each keeps what its client has sent
_MOST_STALE_S: Final = 86_400.0
_TIMEOUT_S: Final = 10.0
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])")

Fetch = Callable[[str], "tuple[bytes, float]"]
"""Takes a URL; gives what is there, and for how many seconds it is good.

Raises:
    ServingError: it cannot be had.
"""


def _shown(url: str) -> str:
    """A URL as logs may show it: what stands behind it may be a secret."""
    return url.partition("?")[0]


def fetch_key_set(url: str) -> tuple[bytes, float]:
    """Fetch a key set, in a few seconds at most. Redirects are not followed.

    Proxies and certificates are those of the environment (`HTTPS_PROXY`, `SSL_CERT_FILE`).

    Raises:
        Unavailable: it cannot be had.
    """
    try:
        # A loop of its own, because only so is there one limit for all of the time it takes.
        return asyncio.run(asyncio.wait_for(_fetch(url), _TIMEOUT_S))
    except (TimeoutError, asyncio.TimeoutError):
        text = f"{_shown(url)} cannot be read: it took more than {_TIMEOUT_S:g} s"
        raise Unavailable(text) from None


async def _fetch(url: str) -> tuple[bytes, float]:
    import httpx

    name = _shown(url)
    try:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client,
            client.stream("GET", url, headers=_HEADERS) as answer,
        ):
            if answer.status_code != 200:
                raise Unavailable(f"{name} cannot be read: HTTP status {answer.status_code}")
            if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise Unavailable(f"{name} cannot be read: it is compressed, unlike requested")
            content = bytearray()
            async for chunk in answer.aiter_raw():  # nothing is made larger than it came
                content += chunk
                if len(content) > MOST_BYTES:
                    raise Unavailable(f"{name} cannot be read: more than {MOST_BYTES} bytes")
            found = _MAX_AGE.search(answer.headers.get("cache-control", ""))
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"{name} cannot be read: {reason}") from None
    return bytes(content), float(found[1]) if found else _PAUSE_S


class KeySetFetcher(Polling):
    """One thread that fetches one key set. Safe to use from any thread.

    Attributes:
        url: of the key set.
    """

    def __init__(
        self,
        url: str,
        publish: "Callable[[KeySetFetcher, KeySet | None], None]",
        *,
        fetch: Fetch = fetch_key_set,
        wait: Wait = threading.Event.wait,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Do nothing before `start`.

        Args:
            url: where it is.
            publish: called from the thread with this fetcher and the keys when these are others;
                None once they are too old. It may still be called after `stop`, by a fetch that
                had begun.
            fetch: fetches it.
            wait: see `Polling`.
            monotonic: seconds from any moment on.
        """
        super().__init__("salver-key-set", what=_shown(url), is_watching=False, wait=wait)
        self.url = url
        self._name = _shown(url)
        self._publish = publish
        self._fetch = fetch
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards what follows
        self._waiting: Future[None] | None = None
        self._num_waiting = 0  # that were given it
        self._is_fetching = False
        self._began_s: float | None = None
        # Of the thread alone.
        self._content: bytes | None = None
        self._fetched_s = 0.0
        self._pause = _PAUSE_S
        self._retry = _RETRY_S

    def fetched(self) -> "Future[None] | None":
        """Fetch now, unless that was done just now.

        Returns:
            What is done when the fetch has ended, well or not; None where there is to be none.

        Raises:
            NoKeys: many others wait already.
        """
        with self._lock:
            if not self._is_fetching and self._waiting is None:
                since_s = None if self._began_s is None else self._monotonic() - self._began_s
                if self._closing.is_set() or (since_s is not None and since_s < _LEAST_BETWEEN_S):
                    return None
            if self._waiting is None:
                self._waiting = Future()
                self._waiting.set_running_or_notify_cancel()  # one who leaves ends it for nobody
                self._num_waiting = 0
                if not self._is_fetching:
                    self.poke()
            if self._num_waiting >= _MOST_WAITING:
                raise NoKeys("Very many requests wait for the keys of the token's issuer")
            self._num_waiting += 1
            return self._waiting

    def stop(self) -> None:
        """See `Polling`; nobody waits for it any more."""
        super().stop()
        self._end()

    @property
    def has_ended(self) -> bool:
        """Whether there is no thread of it any more, or not yet."""
        return not self._thread.is_alive()

    def _pause_s(self) -> float:
        return self._pause

    def _poll(self) -> None:
        with self._lock:
            self._is_fetching, self._began_s = True, self._monotonic()
        try:
            self._refresh()
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._is_fetching = False
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set_result(None)

    def _refresh(self) -> None:
        try:
            content, good_s = self._fetch(self.url)
            keys = parse_key_set(content, self._name) if content != self._content else None
        except ServingError as error:
            self._failed(error)
            return
        if self._retry != _RETRY_S:
            _log.warning("The key set %s can be had again", self._name)
        self._pause = min(max(good_s, _LEAST_PAUSE_S), _MOST_PAUSE_S)
        self._retry, self._fetched_s = _RETRY_S, self._monotonic()
        if keys is not None:
            if self._content is not None:
                _log.info("The key set %s has changed", self._name)
            if not keys.keys:
                text = "Access control: %s; no token of its issuer is taken"
                _log.error(text, no_keys(self._name))
            self._content = content
            self._publish(self, keys)

    def _failed(self, error: ServingError) -> None:
        self._pause, self._retry = self._retry, min(2 * self._retry, _MOST_RETRY_S)
        if self._content is None:
            _log.error("Access control: %s; no token of its issuer is taken", error.message)
            return
        stale_s = self._monotonic() - self._fetched_s
        if stale_s < _MOST_STALE_S:
            text = "Access control: %s; the keys of %d s ago stay"
            _log.error(text, error.message, stale_s)
            return
        _log.error("Access control: %s; its keys are too old, and taken no more", error.message)
        self._content = None
        self._publish(self, None)
