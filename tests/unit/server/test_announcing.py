"""The announcer, with a core that loads what a test gives it."""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.local_sources import local_sources
from tests.shelf import HALF_PLUS_TWO, InlineProgram

from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig
from salver.config.options import Announcement, LoadProgress, ServeMode, ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import FailedPrecondition, NotFound
from salver.inference.servable import Servable
from salver.lifecycle import lateness
from salver.lifecycle.loader import LoadOptions
from salver.management.core import CoreOptions, ServerCore
from salver.server.announcing import ANNOUNCE_AFTER_S, Announcer
from salver.vocabulary.servable import ServableId

URL = "http://127.0.0.1:8501"
LONG_S = 30.0


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """A core of models `a` and `b`, and what is told of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.may_load = {"a": threading.Event(), "b": threading.Event()}
        self.broken: set[str] = set()
        self.announced: list[Announcement] = []
        self.progress: list[LoadProgress] = []
        self.has_announced = threading.Event()
        self.has_progressed = threading.Event()
        self.clock = Clock()
        self.core = ServerCore(
            self._load,
            ("tensorflow",),
            CoreOptions(
                load=LoadOptions(max_num_load_retries=0, num_initial_load_threads=2),
            ),
            local_sources(),
            on_status=lambda name: self.announcer.changed(name),
        )
        models = tuple(
            ModelConfig(name=name, base_path=str(directory / name), model_platform="tensorflow")
            for name in ("a", "b")
        )
        configuration = read_configuration(ServerOptions(rest_api_port=8501), models)
        mode = ServeMode(announce=self._announce, progress=self._progress)
        self.announcer = Announcer(self.core, configuration, mode, self.clock)
        self.models = configuration.models

    def put(self, name: str, version: int) -> None:
        (self.directory / name / str(version)).mkdir(parents=True)

    def start(self) -> None:
        self.announcer.start()
        self.core.apply(self.models, is_awaited=False)

    def _load(self, settings: LoadSettings, id: ServableId, _path: str) -> Servable:
        assert self.may_load[id.name].wait(LONG_S)
        if id.name in self.broken:
            raise FailedPrecondition("it is broken")
        return Servable(HALF_PLUS_TWO, InlineProgram)

    def _announce(self, announcement: Announcement) -> None:
        self.announced.append(announcement)
        self.has_announced.set()

    def _progress(self, progress: LoadProgress) -> None:
        self.progress.append(progress)
        self.has_progressed.set()

    def next_progress(self) -> LoadProgress:
        self.has_progressed.clear()
        assert self.has_progressed.wait(LONG_S)
        return self.progress[-1]

    def late(self, *names: str) -> bool:
        """Whether the loads of all these have been told of."""
        try:
            return all(self.core.statuses(name)[0].note is not None for name in names)
        except NotFound:
            return False

    def close(self) -> None:
        for event in self.may_load.values():
            event.set()
        self.announcer.stop()
        self.core.close(LONG_S)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    yield made
    made.close()


def test_the_last_model_to_come_is_waited_for_however_long_that_takes(world: World) -> None:
    world.put("a", 1)
    world.put("b", 1)
    world.may_load["a"].set()
    world.start()
    world.announcer.opened(URL, ["127.0.0.1:8500"])
    while world.next_progress().loading != ("b",):
        pass
    world.clock.now_s += 3600.0
    while (progress := world.next_progress()).seconds < 3600.0:
        pass
    assert progress == LoadProgress(rest_url=URL, total=2, loading=("b",), seconds=3600.0)
    assert world.announced == []
    world.may_load["b"].set()
    assert world.has_announced.wait(LONG_S)
    (announcement,) = world.announced
    assert (announcement.rest_url, announcement.grpc_address) == (URL, "127.0.0.1:8500")
    assert [model.versions for model in announcement.models] == [(1,), (1,)]


def test_a_load_that_does_not_return_holds_up_no_announcement_of_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lateness, "WARN_S", 0.05)
    world.put("a", 1)
    world.put("b", 1)
    world.start()
    world.announcer.opened(URL, ["127.0.0.1:8500"])
    while not world.late("a", "b"):
        world.next_progress()
    world.next_progress()
    assert world.announced == []  # while there is nothing to use
    world.may_load["a"].set()
    assert world.has_announced.wait(LONG_S)
    a, b = world.announced[0].models
    assert a.versions == (1,)
    assert (b.error or "").startswith("still loading since ")


def test_nothing_is_announced_before_the_server_answers(world: World) -> None:
    world.put("a", 1)
    world.put("b", 1)
    for event in world.may_load.values():
        event.set()
    world.start()
    while world.next_progress().loading:
        pass
    assert world.progress[-1].rest_url == ""
    assert world.announced == []
    world.announcer.opened(URL, [])
    assert world.has_announced.wait(LONG_S)


def test_a_model_that_failed_is_announced_with_its_error(world: World) -> None:
    world.put("a", 1)
    world.put("b", 1)
    world.broken.add("b")
    for event in world.may_load.values():
        event.set()
    world.start()
    world.announcer.opened(URL, [])
    assert world.has_announced.wait(LONG_S)
    assert [model.error for model in world.announced[0].models] == ["", "it is broken"]


def test_a_model_without_files_is_waited_for_for_a_few_seconds_only(world: World) -> None:
    world.put("a", 1)
    world.may_load["a"].set()
    world.start()
    world.announcer.opened(URL, [])
    while world.next_progress().loading != ("b",):
        pass
    assert world.announced == []
    world.clock.now_s += ANNOUNCE_AFTER_S
    assert world.has_announced.wait(LONG_S)
    assert world.announced[0].models[1].error == "no version found on disk"


class Notices(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.has_come = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "is ready" in record.getMessage():
            self.lines.append(record.getMessage())
            self.has_come.set()


@pytest.fixture
def notices() -> Iterator[Notices]:
    handler = Notices()
    logger = logging.getLogger("salver.server.announcing")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_version_that_comes_later_is_told(world: World, notices: Notices) -> None:
    world.put("a", 1)
    world.put("b", 1)
    for event in world.may_load.values():
        event.set()
    world.start()
    world.announcer.opened(URL, [])
    assert world.has_announced.wait(LONG_S)
    world.put("a", 2)
    assert notices.has_come.wait(LONG_S)
    assert notices.lines == ["a: version 2 is ready"]
    shutil.rmtree(world.directory / "b")


def test_where_nobody_is_to_be_told_there_is_no_thread(
    world: World, make_announcer: Callable[[ServeMode], Announcer]
) -> None:
    before = threading.active_count()
    announcer = make_announcer(ServeMode())
    announcer.start()
    announcer.changed("a")
    announcer.opened(URL, [])
    assert threading.active_count() == before
    announcer.stop()


@pytest.fixture
def make_announcer(world: World) -> Callable[[ServeMode], Announcer]:
    configuration = read_configuration(ServerOptions(rest_api_port=8501), world.models)
    return lambda mode: Announcer(world.core, configuration, mode)


def test_it_stops_while_models_load(world: World) -> None:
    world.put("a", 1)
    world.start()
    world.next_progress()
    world.announcer.stop()
    assert world.announced == []
    assert not [each for each in threading.enumerate() if each.name == "salver-announce"]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_a_wildcard_is_no_address_to_go_to(world: World, host: str) -> None:
    for model in world.may_load.values():
        model.set()
    world.put("a", 1)
    world.put("b", 1)
    world.announcer.opened(f"https://{host}:8501", ())
    world.start()
    assert world.has_announced.wait(LONG_S)
    (announced,) = world.announced
    assert announced.rest_url == "https://localhost:8501"
