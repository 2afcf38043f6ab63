"""Models of a configuration that are unloaded and loaded again by a request."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.local_sources import local_sources

from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig
from salver.errors import NotFound, ServingError
from salver.inference.servable import ProgramNames, Servable, StartableProgram
from salver.lifecycle.callers import Caller
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.monitor import VersionState
from salver.management.core import CoreOptions, ServerCore
from salver.management.waits import Left, ModelsUnavailable, Superseded
from salver.vocabulary.model import Model
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import All, ServableId, VersionPolicy

WAIT_S = 10
M = ServableRequest("m")


def run_nothing(program: object, names: ProgramNames) -> StartableProgram:
    raise NotImplementedError


class Empty:
    """A model without signatures."""

    signatures: Mapping[str, object] = {}
    definitions = b""
    batching = None
    graph = None

    def close(self) -> None: ...


class Bench:
    """A core over a directory of models; a version with a file `broken` does not load."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gates: dict[ServableId, threading.Event] = {}
        self.loading: dict[ServableId, threading.Event] = {}
        self.loads: list[ServableId] = []
        self.pool = ThreadPoolExecutor(8)
        self.core = ServerCore(
            self.load,
            ("tensorflow",),
            CoreOptions(LoadOptions(num_load_threads=2, max_num_load_retries=0)),
            local_sources(0),
        )

    def load(self, _settings: LoadSettings, id: ServableId, path: str) -> Servable:
        self.loads.append(id)
        if id in self.loading:
            self.loading[id].set()
        if id in self.gates:
            assert self.gates[id].wait(WAIT_S)
        if Path(path, "broken").exists():
            raise NotFound(f"version {id.version} is broken")
        model: Model = Empty()  # type: ignore[assignment]
        return Servable(model, run_nothing)

    def add(self, name: str, *versions: int, is_broken: bool = False) -> None:
        for version in versions:
            path = self.root / name / str(version)
            path.mkdir(parents=True, exist_ok=True)
            if is_broken:
                (path / "broken").touch()

    def config(self, name: str = "m", policy: VersionPolicy | None = None) -> ModelConfig:
        return ModelConfig(
            name=name,
            base_path=str(self.root / name),
            model_platform="tensorflow",
            version_policy=policy or All(),
        )

    def hold(self, id: ServableId) -> None:
        """Have the next load of a version wait."""
        self.gates[id], self.loading[id] = threading.Event(), threading.Event()

    def begin(self, call: Callable[[], None]) -> "Future[None]":
        return self.pool.submit(call)

    def until_all_answer(self) -> None:
        monitor = self.core._monitor
        with monitor._changed:
            assert monitor._changed.wait_for(
                lambda: set(self.states().values()) == {VersionState.AVAILABLE}, WAIT_S
            )

    def set(self, name: str, *, is_loaded: bool, caller: Caller | None = None) -> None:
        self.core.set_loaded(name, is_loaded=is_loaded, caller=caller)

    def states(self, name: str = "m") -> dict[int, VersionState]:
        return {status.id.version: status.state for status in self.core.statuses(name)}

    def answers(self, name: str) -> bool:
        try:
            self.core.acquire(ServableRequest(name)).release()
        except ServingError:
            return False
        return True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.add("m", 1, 2)
    bench.add("n", 1)
    bench.core.apply((bench.config("m"), bench.config("n")))
    bench.until_all_answer()
    yield bench
    for gate in bench.gates.values():
        gate.set()
    assert bench.core.close(WAIT_S)
    bench.pool.shutdown()


def test_an_unload_withdraws_all_versions_and_a_load_brings_them_back(bench: Bench) -> None:
    bench.set("m", is_loaded=False)
    assert bench.states() == {1: VersionState.END, 2: VersionState.END}
    assert bench.core.unloaded == {"m"}
    assert not bench.answers("m")
    assert bench.answers("n")
    bench.set("m", is_loaded=True)
    assert bench.core.unloaded == frozenset()
    assert bench.answers("m")
    bench.until_all_answer()
    assert bench.loads.count(ServableId("n", 1)) == 1


