import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.start_up import mark_of, read_configuration
from salver.config.text_format import read_file
from salver.errors import Cancelled, FailedPrecondition, ServingError
from salver.server.config_polling import ConfigPolling, make_config_polling

WAIT_S = 10
PERIOD_S = 7


def text(*names: str) -> str:
    entries = (
        f'config {{ name: "{name}" base_path: "/{name}" model_platform: "tensorflow" }}'
        for name in names
    )
    return f"model_config_list {{ {' '.join(entries)} }}"


class Core:
    """Takes configurations, and tells of each."""

    def __init__(self) -> None:
        self.applied: tuple[ModelConfig, ...] | None = None
        self.unloaded: frozenset[str] = frozenset()
        self.anew: list[bool] = []
        self.failing: Exception | None = None
        self.told: SimpleQueue[tuple[str, ...] | None] = SimpleQueue()

    def apply(
        self,
        models: tuple[ModelConfig, ...] | None,
        *,
        is_awaited: bool = True,
        is_anew: bool = False,
    ) -> None:
        assert not is_awaited
        self.anew.append(is_anew)
        self.told.put(None if models is None else tuple(model.name for model in models))
        if self.failing is not None:
            self.applied = None
            raise self.failing
        self.applied = models


class Bench:
    """A poll whose pauses end when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at_rest: Callable[[], None] = lambda: None  # called between two readings
        self.core = Core()
        self.pauses: SimpleQueue[float | None] = SimpleQueue()
        self.polling = ConfigPolling(
            *(str(path), PERIOD_S, self.core), is_watching=False, wait=self.wait
        )

    def begin_with(self, *names: str, mark: int | None = None) -> None:
        """Have the server start with these models, which its file has."""
        models = tuple(
            ModelConfig(name=name, base_path=f"/{name}", model_platform="tensorflow")
            for name in names
        )
        self.core.applied = models
        self.polling = ConfigPolling(
            *(str(self.path), PERIOD_S, self.core),
            begun_with=models,
            begun_mark=mark,
            is_watching=False,
            wait=self.wait,
        )

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        if timeout_s != PERIOD_S and timeout_s is not None and timeout_s < 1:
            self.at_rest()
            return False
        self.pauses.put(timeout_s)
        return event.wait(WAIT_S)

    def start(self) -> None:
        self.polling.start()
        self.until_polled()

    def poll(self) -> None:
        self.polling.poke()
        self.until_polled()

    def until_polled(self) -> None:
        assert self.pauses.get(timeout=WAIT_S) == PERIOD_S

    def told(self) -> list[tuple[str, ...] | None]:
        return [self.core.told.get() for _ in range(self.core.told.qsize())]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "models.conf")
    yield bench
    assert bench.polling.close(WAIT_S)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = ("salver.server.config_polling", "salver.sources.polling")
    return [r.getMessage() for r in caplog.records if r.name in names]


def test_first_poll_comes_at_once_and_each_change_is_applied_once(bench: Bench) -> None:
    bench.path.write_text(text("a"))
    bench.start()
    assert bench.told() == [("a",)]
    bench.poll()
    assert bench.told() == []
    bench.path.write_text(text("a", "b"))
    bench.poll()
    bench.poll()
    assert bench.told() == [("a", "b")]


def test_bytes_that_change_before_the_first_poll_are_applied_too(bench: Bench) -> None:
    bench.path.write_text(text("a"))
    mark = mark_of(bench.path.read_bytes())
    bench.begin_with("a", mark=mark)
    bench.path.write_text(text("a") + "\n")
    bench.start()
    assert bench.told() == [("a",)]


def test_the_bytes_that_the_server_began_with_are_not_applied_again(bench: Bench) -> None:
    bench.path.write_text(text("a"))
    bench.begin_with("a", mark=mark_of(bench.path.read_bytes()))
    bench.start()
    assert bench.told() == []


def test_what_start_up_has_applied_is_not_applied_again(bench: Bench) -> None:
    bench.path.write_text(text("a"))
    bench.begin_with("a")
    bench.start()
    assert bench.told() == []


def test_a_file_whose_bytes_change_loads_what_was_unloaded_though_it_says_the_same(
    bench: Bench,
) -> None:
    bench.path.write_text(text("a"))
    bench.begin_with("a")
    bench.start()
    bench.core.unloaded = frozenset("a")
    bench.poll()
    assert bench.told() == []
    bench.path.write_text(text("a") + "\n")
    bench.poll()
    assert bench.core.anew == [True]
    bench.core.unloaded = frozenset()
    bench.poll()
    assert bench.core.anew == [True]


def test_what_requests_have_changed_stays_until_the_bytes_of_the_file_change(
    bench: Bench,
) -> None:
    bench.path.write_text(text("a"))
    bench.begin_with("a")
    bench.start()
    bench.core.applied = ()
    bench.poll()
    bench.core.applied = None  # a request that was refused
    bench.poll()
    assert bench.told() == []
    bench.path.write_text(text("a") + "\n")
    bench.poll()
    assert bench.told() == [("a",)]


def test_a_file_that_has_changed_since_the_server_has_read_it_is_applied(bench: Bench) -> None:
    bench.path.write_text(text("a", "b"))
    bench.begin_with("a")
    bench.start()
    assert bench.told() == [("a", "b")]


def test_a_file_that_the_server_could_not_apply_at_its_start_is_applied(bench: Bench) -> None:
    bench.path.write_text(text("a"))
    bench.begin_with("a")
    bench.core.applied = None
    bench.start()
    assert bench.told() == [("a",)]


def test_a_change_that_could_not_be_applied_loads_what_was_unloaded_once_it_can(
    bench: Bench,
) -> None:
    bench.path.write_text(text("a"))
    bench.start()
    bench.core.unloaded = frozenset("a")
    bench.core.failing = FailedPrecondition("no such label")
    bench.path.write_text(text("a", "b"))
    bench.poll()
    bench.core.failing = None
    bench.poll()
    assert bench.core.anew[1:] == [True, True]


def test_file_is_read_once_for_each_poll(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered must be what was parsed, also of a file that changes meanwhile."""
    bench.path.write_text(text("a"))
    reads: list[str] = []

    def read_and_change(path: str) -> bytes:
        reads.append(path)
        content = read_file(path)
        bench.path.write_text(text("a" if len(reads) % 2 == 0 else "b"))
        return content

    monkeypatch.setattr("salver.server.config_polling.read_file", read_and_change)
    bench.start()
    bench.poll()
    bench.poll()
    assert bench.told() == [("a",), ("b",), ("a",)]


