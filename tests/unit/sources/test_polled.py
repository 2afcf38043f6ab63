import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.integration.serving import eventually
from tests.local_sources import local_sources

from salver.errors import NotFound, ServingError, Unavailable
from salver.instruments.cache import Cache
from salver.instruments.files import Footprint
from salver.sources.by_scheme import Sources
from salver.sources.file_system import FileSystem
from salver.sources.polled import PolledSource
from salver.sources.protocol import Fetcher, Found, MonitoredServable, Source, Version
from salver.vocabulary.servable import Latest, Specific

WAIT_S = 10
SILENCE_S = 0.05


@dataclass
class Store:
    """A source whose versions a test sets."""

    poll_wait_s: float = 3600.0
    found: dict[str, Mapping[int, Version] | ServingError] = field(default_factory=dict)
    error: Exception | None = None
    gate: threading.Event | None = None
    is_asked: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    can_resume: bool = False

    @property
    def fetcher(self) -> Fetcher:
        return self

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        self.asked.append(tuple(servable.name for servable in servables))
        self.is_asked.set()
        if self.gate is not None:
            assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        for servable in servables:
            if servable.name in self.found:
                yield servable, self.found[servable.name]

    def fetch(self, *_what: Any) -> None:
        raise NotImplementedError


class Bench:
    """Sources with two stores, and what they aspired to."""

    def __init__(self, *, is_started: bool = True) -> None:
        self.aspired: dict[str, dict[int, str]] = {}
        self.times: dict[str, int] = {}
        self.changed = threading.Condition()
        self.stores = {"far": Store(), "dead": Store()}
        self.sources = Sources(
            FileSystem(),
            lambda: Cache("/nowhere"),
            is_watching=False,
            make=self.stores.get,
        )
        self.sources.connect(self.aspire)
        if is_started:
            self.sources.start()

    def aspire(self, name: str, versions: Mapping[int, str]) -> None:
        with self.changed:
            self.aspired[name] = dict(versions)
            self.times[name] = self.times.get(name, 0) + 1
            self.changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_S)

    def polled(self, scheme: str) -> None:
        """Have a store polled, in this thread."""
        self.sources._polled[scheme]._poll()  # type: ignore[union-attr]


def model(name: str, scheme: str = "far") -> MonitoredServable:
    return MonitoredServable(name, f"{scheme}://{name}", Latest())


def version(name: str, number: int, revision: str = "") -> dict[int, Version]:
    return {number: Version(f"far://{name}/{number}", Footprint(1, 10, 0, 0), revision)}


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for store in bench.stores.values():
        if store.gate is not None:
            store.gate.set()
    assert bench.sources.close(WAIT_S)


def test_the_source_for_a_scheme_finds_its_models_alone(bench: Bench) -> None:
    bench.stores["far"].found["m"] = version("m", 1)
    bench.sources.reconfigure([model("m"), MonitoredServable("n", "/nowhere", Latest())])
    bench.until(lambda: bench.aspired == {"m": {1: "far://m/1"}})
    assert set(bench.stores["far"].asked) == {("m",)}
    assert bench.stores["dead"].asked == []


def test_a_source_that_hangs_or_fails_holds_up_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stores["dead"].gate = threading.Event()
    bench.sources.reconfigure([model("d", "dead")])
    assert bench.stores["dead"].is_asked.wait(WAIT_S)
    bench.stores["far"].found["m"] = version("m", 1)
    bench.sources.reconfigure([model("d", "dead"), model("m")])
    bench.until(lambda: "m" in bench.aspired)
    bench.sources.reconfigure([model("m")])
    bench.until(lambda: bench.aspired["d"] == {})
    assert not bench.sources.close(0)
    bench.stores["dead"].error = Unavailable("away")
    bench.stores["dead"].gate.set()
    assert bench.sources.close(WAIT_S)
    assert caplog.messages[-1].endswith("error: away")


def test_what_cannot_be_told_of_stays_as_it_was(bench: Bench) -> None:
    store = bench.stores["far"]
    store.found |= {"m": version("m", 1), "n": version("n", 1)}
    bench.sources.reconfigure([model("m"), model("n")])
    bench.until(lambda: len(bench.aspired) == 2)
    store.found = {"m": NotFound("gone")}
    bench.polled("far")
    store.error = Unavailable("away")
    bench.polled("far")
    assert bench.times == {"m": 1, "n": 1}
    assert bench.sources.look("far://m/1").size_bytes == 10


def test_files_of_another_revision_look_otherwise_and_move_nothing(bench: Bench) -> None:
    store = bench.stores["far"]
    store.found["m"] = version("m", 1, "a")
    bench.sources.reconfigure([model("m")])
    bench.until(lambda: "m" in bench.aspired)
    looked = bench.sources.look("far://m/1")
    store.found["m"] = version("m", 1, "b")
    bench.polled("far")
    assert bench.sources.look("far://m/1") != looked
    assert bench.times == {"m": 1}


