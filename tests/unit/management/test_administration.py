"""Administration of a real core, whose models can do nothing."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.management.test_core import WAIT_S, Bench

from salver.config.batching import BatchingParameters
from salver.config.changes import (
    Condition,
    DeleteModel,
    PutBatching,
    PutConfig,
    PutLabel,
    PutModel,
    Stale,
)
from salver.config.model_documents import read_config, read_model
from salver.config.model_options import ModelOptions
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import FailedPrecondition, NotFound
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionState
from salver.management.administration import Administration
from salver.management.audit import Audit
from salver.protocols.administration import (
    Act,
    AdminRequest,
    MakeChange,
    ReadAudit,
    ReadConfig,
    ReadModel,
    ReadRevisions,
)
from salver.vocabulary.access import Actor

ANN = Actor("ann", "api_key")
Make = Callable[..., Administration]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.add("m", 1)
    bench.add("n", 1)
    yield bench
    bench.core.close(WAIT_S)


@pytest.fixture
def file(bench: Bench) -> Path:
    path = bench.root / "models.yaml"
    path.write_text(
        f"models:\n- name: m\n  base_path: {bench.root / 'm'}\n  salver: {{max_queued_runs: 7}}\n"
    )
    return path


@pytest.fixture
def make(bench: Bench, file: Path) -> Make:
    def make(clear: Callable[[str], tuple[int, ...]] = lambda _: (1,), **flags: Any) -> Any:
        options = ServerOptions(
            model_config_file=str(file),
            model_config_file_poll_wait_seconds=1,
            sources=(("model_config_file", "command line"),),
            **flags,
        )
        configuration = read_configuration(options)
        audit = Audit()
        bench.core._on_applied = audit.applied
        bench.core.apply(configuration.models)
        bench.until("m", 1, VersionState.AVAILABLE)
        return Administration(bench.core, configuration, audit, clear_quarantine=clear)

    return make


@pytest.fixture
def administration(make: Make) -> Administration:
    return make()


def ask(administration: Administration, request: AdminRequest) -> Any:
    return administration(request, Caller(actor=ANN)).document


def sources(settings: list[dict[str, Any]]) -> dict[str, tuple[Any, str]]:
    return {each["name"]: (each["value"], each["source"]) for each in settings}


def test_each_value_of_the_configuration_has_its_source(
    administration: Administration, bench: Bench, file: Path
) -> None:
    told = ask(administration, ReadConfig())
    flags = sources(told["flags"])
    assert flags["model_config_file"] == (str(file), "command line")
    assert flags["port"] == (8500, "default")
    (own,) = told["models"]
    settings = sources(own["settings"])
    assert settings["base_path"] == (str(bench.root / "m"), f"{file}:3:14")
    assert settings["salver.max_queued_runs"] == (7, f"{file}:4:29")
    assert settings["salver.max_concurrent_runs"] == (0, "--max_concurrent_runs_per_model: default")
    assert (told["is_changed"], told["unloaded"]) == (False, [])
    assert told["persistence"] == (
        f"Changes are in memory only, until the bytes of {file} change or the server ends."
    )


def test_what_a_request_has_changed_comes_from_memory(
    administration: Administration, file: Path
) -> None:
    ask(administration, MakeChange(PutLabel("m", "stable", 1)))
    told = ask(administration, ReadModel("m"))
    settings = sources(told["settings"])
    assert settings["version_labels.stable"] == (1, "memory")
    assert settings["salver.max_queued_runs"] == (7, f"{file}:4:29")
    assert told["labels"] == {"stable": 1}
    assert told["versions"] == [{"version": 1, "state": "AVAILABLE"}]
    assert ask(administration, ReadConfig())["is_changed"]


def test_a_file_that_cannot_be_read_any_more_is_said_to_be_so(
    administration: Administration, file: Path
) -> None:
    file.write_text("models: [")
    told = ask(administration, ReadConfig())
    assert told["model_config_file_problem"]
    assert told["config"]["models"][0]["name"] == "m"


def test_a_change_says_what_it_does_and_what_is_loaded_again(
    administration: Administration, bench: Bench
) -> None:
    config = ask(administration, ReadModel("m"))["config"]
    config["salver"]["max_queued_runs"] = 9

    model = read_model(json.dumps(config).encode(), ".json", "m")
    tried = ask(administration, MakeChange(PutModel(model), is_dry_run=True))
    done = ask(administration, MakeChange(PutModel(model)))
    assert tried == {**done, "is_dry_run": True}
    assert done["changes"] == [
        {"model": "m", "field": "salver.max_queued_runs", "before": 7, "after": 9}
    ]
    assert done["loads_again"] == []
    assert done["etag"] == ask(administration, ReadModel("m"))["etag"]
    assert done["config_etag"] == ask(administration, ReadConfig())["etag"]
    apart = bench.config("m", options=ModelOptions(isolation="process"))
    assert ask(administration, MakeChange(PutModel(apart), is_dry_run=True))["loads_again"] == ["m"]


def test_a_hundred_administrators_at_once_lose_no_change(administration: Administration) -> None:
    conflicts: list[int] = []

    def one_more() -> None:
        for tries in range(10_000):
            answer = administration(ReadModel("m"), Caller())
            config = dict(answer.document["config"])
            runs = config["salver"]["max_queued_runs"] + 1

            config["salver"] = {**config["salver"], "max_queued_runs": runs}
            model = read_model(json.dumps(config).encode(), ".json", "m")
            try:
                administration(
                    MakeChange(PutModel(model), Condition((answer.tag,))), Caller(actor=ANN)
                )
            except Stale:
                continue
            conflicts.append(tries)
            return

    threads = [threading.Thread(target=one_more) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * WAIT_S)
    assert len(conflicts) == 100
    assert ask(administration, ReadModel("m"))["config"]["salver"]["max_queued_runs"] == 107
    assert len(ask(administration, ReadRevisions())["revisions"]) == 100  # the most there are


def test_what_was_done_and_what_was_refused_is_on_record(administration: Administration) -> None:
    ask(administration, MakeChange(PutLabel("m", "stable", 1)))
    with pytest.raises(FailedPrecondition):
        ask(administration, MakeChange(PutLabel("m", "next", 2)))
    with pytest.raises(FailedPrecondition):
        ask(administration, MakeChange(PutLabel("m", "next", 2), is_dry_run=True))
    ask(administration, Act("clear_quarantine", "m"))
    with pytest.raises(NotFound):
        ask(administration, Act("reload", "x"))
    entries = ask(administration, ReadAudit(4))["entries"]
    assert [(each["action"], each["model"], each["outcome"]) for each in entries] == [
        ("reload", "x", "NOT_FOUND"),
        ("clear_quarantine", "m", "OK"),
        ("configure", "m", "FAILED_PRECONDITION"),
        ("configure", "m", "OK"),
    ]
    assert {each["principal"] for each in entries} == {"ann"}


def test_an_earlier_configuration_can_be_put_back(administration: Administration) -> None:
    ask(administration, MakeChange(PutLabel("m", "stable", 1)))
    first = ask(administration, ReadRevisions(1))

    models = read_config(json.dumps(first).encode(), ".json")
    ask(administration, MakeChange(PutConfig(models)))
    assert not ask(administration, ReadConfig())["is_changed"]


def test_batching_needs_a_server_that_batches(make: Make) -> None:
    change = MakeChange(PutBatching("m", BatchingParameters(max_batch_size=4)))
    with pytest.raises(FailedPrecondition) as caught:
        ask(make(), change)
    assert caught.value.hint == "They are with --enable_batching."


def test_batching_is_changed_without_a_new_load(make: Make, bench: Bench) -> None:
    administration, count = make(enable_batching=True), len(bench.loads)
    change = MakeChange(PutBatching("m", BatchingParameters(max_batch_size=4)))
    assert ask(administration, change)["loads_again"] == []
    settings = sources(ask(administration, ReadModel("m"))["settings"])
    assert settings["salver.batching.max_batch_size"] == (4, "memory")
    assert len(bench.loads) == count


def test_models_are_unloaded_and_loaded_and_removed(
    administration: Administration, bench: Bench
) -> None:
    done = ask(administration, Act("unload", "m"))
    assert done["versions"][0]["state"] == "END"
    assert ask(administration, ReadModel("m"))["is_unloaded"]
    done = ask(administration, Act("load", "m"))
    assert done["versions"] == [{"version": 1, "state": "AVAILABLE"}]
    gone = ask(administration, MakeChange(DeleteModel("m")))
    assert gone["changes"][0]["after"] is None
    with pytest.raises(NotFound):
        ask(administration, ReadModel("m"))