def test_a_yaml_file_that_is_being_written_is_not_taken_for_a_shorter_one(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "models.yaml")
    models = [f"- {{name: {name}, base_path: /{name}}}" for name in "abc"]
    bench.path.write_text("models:\n" + "\n".join(models))
    bench.start()
    assert bench.told() == [("a", "b", "c")]

    def go_on_writing() -> None:
        if "name: d" not in bench.path.read_text():
            with bench.path.open("a") as file:
                file.write("\n- {name: d, base_path: /d}")

    bench.path.write_text("models:\n" + "\n".join(models[:1]))
    bench.at_rest = go_on_writing
    bench.poll()
    assert bench.told() == [("a", "d")]
    assert bench.polling.close(WAIT_S)


def test_a_yaml_file_that_is_replaced_while_it_is_read_is_one_of_the_two(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "models.yaml")
    bench.path.write_text("models: [{name: a, base_path: /a}]")
    new = tmp_path / "new"
    new.write_text("models: [{name: b, base_path: /b}]")

    def replace() -> None:
        if new.exists():
            new.rename(bench.path)

    bench.at_rest = replace
    bench.start()
    assert bench.told() == [("b",)]
    bench.path.unlink()
    os.mkfifo(bench.path)
    bench.poll()  # which waits for nobody
    assert bench.told() == []
    assert bench.polling.close(WAIT_S)


def test_a_yaml_file_that_never_rests_keeps_no_server_from_stopping(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "models.yaml")
    has_begun = threading.Event()
    numbers = itertools.count()

    def write() -> None:
        has_begun.set()
        bench.path.write_text(f"models: [] # {next(numbers)}")

    bench.path.write_text("models: []")
    bench.at_rest = write
    bench.polling.start()
    assert has_begun.wait(WAIT_S)
    assert bench.polling.close(WAIT_S)
    assert bench.told() == []