def test_an_unloaded_model_stays_one_of_the_configuration_and_nothing_is_waited_for(
    bench: Bench,
) -> None:
    bench.set("m", is_loaded=False)
    assert bench.core.model_names() == ("m", "n")
    assert bench.core.waiting_models() == ()
    with pytest.raises(NotFound) as raised:
        bench.core.acquire(M)
    assert raised.value.hint == (
        "m was unloaded. POST /v2/repository/models/m/load brings it back."
    )


def test_an_unload_waits_for_the_requests_that_hold_a_version(bench: Bench) -> None:
    handle = bench.core.acquire(M)
    unloading = bench.begin(lambda: bench.set("m", is_loaded=False))
    monitor = bench.core._monitor
    with monitor._changed:
        assert monitor._changed.wait_for(
            lambda: bench.states()[2] is VersionState.UNLOADING, WAIT_S
        )
    assert not unloading.done()
    handle.release()
    unloading.result(WAIT_S)
    assert bench.states()[2] is VersionState.END


def test_who_leaves_while_a_model_is_unloaded_ends_the_wait_alone(bench: Bench) -> None:
    handle, caller = bench.core.acquire(M), Caller()
    unloading = bench.begin(lambda: bench.set("m", is_loaded=False, caller=caller))
    caller.leave()
    with pytest.raises(Left):
        unloading.result(WAIT_S)
    handle.release()


def test_a_load_while_a_model_is_unloaded_supersedes_that(bench: Bench) -> None:
    taken = threading.Event()
    handle, caller = bench.core.acquire(M), Caller(on_taken=taken.set)
    unloading = bench.begin(lambda: bench.set("m", is_loaded=False, caller=caller))
    assert taken.wait(WAIT_S)
    loading = bench.begin(lambda: bench.set("m", is_loaded=True))
    handle.release()
    loading.result(WAIT_S)
    assert isinstance(unloading.exception(WAIT_S), Superseded | None)
    assert bench.answers("m")


def test_an_unload_while_a_model_is_loaded_supersedes_that(bench: Bench) -> None:
    id = ServableId("m", 2)
    bench.set("m", is_loaded=False)
    bench.hold(id)
    bench.hold(ServableId("m", 1))
    loading = bench.begin(lambda: bench.set("m", is_loaded=True))
    assert bench.loading[id].wait(WAIT_S)
    unloading = bench.begin(lambda: bench.set("m", is_loaded=False))
    with pytest.raises(Superseded):
        loading.result(WAIT_S)
    for gate in bench.gates.values():
        gate.set()
    unloading.result(WAIT_S)
    assert not bench.answers("m")


def test_who_leaves_while_a_model_is_loaded_ends_the_wait_alone(bench: Bench) -> None:
    id = ServableId("n", 1)
    bench.set("n", is_loaded=False)
    bench.hold(id)
    caller = Caller()
    loading = bench.begin(lambda: bench.set("n", is_loaded=True, caller=caller))
    assert bench.loading[id].wait(WAIT_S)
    caller.leave()
    with pytest.raises(Left):
        loading.result(WAIT_S)
    bench.gates[id].set()
    bench.core.wait_until_settled(["n"], WAIT_S)
    assert bench.answers("n")


def test_a_load_of_a_model_that_is_loaded_is_done_at_once(bench: Bench) -> None:
    bench.loads.clear()
    bench.set("n", is_loaded=True)
    bench.set("n", is_loaded=True)
    assert bench.loads == []


