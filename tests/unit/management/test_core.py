import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.local_sources import local_sources

from salver._pb import message_class
from salver.config.model_options import LoadSettings, ModelOptions
from salver.config.models import ModelConfig
from salver.errors import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotInstalled,
    ResourceExhausted,
    ServingError,
    Unavailable,
    Unimplemented,
)
from salver.inference.servable import ProgramNames, Servable, StartableProgram
from salver.lifecycle.callers import Caller
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.monitor import VersionState
from salver.management.core import CoreOptions, ServerCore
from salver.management.waits import Left, ModelsUnavailable, Superseded
from salver.request_log.loggers import check_logs
from salver.server.config_polling import ConfigPolling
from salver.sources.polled import PolledSource
from salver.vocabulary.access import Actor
from salver.vocabulary.model import Program
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import All, Latest, ServableId, Specific, VersionPolicy
from salver.vocabulary.signature import Signature

WAIT_S = 10
PLATFORM = "tensorflow"


class Constant:
    """A model that can do nothing but be open or closed."""

    signatures: Mapping[str, Signature] = {}
    definitions = b""
    batching = None
    graph = None

    def __init__(self, platform: str) -> None:
        self.platform = platform
        self.is_open = True

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        raise NotImplementedError

    def close(self) -> None:
        self.is_open = False


def run_nothing(program: Program, names: ProgramNames) -> StartableProgram:
    raise NotImplementedError


class Bench:
    """A core over a directory of models; a version without `saved_model.pb` does not load."""

    def __init__(
        self,
        root: Path,
        *,
        allow_unavailable: bool = False,
        poll_seconds: int = 0,
        max_ended_versions: int = 0,
        update_logs: Callable[[Mapping[str, bytes]], None] = lambda _configs: None,
        check_logs: Callable[[Mapping[str, bytes]], None] = lambda _configs: None,
    ) -> None:
        self.root = root
        self.gates: dict[ServableId, threading.Event] = {}
        self.missing: dict[str, str] = {}
        self.loads: list[tuple[ServableId, Mapping[str, str]]] = []
        self.now_s = 0.0
        self.core = ServerCore(
            self.load,
            (PLATFORM, "onnx"),
            CoreOptions(
                LoadOptions(num_load_threads=2, max_num_load_retries=0),
                allow_version_labels_for_unavailable_models=allow_unavailable,
                max_ended_versions=max_ended_versions,
            ),
            local_sources(poll_seconds),
            update_logs=update_logs,
            check_logs=check_logs,
            clock=lambda: self.now_s,
        )

    def load(self, settings: LoadSettings, id: ServableId, path: str) -> Servable:
        self.loads.append((id, settings.options))
        if "broken" in settings.options:
            raise InvalidArgument("no such option")
        if id in self.gates:
            assert self.gates[id].wait(WAIT_S)
        if id.name in self.missing:
            raise NotInstalled(self.missing[id.name])
        if not Path(path, "saved_model.pb").exists():
            raise NotFound(f"no SavedModel in {id.version}")
        return Servable(Constant(settings.platform), run_nothing)

    def add(self, name: str, *versions: int, broken: bool = False) -> None:
        (self.root / name).mkdir(exist_ok=True)
        for version in versions:
            path = self.root / name / str(version)
            path.mkdir(exist_ok=True)
            if not broken:
                (path / "saved_model.pb").touch()

    def config(
        self,
        name: str = "m",
        policy: VersionPolicy | None = None,
        *,
        labels: Mapping[str, int] | None = None,
        platform: str = PLATFORM,
        options: ModelOptions | None = None,
    ) -> ModelConfig:
        return ModelConfig(
            name=name,
            base_path=str(self.root / name),
            model_platform=platform,
            version_policy=policy or Latest(),
            version_labels=labels or {},
            options=options or ModelOptions(),
        )

    def apply(self, *models: ModelConfig) -> None:
        self.core.apply(models)

    def until(self, name: str, version: int, state: VersionState) -> None:
        monitor, id = self.core._monitor, ServableId(name, version)

        def is_there() -> bool:
            status = monitor.status(id)
            return status is not None and status.state is state

        with monitor._changed:
            assert monitor._changed.wait_for(is_there, WAIT_S)

    def answers(self, request: ServableRequest) -> int:
        entry = self.core.acquire(request)
        entry.release()
        return entry.id.version


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for gate in bench.gates.values():
        gate.set()
    assert bench.core.close(WAIT_S)


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, allow_unavailable=True)
    yield bench
    assert bench.core.close(WAIT_S)


M = ServableRequest("m")


def labelled(label: str) -> ServableRequest:
    return ServableRequest("m", label=label)


# -- start-up and reload ---------------------------------------------------------------------------


def test_models_of_the_first_configuration_are_available_when_it_has_been_applied(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "salver.management.core")
    bench.add("m", 1, 2)
    bench.add("n", 7)
    bench.apply(bench.config(), bench.config("n", platform="onnx"))
    assert bench.answers(M) == 2
    assert bench.core.model_names() == ("m", "n")
    entry = bench.core.acquire(ServableRequest("n"))
    assert isinstance(entry.model.model, Constant)
    assert entry.model.model.platform == "onnx"
    assert bench.core.in_flight() == {ServableId("m", 2): 0, ServableId("n", 7): 1}
    entry.release()
    assert [r.getMessage() for r in caplog.records if r.name == "salver.management.core"] == [
        "Adding/updating models.",
        " (Re-)adding model: m",
        " (Re-)adding model: n",
        "Finished adding/updating models",
    ]


def test_list_of_no_models_is_served_at_once(bench: Bench) -> None:
    bench.apply()
    assert bench.core.model_names() == ()


def test_model_that_fails_at_start_up_is_told_in_the_words_of_start_up(bench: Bench) -> None:
    bench.add("good", 1)
    bench.add("m", 1, broken=True)
    with pytest.raises(ModelsUnavailable) as raised:
        bench.apply(bench.config("good"), bench.config())
    assert raised.value.status == (
        "UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1} due to error: "
        "NOT_FOUND: no SavedModel in 1}, }"
    )
    assert [status.id for status in raised.value.failures] == [ServableId("m", 1)]
    assert bench.answers(ServableRequest("good")) == 1
    assert bench.core.waiting_models() == ("m",)