def test_configuration_that_was_refused_is_tried_again_until_it_is_taken(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.path.write_text(text("a"))
    bench.core.failing = FailedPrecondition("no such version", hint="Versions of a: 1.")
    bench.start()
    bench.poll()
    bench.core.failing = None
    bench.poll()
    bench.poll()
    assert bench.told() == [("a",)] * 3
    assert (
        lines(caplog)
        == [
            "PollFilesystemAndReloadConfig failed to ReloadConfig: no such version "
            "(Versions of a: 1.)"
        ]
        * 2
    )


def test_bad_file_is_told_of_at_each_poll_and_nothing_is_applied(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.path.write_text(text("a"))
    bench.start()
    bench.path.write_text("model_config_lost {}")
    bench.poll()
    bench.poll()
    bench.path.unlink()
    bench.poll()
    assert bench.told() == [("a",)]
    bad = (
        f"Failed to read ModelServerConfig file: Invalid protobuf file: '{bench.path}' (1:1: "
        'Message type "tensorflow.serving.ModelServerConfig" has no field named '
        '"model_config_lost".)'
    )
    missing = f"Failed to read ModelServerConfig file: {bench.path}; No such file or directory"
    assert lines(caplog) == [bad, bad, missing]
    bench.path.write_text(text("b"))
    bench.poll()
    assert bench.told() == [("b",)]


def test_file_that_asks_for_nothing_is_no_news_where_nothing_is_served(bench: Bench) -> None:
    bench.path.write_text("# nothing yet")
    bench.start()
    assert bench.told() == []


def test_bug_ends_one_poll_and_not_the_polling(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.path.write_text(text("a"))
    bench.core.failing = KeyError("x")
    bench.start()
    bench.core.failing = None
    bench.poll()
    assert bench.told() == [("a",)] * 2
    assert lines(caplog) == [f"The poll of {bench.path} failed"]


def test_polling_ends_when_the_server_stops(bench: Bench) -> None:
    bench.path.write_text(text("a"))
    bench.core.failing = Cancelled("interrupted")
    bench.polling.start()
    bench.polling._thread.join(WAIT_S)
    assert not bench.polling._thread.is_alive()


def test_stopping_ends_the_pause(bench: Bench) -> None:
    bench.path.write_text(text("a"))
    bench.start()
    bench.polling.stop()
    assert bench.polling.close(WAIT_S)


def test_polling_that_never_began_is_closed_at_once(tmp_path: Path) -> None:
    polling = ConfigPolling(str(tmp_path / "models.conf"), PERIOD_S, Core())
    assert polling.close(0)


def test_close_gives_up_on_a_file_system_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, begun = threading.Event(), threading.Event()

    def hang(path: str) -> None:
        begun.set()
        let_go.wait(WAIT_S)
        raise ServingErrorOfTheTest

    monkeypatch.setattr("salver.server.config_polling.read_file", hang)
    polling = ConfigPolling(str(tmp_path / "absent"), PERIOD_S, Core(), is_watching=False)
    polling.start()
    assert begun.wait(WAIT_S)
    assert not polling.close(0)
    let_go.set()
    assert polling.close(WAIT_S)


class ServingErrorOfTheTest(ServingError):
    def __init__(self) -> None:
        super().__init__("gone")


class Watched:
    """A poll that never comes by itself: only the watcher wakes it."""

    def __init__(self, path: Path) -> None:
        self.core = Core()
        self.polling = ConfigPolling(str(path), 3600, self.core, wait=lambda event, _: event.wait())
        self.polling.start()

    def until_applied(self, *names: str) -> None:
        assert self.core.told.get(timeout=WAIT_S) == names

    def until_watching(self, probe: Path) -> None:
        """Change the directory until the watch, which begins at some moment, notices."""
        woken = threading.Event()
        read = self.polling._read

        def notice() -> tuple[ModelConfig, ...] | None:
            woken.set()
            return read()

        self.polling._read = notice  # type: ignore[method-assign]
        for number in range(200):
            (probe / f"probe-{number}").touch()
            if woken.wait(0.05):
                return
        pytest.fail("no change was noticed")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[list[Watched]]:
    """What watches in a test; closed when it ends."""
    opened: list[Watched] = []
    yield opened
    for each in opened:
        assert each.polling.close(WAIT_S)


def test_file_that_is_replaced_by_renaming_is_read_at_once(
    tmp_path: Path, watched: list[Watched]
) -> None:
    path = tmp_path / "models.conf"
    path.write_text(text("a"))
    watched.append(Watched(path))
    watched[0].until_applied("a")
    watched[0].until_watching(tmp_path)
    (tmp_path / "new").write_text(text("b"))
    (tmp_path / "new").rename(path)
    watched[0].until_applied("b")
    path.write_text(text("c"))
    watched[0].until_applied("c")


def test_config_map_of_kubernetes_is_read_at_once(tmp_path: Path, watched: list[Watched]) -> None:
    def put(generation: str, *names: str) -> None:
        (tmp_path / generation).mkdir()
        (tmp_path / generation / "models.conf").write_text(text(*names))
        (tmp_path / "..data_tmp").symlink_to(generation)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    put("..2026_01", "a")
    path = tmp_path / "models.conf"
    path.symlink_to("..data/models.conf")
    watched.append(Watched(path))
    watched[0].until_applied("a")
    watched[0].until_watching(tmp_path)
    put("..2026_02", "b")
    watched[0].until_applied("b")


@pytest.mark.parametrize("period_s", [PERIOD_S, 0.5])
def test_file_is_read_soon_again_while_a_watch_is_new(tmp_path: Path, period_s: float) -> None:
    pauses: SimpleQueue[float | None] = SimpleQueue()

    def wait(event: threading.Event, timeout_s: float | None) -> bool:
        pauses.put(timeout_s)
        return event.wait()

    polling = ConfigPolling(str(tmp_path / "models.conf"), period_s, Core(), wait=wait)
    polling.start()
    soon_s = min(1.0, period_s)
    for expected in (soon_s, soon_s, soon_s, period_s, period_s):
        assert pauses.get(timeout=WAIT_S) == expected
        polling.poke()
    assert polling.close(WAIT_S)


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize(
    ("options", "is_polled"),
    [
        (ServerOptions(model_config_file="f", model_config_file_poll_wait_seconds=1), True),
        (ServerOptions(model_config_file="f"), False),
        (ServerOptions(model_config_file="f", model_config_file_poll_wait_seconds=-1), False),
        (ServerOptions(model_base_path="/m", model_config_file_poll_wait_seconds=1), False),
    ],
)
def test_only_a_file_with_a_positive_period_is_polled(
    options: ServerOptions, *, is_polled: bool
) -> None:
    configuration = read_configuration(options, ())
    assert (make_config_polling(configuration, Core()) is not None) == is_polled
