from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.serving import eventually
from tests.local_sources import local_sources
from tests.shelf import HALF_PLUS_TWO, InlineProgram

from salver.config.model_options import LoadSettings
from salver.config.options import ServerOptions
from salver.errors import DataLoss, NotFound
from salver.inference.servable import Servable
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.lifecycle.placeholders import NotLoaded
from salver.management.core import CoreOptions, ServerCore
from salver.management.lazy import LazyModels, is_lazy
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

WAIT_S = 10.0
A = ServableId("a", 1)
INFO = ModelInfo(HALF_PLUS_TWO.signatures, HALF_PLUS_TWO.definitions)


class Loader:
    """Loads half plus two from wherever it is."""

    def __init__(self) -> None:
        self.info: ModelInfo | None = INFO
        self.refusal: Exception | None = None
        self.failure: Exception | None = None
        self.loads: list[ServableId] = []

    def inspect(self, settings: LoadSettings, directory: str) -> ModelInfo | None:
        assert settings == LoadSettings("tensorflow")
        assert Path(directory).is_dir()
        if self.refusal is not None:
            raise self.refusal
        return self.info

    def __call__(self, settings: LoadSettings, id: ServableId, directory: str) -> Servable:
        assert settings == LoadSettings("tensorflow")
        assert Path(directory).is_dir()
        self.loads.append(id)
        if self.failure is not None:
            raise self.failure
        return Servable(HALF_PLUS_TWO, InlineProgram)


class Bench:
    def __init__(self, root: Path, options: ServerOptions) -> None:
        self.root = root
        self.loader = Loader()
        self.lazy = LazyModels(self.loader, options, clock=lambda: 0.0)

    def publish(self, name: str, version: int = 1) -> ServableId:
        id = ServableId(name, version)
        directory = self.root / name / str(version)
        directory.mkdir(parents=True)
        self.lazy.serving.publish(id, self.lazy(LoadSettings("tensorflow"), id, str(directory)))
        return id

    def ask(self, name: str, version: int | None = None) -> None:
        try:
            self.lazy.serving.acquire(name, version).release()
        except NotLoaded as not_loaded:
            with not_loaded.claim() as claim:
                claim.loading.result(WAIT_S)
                self.lazy.serving.acquire(name, version).release()

    def status(self, id: ServableId) -> VersionStatus:
        return self.lazy.described(VersionStatus(id, VersionState.AVAILABLE))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, ServerOptions(max_loaded_models=1))
    yield bench
    assert bench.lazy.residency.close(WAIT_S)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ServerOptions(), False),
        (ServerOptions(lazy_load_models=True), True),
        (ServerOptions(max_loaded_models=3), True),
    ],
)
def test_a_limit_alone_makes_loads_lazy(options: ServerOptions, expected: bool) -> None:
    assert is_lazy(options) is expected


def test_a_version_is_published_before_it_is_loaded(bench: Bench) -> None:
    bench.publish("a")
    with pytest.raises(NotLoaded) as caught:
        bench.lazy.serving.acquire("a")
    assert caught.value.info == INFO
    assert bench.loader.loads == []
    assert bench.lazy.serving.in_flight() == {A: 0}


def test_what_is_acquired_is_the_model(bench: Bench) -> None:
    bench.publish("a")
    bench.ask("a")
    bench.lazy.serving.assign_labels({"a": {"stable": 1}}, {})
    serving = bench.lazy.serving
    handles = [serving.acquire("a"), serving.acquire("a", 1), serving.acquire_label("a", "stable")]
    assert serving.in_flight() == {A: 3}
    for handle in handles:
        assert handle.id == A
        assert list(handle.model.signatures) == ["serving_default"]
        handle.release()
    assert bench.lazy.serving.in_flight() == {A: 0}


def test_a_version_that_will_not_load_is_refused_at_once(bench: Bench) -> None:
    bench.loader.refusal = DataLoss("it is damaged")
    with pytest.raises(DataLoss):
        bench.publish("a")


def test_a_status_says_what_becomes_of_the_processes_of_a_version(bench: Bench) -> None:
    id = bench.publish("a")
    bench.ask("a")
    text = "1 of 2 processes being replaced: SIGSEGV"
    noted = VersionStatus(id, VersionState.AVAILABLE, note=text)
    assert bench.lazy.described(noted).note == text


def test_a_status_says_what_is_in_memory(bench: Bench) -> None:
    a, b = bench.publish("a"), bench.publish("b")
    bench.ask("a")
    assert (bench.status(a).is_in_memory, bench.status(b).is_in_memory) == (True, False)
    bench.ask("b")
    assert (bench.status(a).is_in_memory, bench.status(b).is_in_memory) == (False, True)