def test_several_failures_are_told_in_order(bench: Bench) -> None:
    for name in "a", "b":
        bench.add(name, 1, broken=True)
    with pytest.raises(ModelsUnavailable) as raised:
        bench.apply(bench.config("b"), bench.config("a"))
    assert raised.value.message == (
        "2 servable(s) did not become available: {"
        "{{name: a version: 1} due to error: NOT_FOUND: no SavedModel in 1}, "
        "{{name: b version: 1} due to error: NOT_FOUND: no SavedModel in 1}, }"
    )


def test_new_model_that_fails_at_a_reload_is_told_in_the_words_of_a_reload(bench: Bench) -> None:
    bench.add("m", 1)
    bench.add("new", 3, broken=True)
    bench.apply(bench.config())
    with pytest.raises(ModelsUnavailable) as raised:
        bench.apply(bench.config(), bench.config("new"))
    assert raised.value.message == (
        "1 model(s) did not become available: {{{name: new version: 3} due to error: "
        "NOT_FOUND: no SavedModel in 3}, }"
    )
    assert bench.answers(M) == 1
    assert bench.core.model_names() == ("m", "new")


def test_version_that_ended_without_an_error_is_told_without_one(bench: Bench) -> None:
    error = ModelsUnavailable("model", ())
    assert error.message == "0 model(s) did not become available: {}"
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.apply()
    bench.until("m", 1, VersionState.END)
    error = ModelsUnavailable("model", bench.core.statuses("m"))
    assert error.message == "1 model(s) did not become available: {{{name: m version: 1}}, }"


