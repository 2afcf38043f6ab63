import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.local_sources import local_sources
from tests.toy_source import ToySource

from salver.instruments.cache import Cache
from salver.sources.by_scheme import Sources
from salver.sources.file_system import FileSystem
from salver.sources.polled import PolledSource
from salver.sources.protocol import MonitoredServable, Version
from salver.vocabulary.servable import All, Latest, VersionPolicy

WAIT_S = 10


class Turns:
    """Stands in for the passing of time: each `next` is the end of one wait."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self._waiting = threading.Semaphore(0)
        self._over = threading.Semaphore(0)

    def wait(self, wake: threading.Event, timeout_s: float | None) -> bool:
        self.timeouts.append(timeout_s)
        self._waiting.release()
        assert self._over.acquire(timeout=WAIT_S)
        return wake.is_set()

    def until_waiting(self) -> None:
        """Until the poll that runs is over."""
        assert self._waiting.acquire(timeout=WAIT_S)

    def next(self) -> None:
        """End the wait, and return after the poll that follows."""
        self._over.release()
        self.until_waiting()

    def end(self) -> None:
        self._over.release()


@dataclass(frozen=True)
class Found:
    """What a recheck found."""

    directories: tuple[str, ...] = ()
    again_s: float | None = None


class Bench:
    """A source over a directory of models, and what it aspired to."""

    def __init__(self, root: Path, poll_wait_seconds: int = 1) -> None:
        self.root = root
        self.aspired: list[tuple[str, dict[int, str]]] = []
        self.recheck: Callable[[], Found] = Found
        self.turns = Turns()
        self.source = local_sources(poll_wait_seconds, wait=self.turns.wait)
        self.source.connect(self.aspire, lambda: self.recheck())

    def aspire(self, name: str, versions: Mapping[int, str]) -> None:
        self.aspired.append((name, dict(versions)))

    def model(
        self, name: str, *versions: str, policy: VersionPolicy | None = None
    ) -> MonitoredServable:
        (self.root / name).mkdir(exist_ok=True)
        for version in versions:
            (self.root / name / version).mkdir(exist_ok=True)
        return MonitoredServable(name, str(self.root / name), policy or Latest())

    @property
    def local(self) -> PolledSource:
        return local_of(self.source)

    def start(self, *servables: MonitoredServable) -> None:
        self.source.reconfigure(servables)
        self.source.start()
        self.turns.until_waiting()

    def versions(self, name: str, *versions: str) -> tuple[str, dict[int, str]]:
        return name, {int(version): str(self.root / name / version) for version in versions}

    def since(self) -> list[tuple[str, dict[int, str]]]:
        found, self.aspired = self.aspired, []
        return found


def local_of(source: Sources) -> PolledSource:
    local = source._polled[""]
    assert isinstance(local, PolledSource)
    return local


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.turns.end()
    bench.source.close()


def warnings(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_first_poll_aspires_to_what_is_there(bench: Bench) -> None:
    bench.start(bench.model("a", "1", "2"), bench.model("b", "7"))
    assert bench.since() == [bench.versions("a", "2"), bench.versions("b", "7")]


def test_nothing_is_said_while_nothing_changes(bench: Bench) -> None:
    bench.start(bench.model("m", "1"))
    bench.since()
    bench.turns.next()
    assert bench.since() == []
    assert bench.turns.timeouts == [1.0, 1.0]


def test_versions_come_and_go(bench: Bench, tmp_path: Path) -> None:
    bench.start(bench.model("m", "1"))
    bench.since()
    bench.model("m", "2")
    bench.turns.next()
    assert bench.since() == [bench.versions("m", "2")]
    shutil.rmtree(tmp_path / "m" / "2")
    bench.turns.next()
    assert bench.since() == [bench.versions("m", "1")]
    shutil.rmtree(tmp_path / "m" / "1")
    bench.turns.next()
    assert bench.since() == [("m", {})]


def test_missing_base_path_keeps_its_model_as_it_is_and_holds_up_no_other(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start(bench.model("a", "1"), bench.model("b", "1"))
    bench.since()
    shutil.rmtree(tmp_path / "a")
    bench.model("b", "2")
    bench.turns.next()
    assert bench.since() == [bench.versions("b", "2")]
    bench.turns.next()
    assert warnings(caplog, logging.ERROR) == 2 * [
        "FileSystemStoragePathSource encountered a filesystem access error: Could not find base "
        f"path {tmp_path / 'a'} for servable a with error NOT_FOUND: {tmp_path / 'a'} not found"
    ]


def test_base_path_that_appears_is_taken_up(bench: Bench, tmp_path: Path) -> None:
    bench.start(MonitoredServable("m", str(tmp_path / "m"), Latest()))
    assert bench.since() == []
    bench.model("m", "1")
    bench.turns.next()
    assert bench.since() == [bench.versions("m", "1")]


def test_base_path_that_cannot_be_read_is_an_error_of_its_model_alone(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    bench.start(MonitoredServable("f", str(tmp_path / "file"), Latest()), bench.model("m", "1"))
    assert bench.since() == [bench.versions("m", "1")]
    assert warnings(caplog, logging.ERROR) == [
        "FileSystemStoragePathSource encountered a filesystem access error: "
        f"{tmp_path / 'file'}; Not a directory"
    ]


def test_models_gone_from_the_configuration_are_given_up_at_once(bench: Bench) -> None:
    a, b = bench.model("a", "1"), bench.model("b", "1")
    bench.start(a, b)
    bench.since()
    bench.source.reconfigure([b])
    assert bench.since() == [("a", {})]
    bench.turns.next()
    assert bench.since() == []


def test_changed_policy_is_followed_at_the_next_poll_even_if_it_asks_for_the_same(
    bench: Bench,
) -> None:
    bench.start(bench.model("m", "1"))
    bench.since()
    bench.source.reconfigure([bench.model("m", policy=All())])
    assert bench.since() == []
    bench.turns.next()
    assert bench.since() == [bench.versions("m", "1")]


def test_the_same_configuration_again_changes_nothing(bench: Bench) -> None:
    servable = bench.model("m", "1")
    bench.start(servable)
    bench.since()
    bench.source.reconfigure([servable])
    assert not bench.local._wake.is_set()
    bench.turns.next()
    assert bench.since() == []


def test_poll_that_began_before_a_reconfiguration_says_nothing_of_what_is_gone(
    bench: Bench,
) -> None:
    old = bench.model("m", "1")
    bench.start(old)
    bench.since()
    bench.source.reconfigure([])
    bench.local._report(old, {2: Version("/m/2")})
    assert bench.since() == [("m", {})]


def test_poll_period_zero_polls_once_for_each_configuration(tmp_path: Path) -> None:
    bench = Bench(tmp_path, poll_wait_seconds=0)
    bench.start(bench.model("m", "1"))
    assert bench.turns.timeouts == [None]
    assert bench.since() == [bench.versions("m", "1")]
    bench.source.reconfigure([bench.model("m", policy=All())])
    assert bench.local._wake.is_set()
    bench.recheck = lambda: Found(again_s=0.25)
    bench.turns.next()
    assert bench.turns.timeouts == [None, None]
    bench.turns.end()
    bench.source.close()


def test_negative_poll_period_never_polls(tmp_path: Path) -> None:
    bench = Bench(tmp_path, poll_wait_seconds=-1)
    bench.source.reconfigure([bench.model("m", "1")])
    bench.source.start()
    bench.source.close()
    assert bench.since() == []


def test_source_that_never_started_can_be_closed(tmp_path: Path) -> None:
    Bench(tmp_path).source.close()


def test_poll_comes_by_earlier_when_files_were_seen_to_change(bench: Bench) -> None:
    bench.start(bench.model("m", "1"))
    bench.recheck = lambda: Found(again_s=0.25)
    bench.turns.next()
    bench.recheck = lambda: Found(again_s=60)
    bench.turns.next()
    bench.recheck = Found
    bench.turns.next()
    assert bench.turns.timeouts == [1.0, 0.25, 1.0, 1.0]


def test_close_gives_up_on_a_file_system_that_hangs(bench: Bench) -> None:
    hanging, answers = threading.Event(), threading.Event()

    def hang() -> Found:
        hanging.set()
        assert answers.wait(WAIT_S)
        return Found()

    bench.start(bench.model("m", "1"))
    bench.recheck = hang
    bench.turns.end()
    assert hanging.wait(WAIT_S)
    assert not bench.source.close(timeout_s=0)
    answers.set()
    bench.turns.until_waiting()
    bench.turns.end()
    assert bench.source.close(timeout_s=WAIT_S)


def test_nothing_is_aspired_to_after_the_stop(bench: Bench) -> None:
    servable = bench.model("m", "1")
    bench.start(servable)
    bench.since()
    bench.source.stop()
    bench.local._report(servable, {2: Version("/m/2")})
    assert bench.since() == []


def test_failure_nobody_foresaw_ends_no_polling(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Found:
        raise RuntimeError("broken")

    bench.recheck = broken
    bench.start()
    bench.source.reconfigure([bench.model("m", "1")])
    bench.turns.next()
    assert bench.since() == [bench.versions("m", "1")]
    assert "The poll failed" in caplog.text


class Watched:
    """A source that only a change on disk can wake."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aspired: dict[str, dict[int, str]] = {}
        self.rechecks = 0
        self.troubled: tuple[str, ...] = ()
        self.changed = threading.Condition()
        self.source = local_sources(3600, is_watching=True)
        self.source.connect(self.aspire, self.recheck)

    def aspire(self, name: str, versions: Mapping[int, str]) -> None:
        with self.changed:
            self.aspired[name] = dict(versions)
            self.changed.notify_all()

    def recheck(self) -> Found:
        with self.changed:
            self.rechecks += 1
            self.changed.notify_all()
        return Found(self.troubled)

    def until(self, condition: Callable[[], bool], nudge: Callable[[int], object]) -> None:
        """Until it holds; the watch begins at some moment, so the change is made repeatedly."""
        with self.changed:
            for number in range(200):
                nudge(number)
                if self.changed.wait_for(condition, 0.05):
                    return
        pytest.fail("the change was not noticed")