def test_a_load_that_fails_tells_why_and_another_tries_again(bench: Bench) -> None:
    bench.set("n", is_loaded=False)
    bench.add("n", 1, is_broken=True)
    with pytest.raises(ModelsUnavailable, match="version 1 is broken"):
        bench.set("n", is_loaded=True)
    assert bench.core.waiting_models() == ("n",)
    with pytest.raises(ModelsUnavailable, match="version 1 is broken"):
        bench.set("n", is_loaded=True)
    (bench.root / "n" / "1" / "broken").unlink()
    bench.set("n", is_loaded=True)
    assert bench.answers("n")


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_model_that_the_configuration_does_not_name_is_not_found(
    bench: Bench, is_loaded: bool
) -> None:
    bench.add("other", 1)
    with pytest.raises(NotFound, match="Model other is not configured"):
        bench.set("other", is_loaded=is_loaded)
    assert bench.core.unloaded == frozenset()


def test_a_model_without_versions_is_not_waited_for(bench: Bench) -> None:
    (bench.root / "empty").mkdir()
    bench.core.apply((bench.config("m"), bench.config("empty")), is_awaited=False)
    bench.set("empty", is_loaded=False)
    with pytest.raises(NotFound, match="No version of model empty"):
        bench.set("empty", is_loaded=True)
    assert bench.core.unloaded == {"empty"}


def test_a_load_waits_for_no_other_model(bench: Bench) -> None:
    bench.add("slow", 1)
    bench.hold(ServableId("slow", 1))
    models = (bench.config("m"), bench.config("n"), bench.config("slow"))
    applying = bench.begin(lambda: bench.core.apply(models))
    assert bench.loading[ServableId("slow", 1)].wait(WAIT_S)
    bench.set("n", is_loaded=False)
    bench.set("n", is_loaded=True)
    assert bench.answers("n")
    assert not applying.done()
    bench.gates[ServableId("slow", 1)].set()
    applying.result(WAIT_S)


def test_a_configuration_that_goes_on_naming_a_model_leaves_it_unloaded(bench: Bench) -> None:
    bench.set("m", is_loaded=False)
    bench.add("new", 1)
    bench.core.apply((bench.config("m"), bench.config("new")))
    assert bench.core.unloaded == {"m"}
    assert bench.answers("new")
    assert not bench.answers("m")


def test_a_configuration_without_the_model_forgets_that_it_was_unloaded(bench: Bench) -> None:
    bench.set("m", is_loaded=False)
    bench.core.apply((bench.config("n"),))
    assert bench.core.unloaded == frozenset()
    bench.core.apply((bench.config("m"), bench.config("n")))
    assert bench.answers("m")


def test_a_configuration_anew_loads_what_was_unloaded(bench: Bench) -> None:
    bench.set("m", is_loaded=False)
    bench.core.apply((bench.config("m"), bench.config("n")), is_anew=True)
    assert bench.core.unloaded == frozenset()
    assert bench.answers("m")


def test_labels_of_an_unloaded_model_are_those_it_has_when_it_is_back(bench: Bench) -> None:
    labelled = ModelConfig(
        name="m",
        base_path=str(bench.root / "m"),
        model_platform="tensorflow",
        version_policy=All(),
        version_labels={"stable": 1},
    )
    bench.core.apply((labelled, bench.config("n")))
    bench.set("m", is_loaded=False)
    bench.core.apply((labelled, bench.config("n")))  # is not refused for the label
    bench.set("m", is_loaded=True)
    bench.until_all_answer()  # a load waits for one version, the label is another's
    handle = bench.core.acquire(ServableRequest("m", label="stable"))
    assert handle.id == ServableId("m", 1)
    handle.release()


def test_the_end_of_the_server_ends_the_wait_for_an_unload(bench: Bench) -> None:
    handle = bench.core.acquire(M)
    taken = threading.Event()
    caller = Caller(on_taken=taken.set)
    unloading = bench.begin(lambda: bench.set("m", is_loaded=False, caller=caller))
    assert taken.wait(WAIT_S)
    bench.core.interrupt()
    assert isinstance(unloading.exception(WAIT_S), ServingError)
    handle.release()
