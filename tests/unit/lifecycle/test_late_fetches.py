import logging
import queue
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.integration.serving import eventually

from salver.errors import Cancelled, ServingError, Unavailable
from salver.lifecycle import late_fetches
from salver.lifecycle.attempt import Local
from salver.lifecycle.fetching import AT_ONCE
from salver.lifecycle.late_fetches import LateFetch, LateFetches
from salver.vocabulary.servable import ServableId

WAIT_S = 10.0


class Here:
    directory = "/here"

    def close(self) -> None:
        pass


@pytest.fixture
def fetches() -> Iterator[LateFetches]:
    fetches = LateFetches()
    yield fetches
    assert fetches.close(WAIT_S)


def fetch(
    run: Callable[[LateFetch], Local],
    notes: list[str | None],
    name: str = "m",
    size_bytes: int = 10_000_000,
) -> LateFetch:
    return LateFetch(ServableId(name, 1), "far", run, size_bytes, notes.append)


def test_those_that_do_not_go_on_hold_up_others_for_a_while_only(
    fetches: LateFetches, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(late_fetches, "WARN_S", 0.05)
    monkeypatch.setattr(late_fetches, "_LOOK_S", 0.0)
    gate, outcomes = threading.Event(), queue.SimpleQueue[Local | ServingError]()

    def hang(_stage: LateFetch) -> Local:
        assert gate.wait(WAIT_S)
        return Here()

    for number in range(AT_ONCE):
        fetches.begin(fetch(hang, [], f"m{number}"), outcomes.put)
    fetches.begin(fetch(lambda _stage: Here(), [], "quick"), outcomes.put)
    assert isinstance(outcomes.get(timeout=WAIT_S), Here)
    eventually("it is told of, after the loan", lambda: "has not gone on for" in caplog.text)
    gate.set()
    for _ in range(AT_ONCE):
        assert isinstance(outcomes.get(timeout=WAIT_S), Here)


def test_a_slow_one_tells_how_far_it_is_until_it_is_over(
    fetches: LateFetches, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(late_fetches, "SLOW_S", 0.0)
    monkeypatch.setattr(late_fetches, "_LOOK_S", 0.0)
    caplog.set_level(logging.INFO)
    notes: list[str | None] = []
    outcomes = queue.SimpleQueue[Local | ServingError]()

    def run(stage: LateFetch) -> Local:
        stage.progress(2_500_000)
        return Here()

    fetches.begin(fetch(run, notes), outcomes.put)
    assert isinstance(outcomes.get(timeout=WAIT_S), Here)
    assert notes == ["fetching 2.5 of 10 MB", None]
    assert "Fetched servable version" in caplog.text


def test_one_that_is_cancelled_or_stopped_ends_where_it_asks(fetches: LateFetches) -> None:
    outcomes, begun = queue.SimpleQueue[Local | ServingError](), threading.Event()

    def wait(stage: LateFetch) -> Local:
        begun.set()
        stage.wait(WAIT_S * 10)
        return Here()

    one = fetch(wait, [])
    fetches.begin(one, outcomes.put)
    assert begun.wait(WAIT_S)
    one.cancel()
    assert isinstance(outcomes.get(timeout=WAIT_S), Cancelled)
    begun.clear()
    fetches.begin(fetch(wait, []), outcomes.put)
    assert begun.wait(WAIT_S)
    fetches.stop()
    assert isinstance(outcomes.get(timeout=WAIT_S), Unavailable)
    assert fetches.close(WAIT_S)
    fetches.begin(fetch(wait, []), outcomes.put)
    assert isinstance(outcomes.get(timeout=WAIT_S), ServingError)
