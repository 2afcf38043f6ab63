"""Puts together what files say and what is fetched: the rules in force. Any thread may call it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from salver.access.fetching import KeySetFetcher
from salver.access.key_sets import KeySet
from salver.access.keys import KeyLine
from salver.access.rules import Rules
from salver.config.auth import AuthConfig

__all__ = ["KeyFetchers"]


class KeyFetchers:
    """A fetcher for each URL of the configuration, and the rules that come of all."""

    def __init__(
        self,
        publish: Callable[[Rules], None],
        *,
        make_fetcher: Callable[..., KeySetFetcher] = KeySetFetcher,
    ) -> None:
        """Fetch nothing before `start`.

        Args:
            publish: called with other rules, from any thread, but never from two at a time. It
                may only put them somewhere: it is called under the lock that keeps their order.
            make_fetcher: makes a fetcher of a URL.
        """
        self._publish = publish
        self._make_fetcher = make_fetcher
        self._lock = threading.Lock()  # guards what follows
        self._config: AuthConfig | None = None
        self._lines: Sequence[KeyLine] = ()
        self._of_files: Mapping[str, KeySet] = {}
        self._fetched: dict[str, KeySet] = {}
        self._fetchers: dict[str, KeySetFetcher] = {}
        self._ended: list[KeySetFetcher] = []  # stopped, and perhaps still in a last fetch
        self._is_started = self._is_stopped = False

    def start(self) -> None:
        """Begin to fetch."""
        with self._lock:
            self._is_started = True
            self._follow()

    def stop(self) -> None:
        """Fetch no more; `close` waits for the threads."""
        with self._lock:
            self._is_stopped = True
            self._follow()

    def close(self, timeout_s: float) -> None:
        """Stop and wait for the threads, each for so long."""
        self.stop()
        for each in self._ended:
            each.close(timeout_s)

    def configure(
        self, config: AuthConfig, lines: Sequence[KeyLine], key_sets: Mapping[str, KeySet]
    ) -> None:
        """Take what files say by now.

        Args:
            config: the configuration.
            lines: of the key file.
            key_sets: of files, by their paths.
        """
        with self._lock:
            self._config, self._lines, self._of_files = config, lines, key_sets
            self._follow()
            self._tell()

    def fetched(self, url: str) -> "Future[None] | None":
        """Fetch the key set of a URL now; see `KeySetFetcher.fetched`.

        Raises:
            NoKeys: see there.
        """
        fetcher = self._fetchers.get(url)
        return None if fetcher is None else fetcher.fetched()

    def _follow(self) -> None:
        """Start and stop fetchers as the configuration says. Under the lock."""
        wanted: set[str] = set()
        if self._config is not None and self._is_started and not self._is_stopped:
            wanted = {each.jwks_url for each in self._config.issuers if each.jwks_url}
        for url in set(self._fetchers) - wanted:
            fetcher = self._fetchers.pop(url)
            fetcher.stop()
            self._ended = [*(each for each in self._ended if not each.has_ended), fetcher]
            self._fetched.pop(url, None)
        for url in wanted - set(self._fetchers):
            fetcher = self._fetchers[url] = self._make_fetcher(url, self._take)
            fetcher.start()

    def _take(self, fetcher: KeySetFetcher, keys: KeySet | None) -> None:
        """A key set was fetched, or is too old; from its thread."""
        with self._lock:
            if self._fetchers.get(fetcher.url) is not fetcher:  # stopped while it was fetching
                return
            if keys is None:
                self._fetched.pop(fetcher.url, None)
            else:
                self._fetched[fetcher.url] = keys
            self._tell()

    def _tell(self) -> None:
        if self._config is not None:
            self._publish(Rules(self._config, self._lines, {**self._of_files, **self._fetched}))