def test_reload_waits_for_newly_named_models_only(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.add("m", 2)
    bench.gates[ServableId("m", 2)] = threading.Event()
    bench.add("new", 1)
    bench.apply(bench.config(policy=All()), bench.config("new"))
    assert bench.answers(ServableRequest("new")) == 1
    assert bench.answers(M) == 1
    bench.gates[ServableId("m", 2)].set()
    bench.until("m", 2, VersionState.AVAILABLE)
    assert bench.answers(M) == 2


def threads(number: int, max_queued_runs: int | None = None) -> ModelOptions:
    return ModelOptions(options={"threads": str(number)}, max_queued_runs=max_queued_runs)


def until_loaded(bench: Bench, *expected: tuple[ServableId, Mapping[str, str]]) -> None:
    monitor = bench.core._monitor
    with monitor._changed:
        assert monitor._changed.wait_for(lambda: bench.loads == list(expected), WAIT_S)


def test_changed_options_of_the_backend_have_the_versions_loaded_again(bench: Bench) -> None:
    id, other = ServableId("m", 1), ServableId("n", 1)
    bench.add("m", 1)
    bench.add("n", 1)
    bench.apply(bench.config(options=threads(1)), bench.config("n"))
    bench.loads.clear()
    first = bench.core.acquire(M)
    bench.apply(bench.config(options=threads(2)), bench.config("n"))
    bench.until("m", 1, VersionState.UNLOADING)  # what is asked of it is answered
    first.release()
    bench.until("m", 1, VersionState.AVAILABLE)
    assert bench.loads == [(id, {"threads": "2"})]
    assert bench.answers(M) == 1
    assert bench.answers(ServableRequest("n")) == other.version


def test_changed_limits_have_no_version_loaded_again(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config(options=threads(1)))
    bench.loads.clear()
    bench.apply(bench.config(options=threads(1, max_queued_runs=3)))
    bench.core._manager.settle()
    assert bench.loads == []
    assert bench.answers(M) == 1


def test_options_that_change_while_a_version_loads_count_in_the_end(bench: Bench) -> None:
    id = ServableId("m", 1)
    bench.add("m", 1)
    bench.gates[id] = threading.Event()
    bench.core.apply((bench.config(options=threads(1)),), is_awaited=False)
    bench.until("m", 1, VersionState.LOADING)
    bench.core.apply((bench.config(options=threads(2)),), is_awaited=False)
    bench.gates[id].set()
    until_loaded(bench, (id, {"threads": "1"}), (id, {"threads": "2"}))
    bench.until("m", 1, VersionState.AVAILABLE)


def test_a_version_that_failed_is_tried_again_with_options_that_may_be_better(
    bench: Bench,
) -> None:
    bench.add("m", 1)
    with pytest.raises(ModelsUnavailable, match="no such option"):
        bench.apply(bench.config(options=ModelOptions(options={"broken": ""})))
    bench.core.apply((bench.config(options=threads(2)),), is_awaited=False)
    bench.until("m", 1, VersionState.AVAILABLE)


def test_options_that_change_back_while_a_version_is_taken_away_are_those_it_gets(
    bench: Bench,
) -> None:
    id = ServableId("m", 1)
    bench.add("m", 1)
    bench.apply(bench.config(options=threads(1)))
    entry = bench.core.acquire(M)
    for number in (2, 3, 1):
        bench.apply(bench.config(options=threads(number)))
    entry.release()
    bench.until("m", 1, VersionState.AVAILABLE)
    assert bench.loads == [(id, {"threads": "1"})] * 2


def test_a_version_that_is_to_be_loaded_again_may_go_instead(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config(options=threads(1)))
    entry = bench.core.acquire(M)
    bench.apply(bench.config(options=threads(2)))
    bench.apply()
    entry.release()
    bench.until("m", 1, VersionState.END)
    bench.apply(bench.config(options=threads(3)))
    assert bench.loads[-1] == (ServableId("m", 1), {"threads": "3"})


def test_model_gone_from_the_list_is_unloaded(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.apply()
    with pytest.raises(NotFound):
        bench.core.acquire(M)
    bench.until("m", 1, VersionState.END)


def test_model_given_back_while_it_unloads_is_waited_for_and_no_failure(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    entry = bench.core.acquire(M)
    bench.apply()
    done = threading.Thread(target=bench.apply, args=(bench.config(),))
    done.start()
    entry.release()
    done.join(WAIT_S)
    assert bench.answers(M) == 1


def test_stopping_interrupts_the_wait_at_once(bench: Bench) -> None:
    outcome: list[str] = []
    (bench.root / "m").mkdir()  # no version ever comes

    def start() -> None:
        with pytest.raises(Cancelled):
            bench.apply(bench.config())
        outcome.append("cancelled")

    thread = threading.Thread(target=start)
    thread.start()
    bench.core.interrupt()
    thread.join(WAIT_S)
    assert outcome == ["cancelled"]


def test_empty_configuration_changes_nothing_and_may_be_followed_by_another(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.core.apply(None)
    assert caplog.messages == ["Taking no action for empty config."]
    bench.add("m", 1)
    bench.apply(bench.config())
    assert bench.answers(M) == 1


def test_list_cannot_become_an_empty_configuration(bench: Bench) -> None:
    bench.apply()
    with pytest.raises(FailedPrecondition) as raised:
        bench.core.apply(None)
    assert raised.value.message == (
        "Cannot transition to requested config. It is only legal to transition from one "
        "ModelConfigList to another."
    )


def test_wrong_list_leaves_the_configuration_as_it_was(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    twice = bench.config("twice")
    with pytest.raises(InvalidArgument) as raised:
        bench.apply(twice, twice)
    assert raised.value.message == "Illegal to list model twice multiple times in config list"
    assert bench.core.model_names() == ("m",)


def test_base_path_must_be_absolute_or_a_uri(bench: Bench) -> None:
    with pytest.raises(InvalidArgument) as raised:
        bench.apply(ModelConfig(name="m", base_path="models/m", model_platform=PLATFORM))
    assert raised.value.message == (
        "Expected model m to have an absolute path or URI; got base_path()=models/m"
    )


def test_platform_of_a_model_cannot_change(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    with pytest.raises(InvalidArgument) as raised:
        bench.apply(bench.config(platform="onnx"))
    assert raised.value.message == (
        "Illegal to change a model's platform. For model m platform was tensorflow and new "
        "platform requested is onnx"
    )


def test_unsupported_platform_is_refused_after_the_configuration_was_recorded(
    bench: Bench,
) -> None:
    bench.add("m", 1)
    with pytest.raises(InvalidArgument) as raised:
        bench.apply(bench.config(platform="Tensorflow"))
    assert raised.value.message == "Model m requests unsupported platform Tensorflow"
    assert bench.core.model_names() == ()
    with pytest.raises(FailedPrecondition, match="Cannot transition"):
        bench.core.apply(None)


@pytest.mark.parametrize("wrong", ["", "Tensorflow"])
def test_wrong_platform_does_not_stand_in_the_way_of_the_next_configuration(
    wrong: str, bench: Bench
) -> None:
    bench.add("m", 1)
    bench.add("n", 1)
    bench.apply(bench.config())
    with pytest.raises(InvalidArgument):
        bench.apply(bench.config(), bench.config("n", platform=wrong))
    bench.apply(bench.config(), bench.config("n"))
    assert bench.answers(ServableRequest("n")) == 1


def test_first_configuration_that_reaches_the_models_is_told_of_as_start_up(bench: Bench) -> None:
    bench.add("m", 1, broken=True)
    with pytest.raises(InvalidArgument):
        bench.apply(bench.config(platform="other"))
    with pytest.raises(ModelsUnavailable, match=r"servable\(s\)"):
        bench.apply(bench.config())


def test_missing_base_path_is_waited_for_until_it_appears(tmp_path: Path) -> None:
    bench = Bench(tmp_path, poll_seconds=3600)
    thread = threading.Thread(target=bench.apply, args=(bench.config(),))
    thread.start()
    bench.add("m", 1)
    bench.core._sources.poke()
    thread.join(WAIT_S)
    assert bench.answers(M) == 1
    assert bench.core.close(WAIT_S)


def test_directory_deleted_under_the_server_is_unloaded_and_its_base_path_keeps_the_rest(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, poll_seconds=3600)
    bench.add("m", 1, 2)
    bench.apply(bench.config(policy=All()))
    bench.until("m", 1, VersionState.AVAILABLE)
    bench.until("m", 2, VersionState.AVAILABLE)
    shutil.rmtree(tmp_path / "m" / "2")
    bench.core._sources.poke()
    bench.until("m", 2, VersionState.END)
    assert bench.answers(M) == 1
    shutil.rmtree(tmp_path / "m")
    bench.core._sources.poke()
    bench.core._manager.settle()
    assert bench.answers(M) == 1
    assert bench.core.close(WAIT_S)


def test_half_written_version_loads_once_it_is_whole(tmp_path: Path) -> None:
    bench = Bench(tmp_path, poll_seconds=3600)
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.add("m", 2, broken=True)
    bench.core._sources.poke()
    bench.until("m", 2, VersionState.END)
    bench.core._manager.settle()
    assert bench.answers(M) == 1
    bench.add("m", 2)
    bench.core._manager.recheck()
    bench.now_s += 1
    bench.core._sources.poke()
    bench.until("m", 2, VersionState.AVAILABLE)
    assert bench.answers(M) == 2
    assert bench.core.close(WAIT_S)


def test_closing_unloads_the_models(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.add("m", 1)
    bench.apply(bench.config())
    entry = bench.core.acquire(M)
    entry.release()
    assert bench.core.close()
    assert isinstance(entry.model.model, Constant)
    assert not entry.model.model.is_open


def test_closing_does_not_wait_for_a_load_that_nobody_needs_any_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.add("m", 2)
    gate = bench.gates[ServableId("m", 2)] = threading.Event()
    bench.apply(bench.config(policy=All()))
    bench.until("m", 2, VersionState.LOADING)
    assert not bench.core.close(WAIT_S, load_grace_s=0)
    bench.until("m", 1, VersionState.END)
    gate.set()
    assert bench.core.close(WAIT_S, load_grace_s=WAIT_S)


def test_closing_does_not_wait_for_a_file_system_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    hanging, answers = threading.Event(), threading.Event()

    def hang(path: str) -> list[str]:
        hanging.set()
        assert answers.wait(WAIT_S)
        return []

    bench.add("m", 1)
    bench.apply(bench.config())
    monkeypatch.setattr("salver.sources.file_system.list_names", hang)
    bench.core._sources.poke()
    assert hanging.wait(WAIT_S)
    assert not bench.core.close(load_grace_s=0)
    bench.until("m", 1, VersionState.END)
    answers.set()
    assert bench.core.close(WAIT_S, load_grace_s=WAIT_S)


def test_models_settle_once_they_are_available_or_a_try_has_failed(bench: Bench) -> None:
    bench.add("good", 1)
    bench.add("bad", 1, broken=True)
    bench.gates[ServableId("bad", 1)] = threading.Event()
    outcome: list[str] = []

    def start() -> None:
        with pytest.raises(ModelsUnavailable):
            bench.apply(bench.config("good"), bench.config("bad"))
        outcome.append("failed")

    thread = threading.Thread(target=start)
    thread.start()
    assert bench.core.wait_until_settled(["good"], WAIT_S)
    assert not bench.core.wait_until_settled(["good", "bad"], 0)
    assert bench.core.last_error("bad") is None
    bench.gates[ServableId("bad", 1)].set()
    assert bench.core.wait_until_settled(["good", "bad"])
    error = bench.core.last_error("bad")
    assert error is not None
    assert error.message == "no SavedModel in 1"
    thread.join(WAIT_S)
    assert outcome == ["failed"]


# -- requests and status ---------------------------------------------------------------------------


def test_version_or_the_newest_answers(bench: Bench) -> None:
    bench.add("m", 1, 2)
    bench.apply(bench.config(policy=All()))
    bench.until("m", 1, VersionState.AVAILABLE)
    bench.until("m", 2, VersionState.AVAILABLE)
    assert bench.answers(M) == 2
    assert bench.answers(ServableRequest("m", 1)) == 1


def test_unknown_model_is_not_found_and_the_hint_names_those_that_exist(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    with pytest.raises(NotFound) as raised:
        bench.core.acquire(ServableRequest("mm"))
    assert raised.value.message == "Servable not found for request: Latest(mm)"
    assert raised.value.hint == "Models of this server: m."


def test_a_hint_names_no_model_that_whoever_asks_may_not_know_of(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.core.name_only(lambda name: name != "m")
    for ask in (bench.core.acquire, lambda request: bench.core.statuses(request.name)):
        with pytest.raises(NotFound) as raised:
            ask(ServableRequest("mm"))
        assert raised.value.hint is None


def test_unknown_version_is_not_found_and_the_hint_names_versions_and_labels(
    bench: Bench,
) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.apply(bench.config(labels={"stable": 1}))
    with pytest.raises(NotFound) as raised:
        bench.core.acquire(ServableRequest("m", 3))
    assert raised.value.message == "Servable not found for request: Specific(m, 3)"
    assert raised.value.hint == "Versions of m: 1 (AVAILABLE). Labels: stable (1)."


def test_hint_names_the_versions_that_are_available_and_the_newest_of_the_others(
    bench: Bench,
) -> None:
    bench.add("m", 1)
    bench.add("m", *range(2, 12), broken=True)
    bench.apply(bench.config(policy=Specific((1,))))
    bench.apply(bench.config(policy=All()))
    for version in range(2, 12):
        bench.until("m", version, VersionState.END)
    with pytest.raises(NotFound) as raised:
        bench.core.acquire(ServableRequest("m", 12))
    assert raised.value.hint == (
        "Versions of m: 11 (END), 10 (END), 9 (END), 8 (END), 7 (END), 6 (END), 5 (END), "
        "1 (AVAILABLE) and 3 more."
    )


def test_hint_says_why_no_version_could_be_loaded(bench: Bench) -> None:
    bench.add("m", 1, broken=True)
    with pytest.raises(ModelsUnavailable):
        bench.apply(bench.config())
    with pytest.raises(NotFound) as raised:
        bench.core.acquire(M)
    assert raised.value.hint == ("Versions of m: 1 (END). The last load failed: no SavedModel in 1")


def test_unknown_label_is_refused_with_what_exists(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    with pytest.raises(InvalidArgument) as raised:
        bench.core.acquire(labelled("canary"))
    assert raised.value.message == "Unrecognized servable version label: canary"
    assert raised.value.hint == "Versions of m: 1 (AVAILABLE)."


def test_labels_are_unavailable_before_any_configuration(bench: Bench) -> None:
    with pytest.raises(Unavailable) as raised:
        bench.core.acquire(labelled("canary"))
    assert raised.value.message == "Model labels does not init yet.canary"


def test_request_for_no_model_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidArgument) as raised:
        bench.core.acquire(ServableRequest(""))
    assert raised.value.message == "ModelSpec has no name specified."


def test_status_lists_versions_highest_first_and_remembers_those_that_ended(
    bench: Bench,
) -> None:
    bench.add("m", 1)
    bench.add("m", 2, broken=True)
    bench.apply(bench.config(policy=Specific((1,))))
    bench.apply(bench.config(policy=All()))
    bench.until("m", 2, VersionState.END)
    states = [(status.id.version, status.state) for status in bench.core.statuses("m")]
    assert states == [(2, VersionState.END), (1, VersionState.AVAILABLE)]
    (one,) = bench.core.statuses("m", 2)
    assert one.error is not None


@pytest.mark.parametrize("version", [9, -1])
def test_status_of_a_version_never_seen_is_not_found(bench: Bench, version: int) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    with pytest.raises(NotFound) as raised:
        bench.core.statuses("m", version)
    assert raised.value.message == f"Could not find version {version} of model m"


def test_status_of_a_model_never_seen_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound) as raised:
        bench.core.statuses("m")
    assert raised.value.message == "Could not find any versions of model m"
    assert raised.value.hint == "This server has no models."


# -- labels ----------------------------------------------------------------------------------------

UNAVAILABLE = (
    "Request to assign label to version {} of model m, which is not currently available for "
    "inference"
)


def refused(bench: Bench, version: int, *models: ModelConfig) -> None:
    with pytest.raises(FailedPrecondition) as raised:
        bench.apply(*models)
    assert raised.value.message == UNAVAILABLE.format(version)


def test_label_of_an_available_version_is_served(bench: Bench) -> None:
    bench.add("m", 1, 2)
    bench.apply(bench.config(policy=All()))
    bench.until("m", 1, VersionState.AVAILABLE)
    bench.until("m", 2, VersionState.AVAILABLE)
    bench.apply(bench.config(policy=All(), labels={"stable": 1, "canary": 2}))
    assert bench.answers(labelled("stable")) == 1
    assert bench.answers(labelled("canary")) == 2
    assert bench.core.labels("m") == {"stable": 1, "canary": 2}


def test_labels_of_the_first_configuration_are_refused(bench: Bench) -> None:
    bench.add("m", 1)
    refused(bench, 1, bench.config(labels={"stable": 1}))


def test_labels_not_listed_disappear(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.apply(bench.config(labels={"stable": 1}))
    bench.apply(bench.config())
    assert bench.core.labels("m") == {}


def test_refused_label_leaves_labels_and_models_but_the_configuration_is_recorded(
    bench: Bench,
) -> None:
    bench.add("m", 1)
    bench.add("new", 1)
    bench.apply(bench.config())
    bench.apply(bench.config(labels={"stable": 1}))
    refused(bench, 9, bench.config(labels={"stable": 9}), bench.config("new"))
    assert bench.answers(labelled("stable")) == 1
    assert bench.core.model_names() == ("m",)
    assert bench.core.waiting_models() == ()
    with pytest.raises(NotFound):
        bench.core.acquire(ServableRequest("new"))


@pytest.mark.parametrize("version", [9, -1])
def test_label_of_a_version_that_never_comes_is_refused(bench: Bench, version: int) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    refused(bench, version, bench.config(labels={"stable": version}))


def test_label_whose_base_path_is_gone_is_refused(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    shutil.rmtree(bench.root / "m")
    refused(bench, 2, bench.config(labels={"stable": 2}))


def test_label_of_a_version_that_failed_is_refused(bench: Bench) -> None:
    bench.add("m", 1)
    bench.add("m", 2, broken=True)
    bench.apply(bench.config(policy=Specific((1,))))
    bench.apply(bench.config(policy=All()))
    bench.until("m", 2, VersionState.END)
    refused(bench, 2, bench.config(policy=All(), labels={"stable": 2}))


def test_label_of_a_version_that_is_loading_anyway_is_refused_until_it_is_there(
    bench: Bench,
) -> None:
    bench.add("m", 1, 2)
    bench.gates[ServableId("m", 2)] = threading.Event()
    bench.apply(bench.config(policy=Specific((1,))))
    bench.apply(bench.config(policy=All()))
    bench.until("m", 2, VersionState.LOADING)
    both = bench.config(policy=All(), labels={"stable": 2})
    refused(bench, 2, both)
    bench.gates[ServableId("m", 2)].set()
    bench.until("m", 2, VersionState.AVAILABLE)
    bench.apply(both)
    assert bench.answers(labelled("stable")) == 2


def test_configuration_that_adds_a_version_and_moves_a_label_to_it_moves_it_when_available(
    bench: Bench,
) -> None:
    bench.add("m", 1, 2)
    bench.gates[ServableId("m", 2)] = threading.Event()
    bench.apply(bench.config(policy=Specific((1,))))
    bench.apply(bench.config(policy=Specific((1,)), labels={"stable": 1}))
    moved = bench.config(policy=Specific((2,)), labels={"stable": 2, "canary": 2})
    bench.apply(moved)
    assert bench.answers(labelled("stable")) == 1
    with pytest.raises(InvalidArgument):
        bench.core.acquire(labelled("canary"))
    bench.until("m", 2, VersionState.LOADING)
    bench.apply(moved)  # as a polled file is applied again and again
    assert bench.answers(labelled("stable")) == 1
    bench.gates[ServableId("m", 2)].set()
    bench.until("m", 2, VersionState.AVAILABLE)
    assert bench.answers(labelled("stable")) == 2
    assert bench.answers(labelled("canary")) == 2


def test_label_may_move_to_a_version_that_was_unloaded_and_comes_back(bench: Bench) -> None:
    bench.add("m", 1, 2)
    bench.apply(bench.config(policy=Specific((1,))))
    bench.apply(bench.config(policy=Specific((2,))))
    bench.until("m", 1, VersionState.END)
    bench.apply(bench.config(policy=Specific((1,)), labels={"stable": 1}))
    bench.until("m", 1, VersionState.AVAILABLE)
    assert bench.answers(labelled("stable")) == 1


def test_label_whose_version_was_unloaded_is_not_found(bench: Bench) -> None:
    bench.add("m", 1, 2)
    bench.apply(bench.config(policy=Specific((1,))))
    bench.apply(bench.config(policy=Specific((1,)), labels={"stable": 1}))
    shutil.rmtree(bench.root / "m" / "1")
    bench.core._sources.poke()
    bench.until("m", 1, VersionState.END)
    with pytest.raises(NotFound, match=r"Specific\(m, 1\)"):
        bench.core.acquire(labelled("stable"))


def test_with_the_flag_a_new_label_may_name_a_version_that_is_not_there(lenient: Bench) -> None:
    lenient.add("m", 1)
    lenient.apply(lenient.config(labels={"stable": 1, "canary": 9}))
    assert lenient.answers(labelled("stable")) == 1
    with pytest.raises(NotFound):
        lenient.core.acquire(labelled("canary"))
    lenient.apply(lenient.config(labels={"stable": 1, "canary": 9}))


def test_with_the_flag_an_existing_label_still_moves_to_available_versions_only(
    lenient: Bench,
) -> None:
    lenient.add("m", 1)
    lenient.apply(lenient.config(labels={"stable": 1}))
    refused(lenient, 9, lenient.config(labels={"stable": 9}))
    assert lenient.core.labels("m") == {"stable": 1}


def test_nothing_is_applied_any_more_once_the_server_stops(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.core.interrupt()
    with pytest.raises(Cancelled):
        bench.apply(bench.config("other"))
    assert bench.core.model_names() == ("m",)
    assert bench.answers(M) == 1


def test_a_first_configuration_that_is_not_awaited_leaves_room_for_the_next(bench: Bench) -> None:
    bench.add("m", 1)
    bench.gates[ServableId("m", 1)] = threading.Event()
    bench.core.apply((bench.config(),), is_awaited=False)
    bench.until("m", 1, VersionState.LOADING)
    bench.add("new", 1)
    bench.core.apply((bench.config(), bench.config("new")), is_awaited=False)
    bench.until("new", 1, VersionState.AVAILABLE)
    bench.core.end_initial_load()
    bench.gates[ServableId("m", 1)].set()
    bench.until("m", 1, VersionState.AVAILABLE)


def applied(bench: Bench) -> tuple[ModelConfig, ...] | None:
    return bench.core.applied


def test_configuration_counts_as_applied_when_it_was_taken_whole(bench: Bench) -> None:
    assert applied(bench) is None
    bench.add("m", 1)
    bench.add("broken", 1, broken=True)
    first = (bench.config(),)
    bench.core.apply(first)
    assert applied(bench) == first
    with pytest.raises(InvalidArgument):
        bench.apply(bench.config(), bench.config())
    assert applied(bench) == first  # it was never recorded
    refused(bench, 9, bench.config(labels={"stable": 9}))
    assert applied(bench) is None
    second = (bench.config(), bench.config("broken"))
    with pytest.raises(ModelsUnavailable):
        bench.core.apply(second)
    assert applied(bench) == second


def test_only_so_many_versions_that_ended_are_shown(tmp_path: Path) -> None:
    bench = Bench(tmp_path, poll_seconds=1, max_ended_versions=2)
    bench.add("m", 1)
    bench.apply(bench.config())
    for version in (2, 3, 4, 5):
        bench.add("m", version)
        bench.core._sources.poke()
        bench.until("m", version - 1, VersionState.END)
    assert [(s.id.version, s.state.name) for s in bench.core.statuses("m")] == [
        (5, "AVAILABLE"),
        (4, "END"),
        (3, "END"),
    ]
    for version in (1, 2):
        with pytest.raises(NotFound):
            bench.core.statuses("m", version)
    assert bench.core.close(WAIT_S)


def test_memory_set_aside_is_told(bench: Bench) -> None:
    bench.add("m", 1)
    (bench.root / "m" / "1" / "saved_model.pb").write_bytes(bytes(1000))
    bench.apply(bench.config())
    assert sum(bench.core.reserved.values()) == 1200


# -- models that cannot be served ------------------------------------------------------------------

AWAY = "File system scheme 's3' not implemented (file: 's3://bucket/a')"


def away(bench: Bench, name: str = "a") -> ModelConfig:
    return replace(bench.config(name), base_path=f"s3://bucket/{name}")


def test_model_that_lies_where_nobody_can_look_is_refused_at_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.add("m", 1)
    with pytest.raises(Unimplemented) as raised:
        bench.apply(away(bench), bench.config())
    assert raised.value.message == AWAY
    assert raised.value.hint is not None
    assert "aws s3 cp --recursive s3://bucket/a DIRECTORY" in raised.value.hint
    assert bench.answers(M) == 1
    assert applied(bench) == (away(bench), bench.config())
    assert bench.core.waiting_models() == ("a",)
    assert bench.core.problem("a") == AWAY
    with pytest.raises(NotFound) as refused:
        bench.core.acquire(ServableRequest("a"))
    assert refused.value.hint == f"Versions of a: none yet. The last load failed: {AWAY}"
    local = bench.core._sources._polled[""]
    assert isinstance(local, PolledSource)
    local._poll()
    assert caplog.text.count(AWAY) == 1
    bench.apply(bench.config())
    assert bench.core.last_error("a") is None


def test_reload_that_adds_such_a_model_tells_of_others_that_failed_first(bench: Bench) -> None:
    bench.add("m", 1)
    bench.apply(bench.config())
    bench.add("bad", 1, broken=True)
    with pytest.raises(ModelsUnavailable):
        bench.apply(bench.config(), bench.config("bad"), away(bench))
    with pytest.raises(Unimplemented):
        bench.apply(bench.config(), away(bench, "other"))
    bench.core.apply((away(bench, "third"),), is_awaited=False)  # nobody stands there


def settled_without_hope(bench: Bench) -> ServingError | None:
    assert bench.core.wait_until_settled(bench.core.model_names(), WAIT_S)
    return bench.core.hopeless(WAIT_S)


def test_nothing_is_left_to_serve_when_all_models_need_what_is_missing(bench: Bench) -> None:
    assert bench.core.hopeless(0) is None  # there are no models
    for name in "m", "n":
        bench.add(name, 1)
        bench.missing[name] = "install it"
    bench.core.apply((bench.config(), bench.config("n")), is_awaited=False)
    error = settled_without_hope(bench)
    assert isinstance(error, NotInstalled)
    assert error.message == "install it"
    bench.add("good", 1)
    bench.core.apply((bench.config(), bench.config("good")), is_awaited=False)
    assert settled_without_hope(bench) is None


def test_different_reasons_are_told_together(bench: Bench) -> None:
    bench.add("m", 1)
    bench.missing["m"] = "install it"
    bench.core.apply((bench.config(), away(bench)), is_awaited=False)
    error = settled_without_hope(bench)
    assert error is not None
    assert error.message == f"No model can be served. m: install it; a: {AWAY}"
    assert error.hint is not None
    assert "aws s3 cp" in error.hint


@pytest.mark.parametrize("how", ["broken", "slow", "none yet"])
def test_something_is_left_while_a_model_may_come_by_itself(bench: Bench, how: str) -> None:
    bench.add("n", 1)
    bench.missing["n"] = "install it"
    bench.add("m", *([] if how == "none yet" else [1]), broken=how == "broken")
    if how == "slow":
        bench.gates[ServableId("m", 1)] = threading.Event()
    bench.core.apply((bench.config(), bench.config("n")), is_awaited=False)
    bench.until("n", 1, VersionState.END)
    assert bench.core.hopeless(0.05) is None


# -- configurations that come while others wait ----------------------------------------------------


class Reload:
    """A configuration that is applied in a thread."""

    def __init__(self, bench: Bench, *models: ModelConfig, is_awaited: bool = True) -> None:
        self.caller = Caller(on_taken=self._taken)
        self.is_taken = threading.Event()
        self.error: ServingError | None = None
        self._apply = partial(bench.core.apply, models, is_awaited=is_awaited, caller=self.caller)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _taken(self) -> None:
        self.is_taken.set()

    def _work(self) -> None:
        try:
            self._apply()
        except ServingError as error:
            self.error = error

    def until_taken(self) -> "Reload":
        assert self.is_taken.wait(WAIT_S)
        return self

    def end(self) -> ServingError | None:
        """How it ended."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self.error

    @property
    def is_waiting(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture
def waiting(bench: Bench) -> Reload:
    """A reload that waits for a model `e`, which has no version; `m` is served."""
    bench.add("m", 1)
    bench.add("e")
    bench.apply(bench.config())
    return Reload(bench, bench.config(), bench.config("e")).until_taken()


def test_reload_whose_model_never_comes_is_superseded_by_one_without_it(
    bench: Bench, waiting: Reload
) -> None:
    bench.apply(bench.config())
    assert isinstance(waiting.end(), Superseded)
    assert bench.core.model_names() == ("m",)


def test_configuration_of_a_file_does_not_even_give_way(bench: Bench, waiting: Reload) -> None:
    bench.gates[ServableId("e", 1)] = threading.Event()
    bench.add("e", 1)
    bench.core._sources.poke()
    bench.until("e", 1, VersionState.LOADING)
    bench.core.apply((bench.config(),), is_awaited=False)
    assert isinstance(waiting.end(), Superseded)


def test_reload_gives_way_to_one_whose_models_are_on_their_way(
    bench: Bench, waiting: Reload
) -> None:
    gate = bench.gates[ServableId("e", 1)] = threading.Event()
    bench.add("e", 1)
    bench.core._sources.poke()
    bench.until("e", 1, VersionState.LOADING)
    later = Reload(bench, bench.config())
    assert not later.is_taken.wait(0.05)
    gate.set()
    assert waiting.end() is None
    assert later.until_taken().end() is None
    bench.until("e", 1, VersionState.END)


def test_reload_that_keeps_what_another_waits_for_waits_too(bench: Bench, waiting: Reload) -> None:
    bench.add("n", 1)
    later = Reload(bench, bench.config("e"), bench.config("n")).until_taken()
    bench.until("n", 1, VersionState.AVAILABLE)
    assert waiting.is_waiting
    assert later.is_waiting
    bench.add("e", 1)
    bench.core._sources.poke()
    assert waiting.end() is later.end() is None


def test_reload_whose_caller_leaves_ends_and_stays_in_effect(bench: Bench, waiting: Reload) -> None:
    waiting.caller.leave()
    assert isinstance(waiting.end(), Left)
    assert bench.core.model_names() == ("m", "e")
    bench.add("e", 1)
    bench.core._sources.poke()
    bench.until("e", 1, VersionState.AVAILABLE)


def test_reload_whose_caller_leaves_before_its_turn_is_not_applied(
    bench: Bench, waiting: Reload
) -> None:
    gate = bench.gates[ServableId("e", 1)] = threading.Event()
    bench.add("e", 1)
    bench.core._sources.poke()
    bench.until("e", 1, VersionState.LOADING)
    later = Reload(bench, bench.config())
    later.caller.leave()
    assert isinstance(later.end(), Left)
    gate.set()
    assert waiting.end() is None
    assert bench.core.model_names() == ("m", "e")


def test_wrong_reload_does_not_wait_for_its_refusal(bench: Bench, waiting: Reload) -> None:
    with pytest.raises(InvalidArgument):
        bench.apply(bench.config(), bench.config())
    with pytest.raises(FailedPrecondition):
        bench.core.apply(None)
    assert waiting.is_waiting


class Logs:
    """Takes what is to be logged."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.error: ServingError | None = None

    def __call__(self, configs: Mapping[str, bytes]) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(sorted(configs))


def test_logs_follow_a_reload_whose_caller_leaves_but_not_one_that_was_superseded(
    tmp_path: Path,
) -> None:
    logs = Logs()
    bench = Bench(tmp_path, update_logs=logs)
    for name in ("m", "e"):
        bench.add(name)
    bench.add("m", 1)

    def logged(name: str) -> ModelConfig:
        return replace(bench.config(name), logging_config=b"")

    bench.apply(bench.config())
    assert logs.told.pop() == []
    left = Reload(bench, logged("m"), bench.config("e")).until_taken()
    assert not logs.told
    left.caller.leave()
    left.end()
    assert logs.told.pop() == ["m"]
    superseded = Reload(bench, bench.config("m"), logged("e")).until_taken()
    bench.core.apply((logged("m"),), is_awaited=False)
    superseded.end()
    assert logs.told == [["m"]]
    assert bench.core.close(WAIT_S)


def log_config(prefix: str, kind: str = "jsonl") -> bytes:
    message = message_class("tensorflow.serving.LoggingConfig")()
    message.log_collector_config.type = kind
    message.log_collector_config.filename_prefix = prefix
    return bytes(message.SerializeToString())


@pytest.mark.parametrize("is_awaited", [True, False])
def test_a_wrong_collector_is_refused_before_anything_is_in_effect(
    tmp_path: Path, is_awaited: bool
) -> None:
    logs = Logs()
    bench = Bench(tmp_path, update_logs=logs, check_logs=check_logs)
    bench.add("m", 1)
    bench.add("n", 1)
    bench.apply(bench.config())
    wrong = replace(bench.config("n"), logging_config=log_config("/logs/n", "nope"))
    text = "Cannot find LogCollector::Factory for type: nope"
    with pytest.raises(NotFound, match=text):
        bench.core.apply((bench.config(), wrong), is_awaited=is_awaited, caller=Caller())
    with pytest.raises(NotFound, match=text):
        bench.core.change(lambda models: (*models, wrong), Actor(), is_dry_run=True)
    with pytest.raises(NotFound, match=text):
        bench.core.change(lambda models: (*models, wrong), Actor())
    assert bench.core.configured == bench.core.applied == (bench.config(),)
    bench.core.change(lambda models: (*models, bench.config("n")), Actor())
    bench.until("n", 1, VersionState.AVAILABLE)
    assert bench.core.close(WAIT_S)


def test_a_log_that_does_not_open_fails_a_start_and_no_later_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = Logs()
    logs.error = ResourceExhausted("no thread")
    bench = Bench(tmp_path, update_logs=logs)
    bench.add("m", 1)
    bench.add("n", 1)
    with pytest.raises(ResourceExhausted):
        bench.apply(bench.config())
    assert not Reload(bench, bench.config()).end()
    bench.core.change(lambda models: (*models, bench.config("n")), Actor())
    assert "Requests are logged as before: no thread" in caplog.text
    bench.until("n", 1, VersionState.AVAILABLE)
    logs.error = None
    bench.core.change(lambda models: models, Actor())  # the same again, to be logged at last
    assert logs.told == [[]]
    assert bench.core.close(WAIT_S)


def test_first_configuration_may_be_superseded_and_then_loads_go_on_as_in_ordinary_times(
    bench: Bench,
) -> None:
    bench.add("e")
    first = Reload(bench, bench.config("e")).until_taken()
    bench.core.apply((), is_awaited=False)
    assert isinstance(first.end(), Superseded)
    assert bench.core._manager._pools.loads._limit == 2


# -- a file that is polled -----------------------------------------------------------------------


class Polled:
    """A core whose configuration is a file; each poll is made by the test."""

    def __init__(self, bench: Bench, path: Path) -> None:
        self.bench = bench
        self.path = path
        self.polling = ConfigPolling(str(path), 3600, bench.core, is_watching=False)

    def write(self, *models: ModelConfig) -> None:
        self.path.write_text(f"model_config_list {{ {' '.join(map(config_text, models))} }}")
        self.polling._poll()


def config_text(model: ModelConfig) -> str:
    match model.version_policy:
        case Specific(versions):
            policy = "specific { " + " ".join(f"versions: {v}" for v in versions) + " }"
        case _:
            policy = "latest {}"
    labels = " ".join(
        f'version_labels {{ key: "{label}" value: {version} }}'
        for label, version in model.version_labels.items()
    )
    return (
        f'config {{ name: "{model.name}" base_path: "{model.base_path}" '
        f'model_platform: "{model.model_platform}" '
        f"model_version_policy {{ {policy} }} {labels} }}"
    )


@pytest.fixture
def polled(bench: Bench, tmp_path: Path) -> Polled:
    bench.add("m", 1, 2)
    polled = Polled(bench, tmp_path / "models.conf")
    polled.write(bench.config(policy=Specific((1,))))
    bench.until("m", 1, VersionState.AVAILABLE)
    return polled


def test_models_come_go_and_move_as_the_file_says(polled: Polled) -> None:
    bench = polled.bench
    bench.add("other", 7)
    polled.write(bench.config(policy=Specific((2,))), bench.config("other"))
    bench.until("m", 2, VersionState.AVAILABLE)
    bench.until("m", 1, VersionState.END)
    bench.until("other", 7, VersionState.AVAILABLE)
    bench.add("elsewhere", 8)
    polled.write(replace(bench.config("other"), base_path=str(bench.root / "elsewhere")))
    bench.until("other", 8, VersionState.AVAILABLE)
    bench.until("m", 2, VersionState.END)
    assert bench.core.model_names() == ("other",)


def test_file_that_adds_a_version_and_moves_a_label_to_it_lands_when_it_is_available(
    polled: Polled,
) -> None:
    bench = polled.bench
    polled.write(bench.config(policy=Specific((1,)), labels={"stable": 1}))
    bench.gates[ServableId("m", 2)] = threading.Event()
    polled.write(bench.config(policy=Specific((1, 2)), labels={"stable": 2}))
    bench.until("m", 2, VersionState.LOADING)
    assert bench.answers(labelled("stable")) == 1
    bench.gates[ServableId("m", 2)].set()
    bench.until("m", 2, VersionState.AVAILABLE)
    assert bench.answers(labelled("stable")) == 2


def test_label_of_a_version_whose_load_was_cancelled_lands_once_it_is_wanted_again(
    polled: Polled,
) -> None:
    bench = polled.bench
    id = ServableId("m", 2)
    bench.gates[id] = threading.Event()
    polled.write(bench.config(policy=Specific((1, 2)), labels={"stable": 1}))
    bench.until("m", 2, VersionState.LOADING)
    polled.write(bench.config(policy=Specific((1,)), labels={"stable": 1}))
    while bench.core._manager._machine.is_aspired(id):  # the source has yet to look
        threading.Event().wait(0.001)
    bench.gates.pop(id).set()
    bench.until("m", 2, VersionState.END)
    assert isinstance(bench.core.statuses("m", 2)[0].error, Cancelled)
    polled.write(bench.config(policy=Specific((1, 2)), labels={"stable": 2}))
    bench.until("m", 2, VersionState.AVAILABLE)
    assert bench.answers(labelled("stable")) == 2


def test_label_of_a_version_that_is_not_there_yet_lands_at_a_later_poll(
    polled: Polled, caplog: pytest.LogCaptureFixture
) -> None:
    bench = polled.bench
    polled.write(bench.config(policy=Specific((1, 3)), labels={"canary": 3}))
    text = (
        "PollFilesystemAndReloadConfig failed to ReloadConfig: Request to assign label to version "
        "3 of model m, which is not currently available for inference"
    )
    assert any(record.getMessage().startswith(text) for record in caplog.records)
    bench.add("m", 3)
    polled.polling._poll()
    bench.until("m", 3, VersionState.AVAILABLE)
    assert bench.answers(labelled("canary")) == 3


def test_model_that_never_comes_keeps_no_later_file_waiting(polled: Polled) -> None:
    bench = polled.bench
    bench.add("empty")
    polled.write(bench.config(policy=Specific((1,))), bench.config("empty"))
    polled.write(bench.config(policy=Specific((2,))))
    bench.until("m", 2, VersionState.AVAILABLE)