def test_a_version_that_is_listed_no_more_cannot_be_looked_at(bench: Bench) -> None:
    bench.stores["far"].found["m"] = version("m", 1)
    bench.sources.reconfigure([model("m")])
    bench.until(lambda: "m" in bench.aspired)
    bench.stores["far"].found["m"] = version("m", 2)
    bench.polled("far")
    assert bench.aspired["m"] == {2: "far://m/2"}
    for location in ("far://m/1", "odd://m/1"):
        with pytest.raises(NotFound, match="is not there any more"):
            bench.sources.look(location)


def test_a_model_that_moves_to_another_source_is_not_given_up_meanwhile(bench: Bench) -> None:
    bench.stores["far"].found["m"] = version("m", 1)
    bench.sources.reconfigure([model("m")])
    bench.until(lambda: "m" in bench.aspired)
    bench.stores["dead"].gate = threading.Event()
    bench.sources.reconfigure([model("m", "dead")])
    assert bench.aspired["m"] == {1: "far://m/1"}


def test_versions_are_known_without_waiting_for_a_store(bench: Bench) -> None:
    bench.stores["far"].found["m"] = version("m", 3)
    bench.sources.reconfigure([model("m")])
    bench.until(lambda: "m" in bench.aspired)
    assert list(bench.sources.versions(model("m"))) == [3]
    assert list(bench.sources.versions(model("n"))) == []
    asked_for = MonitoredServable("m", "far://m", Specific((8,)))
    assert list(bench.sources.versions(asked_for)) == [8]


def test_a_source_is_made_when_a_model_names_it_and_once(bench: Bench) -> None:
    made: list[str] = []

    def make(scheme: str) -> Source | None:
        made.append(scheme)
        return None

    sources = Sources(FileSystem(), lambda: Cache("/nowhere"), make=make)
    sources.connect(bench.aspire)
    assert sources.unreachable("/m") is sources.unreachable("file:///m") is None
    assert made == []
    for path in ("odd://a", "ODD://b"):
        error = sources.unreachable(path)
        assert error is not None
        assert f"(file: '{path}')" in error.message
    assert made == ["odd"]


def test_an_import_that_hangs_holds_up_no_stop() -> None:
    importing, answers = threading.Event(), threading.Event()

    def hang(_scheme: str) -> Source | None:
        importing.set()
        assert answers.wait(WAIT_S)
        return None

    sources = local_sources()
    sources._make = hang
    sources.connect(lambda _name, _versions: None)
    thread = threading.Thread(target=sources.unreachable, args=("odd://m",))
    thread.start()
    assert importing.wait(WAIT_S)
    assert sources.close(WAIT_S)
    answers.set()
    thread.join(WAIT_S)


class Kept:
    """A source whose cache has something, and what was said to be stale."""

    def __init__(self) -> None:
        self.store = Store()
        self.kept: dict[str, Mapping[int, Version]] = {}
        self.aspired: dict[str, dict[int, str]] = {}
        self.stale: dict[str, list[int]] = {}
        self.polled = PolledSource(
            self.store,
            lambda name, versions: self.aspired.update({name: dict(versions)}),
            name="test",
            kept=lambda servable: self.kept.get(servable.name, {}),
            on_stale=lambda name, versions: self.stale.update({name: sorted(versions)}),
            answer_s=SILENCE_S,
        )

    def poll(self) -> None:
        self.polled._poll()


@pytest.mark.parametrize("is_of_all", [False, True])
def test_what_was_kept_is_wanted_while_the_source_cannot_tell_and_stale_until_it_can(
    is_of_all: bool,
) -> None:
    bench = Kept()
    bench.kept = {"m": version("m", 1)}
    bench.polled.reconfigure([model("m"), model("n")])
    error = Unavailable("away")
    if is_of_all:
        bench.store.error = error
    else:
        bench.store.found = {"m": error, "n": error}
    for _ in range(2):
        bench.poll()
        assert bench.aspired == {"m": {1: "far://m/1"}}
        assert bench.stale == {"m": [1]}
    assert bench.polled.version("far://m/1") is not None
    bench.store.error, bench.store.found = None, {"m": version("m", 1) | version("m", 2)}
    bench.poll()
    assert bench.aspired["m"] == {1: "far://m/1", 2: "far://m/2"}
    assert bench.stale == {"m": []}
    bench.store.found = {"m": Unavailable("away again")}
    bench.poll()
    assert bench.stale == {"m": []}  # what was found once stays as it was


@pytest.fixture
def hanging() -> Iterator[Kept]:
    """A source whose cache has version 1, and that says nothing until its gate opens."""
    bench = Kept()
    bench.kept = {"m": version("m", 1)}
    bench.store.gate = threading.Event()
    yield bench
    bench.store.gate.set()
    assert bench.polled.close(WAIT_S)


