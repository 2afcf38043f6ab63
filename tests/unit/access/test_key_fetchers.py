import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.issuers import jwk, key_set, private_key

from salver.access.fetching import KeySetFetcher
from salver.access.key_fetchers import KeyFetchers
from salver.access.key_sets import KeySet, parse_key_set
from salver.access.keys import new_key
from salver.access.rules import Rules
from salver.config.auth import AuthConfig, JwtIssuer

WAIT_S = 10
CONTENT = key_set(jwk("RS256", private_key("RS256"), kid="1"))
KEYS = parse_key_set(CONTENT, "set")


def config(*urls: str) -> AuthConfig:
    issuers = tuple(JwtIssuer(f"of {url}", "a", "", url, ("RS256",)) for url in urls)
    return AuthConfig("/auth.yaml", issuers=issuers)


class Bench:
    """Key sets under names of this test, and what is said of them."""

    def __init__(self) -> None:
        self.rules: list[Rules] = []
        self.has_keys = threading.Semaphore(0)
        self.made: list[str] = []
        self.all: list[KeySetFetcher] = []
        self.take: Callable[[KeySetFetcher, KeySet | None], None] = lambda *_: None
        self.hanging: list[threading.Event] = []
        self.is_hanging = threading.Semaphore(0)
        self.fetchers = KeyFetchers(self.publish, make_fetcher=self.make)

    def make(self, url: str, take: Callable[[KeySetFetcher, KeySet | None], None]) -> KeySetFetcher:
        self.made.append(url)
        self.take = take
        lets_go = self.hanging.pop() if self.hanging else None

        def fetch(_url: str) -> tuple[bytes, float]:
            if lets_go is not None:
                self.is_hanging.release()
                assert lets_go.wait(WAIT_S)
            return CONTENT, 300.0

        wait: Any = threading.Event.wait
        self.all.append(KeySetFetcher(url, take, fetch=fetch, wait=wait))
        return self.all[-1]

    def publish(self, rules: Rules) -> None:
        self.rules.append(rules)
        if rules.key_sets:
            self.has_keys.release()

    def known(self) -> list[str]:
        return sorted(self.rules[-1].key_sets)

    def until(self, *urls: str) -> None:
        while self.known() != list(urls):
            assert self.has_keys.acquire(timeout=WAIT_S)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.fetchers.close(WAIT_S)
    names = [thread.name for thread in threading.enumerate()]
    assert "salver-key-set" not in names


def test_nothing_is_fetched_before_the_start(bench: Bench) -> None:
    bench.fetchers.configure(config("u"), (), {})
    assert bench.made == []
    assert bench.rules[-1].trusted[0].keys is None
    assert bench.fetchers.fetched("u") is None


def test_what_is_fetched_comes_to_what_files_say(bench: Bench) -> None:
    line = new_key("a", "r")[1]
    bench.fetchers.configure(config("u"), (line,), {"file": KEYS})
    bench.fetchers.start()
    bench.until("file", "u")
    assert bench.rules[-1].lines == (line,)
    assert bench.rules[-1].trusted[0].keys is not None


def test_a_change_of_files_keeps_what_was_fetched(bench: Bench) -> None:
    bench.fetchers.start()
    bench.fetchers.configure(config("u"), (), {})
    bench.until("u")
    bench.fetchers.configure(config("u"), (new_key("a", "r")[1],), {})
    assert bench.known() == ["u"]
    assert bench.made == ["u"]


def test_another_url_is_fetched_in_place_of_one_that_is_gone(bench: Bench) -> None:
    bench.fetchers.start()
    bench.fetchers.configure(config("u", "v"), (), {})
    bench.until("u", "v")
    bench.fetchers.configure(config("v", "w"), (), {})
    bench.until("v", "w")
    assert sorted(bench.made) == ["u", "v", "w"]
    assert bench.fetchers.fetched("u") is None


def test_what_comes_late_of_a_url_that_is_gone_is_let_go(bench: Bench) -> None:
    bench.fetchers.start()
    bench.fetchers.configure(config("u"), (), {})
    bench.until("u")
    bench.fetchers.configure(config(), (), {})
    bench.take(bench.all[0], KEYS)
    assert bench.known() == []


def test_a_fetch_that_began_before_its_issuer_was_gone_for_a_while_changes_nothing(
    bench: Bench,
) -> None:
    bench.fetchers.start()
    for urls in (["u"], [], ["u"]):
        bench.fetchers.configure(config(*urls), (), {})
    old, new = bench.all
    bench.until("u")
    bench.take(new, KEYS)
    for keys in (KeySet(()), None):  # of before
        bench.take(old, keys)
        assert bench.rules[-1].key_sets == {"u": KEYS}


def test_fetchers_that_have_ended_are_not_kept(bench: Bench) -> None:
    bench.fetchers.start()
    for _ in range(50):
        bench.fetchers.configure(config("u"), (), {})
        bench.fetchers.configure(config(), (), {})
        assert bench.all[-1].close(WAIT_S)
    assert len(bench.fetchers._ended) <= 1


def test_fetchers_whose_last_fetch_hangs_are_waited_for_in_the_end(bench: Bench) -> None:
    lets_go = threading.Event()
    bench.fetchers.start()
    for _ in range(3):
        bench.hanging.append(lets_go)
        bench.fetchers.configure(config("u"), (), {})
        assert bench.is_hanging.acquire(timeout=WAIT_S)
        bench.fetchers.configure(config(), (), {})
    bench.fetchers.close(0)
    assert not any(each.has_ended for each in bench.all)
    lets_go.set()
    bench.fetchers.close(WAIT_S)
    assert all(each.has_ended for each in bench.all)


def test_keys_that_are_too_old_are_gone(bench: Bench) -> None:
    bench.fetchers.start()
    bench.fetchers.configure(config("u"), (), {})
    bench.until("u")
    bench.take(bench.all[0], None)
    assert bench.rules[-1].trusted[0].keys is None


def test_after_the_stop_nothing_is_begun(bench: Bench) -> None:
    bench.fetchers.start()
    bench.fetchers.stop()
    bench.fetchers.configure(config("u"), (), {})
    assert bench.made == []