def test_a_status_says_why_a_version_cannot_be_brought_into_memory(bench: Bench) -> None:
    a = bench.publish("a")
    bench.loader.failure = DataLoss("it is damaged")
    with pytest.raises(DataLoss):
        bench.ask("a")
    error = bench.status(a).error
    assert error is not None
    assert error.message == "it is damaged"
    assert bench.lazy.residency.recheck() == (str(bench.root / "a" / "1"),)


def test_of_other_versions_a_status_says_nothing_more(bench: Bench) -> None:
    a = bench.publish("a")
    unloading = VersionStatus(a, VersionState.UNLOADING)
    unknown = VersionStatus(ServableId("b", 1), VersionState.AVAILABLE)
    assert bench.lazy.described(unloading) is unloading
    assert bench.lazy.described(unknown) is unknown


def test_signatures_that_only_a_load_tells_are_remembered(bench: Bench) -> None:
    bench.loader.info = None
    bench.publish("a")
    bench.publish("b")
    bench.ask("a")
    bench.ask("b")
    with pytest.raises(NotLoaded) as caught:
        bench.lazy.serving.acquire("a")
    assert caught.value.info == INFO


def test_signatures_that_only_a_load_tells_are_known_of_what_was_loaded_at_once(
    bench: Bench,
) -> None:
    bench.publish("a")
    bench.publish("b")
    bench.ask("a")
    bench.loader.info = None
    bench.publish("a", 2)
    bench.ask("b")
    with pytest.raises(NotLoaded) as caught:
        bench.lazy.serving.acquire("a", 2)
    assert caught.value.info == INFO


def test_a_new_version_of_what_is_in_memory_is_loaded_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ServerOptions(lazy_load_models=True, flush_filesystem_caches=False))
    bench.publish("a")
    bench.ask("a")
    new = bench.publish("a", 2)
    assert bench.status(new).is_in_memory
    assert bench.lazy.residency.close(WAIT_S)


def test_metrics_tell_how_many_are_in_memory_and_who_had_to_leave(bench: Bench) -> None:
    bench.publish("a")
    bench.publish("b")
    bench.ask("a")
    bench.ask("b")
    cells = {family.metric.name: family.cells for family in bench.lazy.families()}
    assert cells == {
        "salver_resident_versions": [((), 1)],
        "salver_evictions_total": [(("a",), 1)],
    }
    assert set(bench.lazy.residency.reserved) == {ServableId("b", 1)}


def in_memory(bench: Bench, *ids: ServableId) -> list[bool | None]:
    return [bench.status(id).is_in_memory for id in ids]


def test_a_model_is_brought_into_memory_and_has_to_make_room_as_any_other(bench: Bench) -> None:
    ids = bench.publish("a"), bench.publish("b")
    bench.lazy.bring_in("a")
    eventually("it is there", lambda: in_memory(bench, *ids) == [True, False])
    bench.lazy.bring_in("a")
    bench.ask("b")
    assert in_memory(bench, *ids) == [False, True]
    assert [id.name for id in bench.loader.loads] == ["a", "b"]


def test_a_model_that_cannot_be_brought_in_is_not_tried_again_at_once(bench: Bench) -> None:
    id = bench.publish("a")
    bench.loader.failure = DataLoss("it is damaged")
    bench.lazy.bring_in("a")
    eventually("it has failed", lambda: bench.status(id).error is not None)
    bench.lazy.bring_in("a")
    bench.lazy.bring_in("none")
    assert len(bench.loader.loads) == 1


def test_a_core_of_lazy_models_tells_what_it_is_told(bench: Bench) -> None:
    core = ServerCore(
        bench.lazy,
        ["tensorflow"],
        CoreOptions(load=LoadOptions(max_num_load_retries=0)),
        local_sources(),
        lazy=bench.lazy,
    )
    try:
        bench.publish("a")
        assert core.lazy is bench.lazy
        with pytest.raises(NotLoaded) as caught:
            core.acquire(ServableRequest("a"))
        assert caught.value.hint == "It is loaded for the first request that can wait for it."
        with pytest.raises(NotFound):
            core.acquire(ServableRequest("b"))
        bench.ask("a")
        assert set(core.reserved) == {A}
        core._monitor.publish(A, VersionState.AVAILABLE)
        assert [status.is_in_memory for status in core.statuses("a")] == [True]
        assert [status.is_in_memory for status in core.statuses("a", 1)] == [True]
        bench.loader.failure = DataLoss("it is damaged")
        bench.publish("c")
        with pytest.raises(DataLoss):
            bench.ask("c")
        assert core._recheck().directories == (str(bench.root / "c" / "1"),)
    finally:
        assert core.close(WAIT_S)