def test_what_was_kept_is_wanted_while_the_source_hangs_and_then_what_it_finds(
    hanging: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    hanging.store.found = {"m": version("m", 2)}
    hanging.polled.reconfigure([model("m")])
    hanging.polled.start()
    eventually("it is wanted", lambda: hanging.polled.known("m"))
    assert (hanging.aspired, hanging.stale) == ({"m": {1: "far://m/1"}}, {"m": [1]})
    assert "its store has not answered for 0.05 s: version 1" in caplog.text
    assert hanging.store.gate is not None
    hanging.store.gate.set()
    eventually("the store is back", lambda: hanging.stale == {"m": []})
    eventually("what it has is wanted", lambda: hanging.aspired == {"m": {2: "far://m/2"}})


def test_a_model_that_is_configured_while_the_source_hangs_is_served_as_kept_too(
    hanging: Kept,
) -> None:
    hanging.polled.reconfigure([model("m")])
    hanging.polled.start()
    eventually("it is wanted", lambda: "m" in hanging.aspired)
    hanging.kept = {**hanging.kept, "n": version("n", 7)}
    hanging.polled.reconfigure([model("m"), model("n")])
    eventually("so is the other", lambda: hanging.aspired.get("n") == {7: "far://n/7"})
    assert len(hanging.store.asked) == 1


def test_what_is_served_is_not_touched_while_the_source_hangs(hanging: Kept) -> None:
    assert hanging.store.gate is not None
    hanging.store.gate.set()
    hanging.store.found = {"m": version("m", 2)}
    hanging.polled.reconfigure([model("m")])
    hanging.polled.start()
    eventually("it is wanted", lambda: hanging.aspired == {"m": {2: "far://m/2"}})
    hanging.store.gate.clear()
    hanging.store.is_asked.clear()
    hanging.kept = {**hanging.kept, "n": version("n", 7)}
    hanging.polled.reconfigure([model("m"), model("n")])
    eventually("the other is served as kept", lambda: "n" in hanging.aspired)
    assert hanging.aspired["m"] == {2: "far://m/2"}
    assert "m" not in hanging.stale


def test_what_has_other_files_by_now_stays_stale() -> None:
    bench = Kept()
    bench.kept = {"m": version("m", 1, "old") | version("m", 2)}
    bench.store.found = {"m": Unavailable("away")}
    bench.polled.reconfigure([model("m")])
    bench.poll()
    bench.store.found = {"m": version("m", 1, "new") | version("m", 2)}
    bench.poll()
    assert bench.stale == {"m": [1]}


def test_a_model_that_goes_is_stale_no_more() -> None:
    bench = Kept()
    bench.kept = {"m": version("m", 1)}
    bench.store.error = Unavailable("away")
    bench.polled.reconfigure([model("m")])
    bench.poll()
    bench.polled.reconfigure([model("n")])
    assert bench.stale == {"m": []}


def test_an_error_that_keeps_several_models_from_being_found_is_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    error = Unavailable("the store is away")
    bench.stores["far"].found |= {"m": error, "n": error}
    bench.sources.reconfigure([model("m"), model("n")])
    bench.until(lambda: bool(bench.stores["far"].asked))
    bench.sources.close(WAIT_S)
    caplog.clear()
    bench.polled("far")
    assert len([text for text in caplog.messages if "the store is away" in text]) == 1


@pytest.fixture
def coming() -> Iterator[Bench]:
    """A server that is made yet: its models are not applied."""
    bench = Bench(is_started=False)
    bench.stores["far"].found = {"a": version("a", 1), "b": version("b", 2)}
    bench.sources.look_ahead([model("a"), model("b")])
    assert bench.stores["far"].is_asked.wait(WAIT_S)
    yield bench
    assert bench.sources.close(WAIT_S)


def test_a_store_is_asked_before_its_models_are_applied_and_once(coming: Bench) -> None:
    assert coming.aspired == {}
    coming.sources.reconfigure([model("a"), model("b")])
    coming.sources.start()
    coming.until(lambda: coming.aspired.keys() == {"a", "b"})
    assert coming.stores["far"].asked == [("a", "b")]
    assert coming.times == {"a": 1, "b": 1}


def test_what_was_looked_at_ahead_and_is_not_applied_is_never_told_of(coming: Bench) -> None:
    coming.sources.reconfigure([model("b")])
    coming.sources.start()
    coming.until(lambda: coming.stores["far"].asked[-1] == ("b",) and "b" in coming.aspired)
    assert "a" not in coming.aspired


def test_an_error_that_was_found_ahead_is_told_when_the_models_are_applied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(is_started=False)
    bench.stores["far"].error = Unavailable("away")
    bench.sources.look_ahead([model("a")])
    assert bench.stores["far"].is_asked.wait(WAIT_S)
    assert "away" not in caplog.text
    bench.sources.reconfigure([model("a")])
    bench.sources.start()
    assert bench.sources.close(WAIT_S)
    assert "away" in caplog.text


def test_a_server_that_fails_to_start_waits_for_no_look_ahead(coming: Bench) -> None:
    assert coming.sources.close(WAIT_S)
    assert coming.aspired == {}


def test_models_of_this_machine_are_not_looked_at_ahead() -> None:
    bench = Bench(is_started=False)
    bench.sources.look_ahead([MonitoredServable("m", "/nowhere", Latest())])
    assert bench.sources._ahead is None
    assert bench.sources.close(WAIT_S)