def test_new_version_wakes_the_poll_before_its_time(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    unknown = MonitoredServable("u", "gs://bucket/u", Latest())
    watched.source.reconfigure([MonitoredServable("m", str(tmp_path), Latest()), unknown])
    watched.source.start()
    watched.until(
        lambda: max(watched.aspired.get("m", {0: ""}), default=0) > 3,
        lambda n: (tmp_path / str(n)).mkdir(),
    )
    watched.source.close()


def test_change_inside_a_version_that_failed_wakes_the_poll(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    variables = tmp_path / "1" / "variables"
    variables.mkdir(parents=True)
    watched.troubled = (str(tmp_path / "1"),)
    watched.source.reconfigure([MonitoredServable("m", str(tmp_path), Latest())])
    watched.source.start()
    watched.until(lambda: watched.rechecks > 2, lambda n: (variables / f"data-{n}").touch())
    watched.source.close()


def test_base_path_made_anew_is_watched_anew(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    base = tmp_path / "m"
    base.mkdir()
    watched.source.reconfigure([MonitoredServable("m", str(base), Latest())])
    watched.source.start()
    # Two polls come by themselves, the second of which begins the watch.
    watched.until(lambda: watched.rechecks > 2, lambda n: (base / f"x{n}").touch())
    shutil.rmtree(base)
    base.mkdir()
    watched.source.poke()  # a poll may just have found it missing; the next is an hour away
    known = watched.aspired["m"]
    watched.until(lambda: watched.aspired["m"] != known, lambda n: (base / str(n)).mkdir())
    watched.source.close()


class NoStage:
    """A fetch that nobody watches."""

    def check(self) -> None:
        return

    def progress(self, done_bytes: int) -> None:
        return

    def wait(self, seconds: float) -> None:
        return


def test_it_is_known_where_a_version_was_fetched_from_while_it_is_here(tmp_path: Path) -> None:
    version = tmp_path / "store" / "1"
    version.mkdir(parents=True)
    (version / "model").write_bytes(bytes(10))
    location = f"toy://{version}"
    is_found = threading.Event()
    source = Sources(
        FileSystem(-1), lambda: Cache(tmp_path / "cache"), make=lambda _scheme: ToySource()
    )
    source.connect(lambda _name, _versions: is_found.set())
    source.reconfigure([MonitoredServable("m", f"toy://{version.parent}", Latest())])
    source.start()
    assert is_found.wait(WAIT_S)
    fetched = source.fetch(1, location, NoStage())
    again = source.fetch(1, location, NoStage())
    directory = fetched.directory
    assert source.origin(directory) == location
    assert source.origin(str(version)) == ""
    fetched.close()
    del fetched
    assert source.origin(directory) == location
    again.close()
    del again
    assert source.origin(directory) == ""
    source.close()
