"""Configurations that administrators make of the present one."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.management.test_core import WAIT_S, Bench, log_config

from salver.config.batching import BatchingParameters
from salver.config.changes import PutBatching, PutLabel, PutModel, made
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionState
from salver.management.base_paths import BasePaths
from salver.server.models import core_options
from salver.vocabulary.access import Actor

Models = tuple[ModelConfig, ...]
ANN = Actor("ann", "api_key", "10.0.0.1", "PUT /admin/v1/config")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.add("m", 1)
    bench.add("n", 1)
    bench.apply(bench.config("m"))
    bench.until("m", 1, VersionState.AVAILABLE)
    yield bench
    bench.core.close(WAIT_S)


def test_a_model_is_added_to_what_there_is_by_then(bench: Bench) -> None:
    before, after = bench.core.change(lambda models: (*models, bench.config("n")), ANN)
    assert [model.name for model in before] == ["m"]
    assert bench.core.configured == bench.core.applied == after
    bench.until("n", 1, VersionState.AVAILABLE)


def test_a_dry_run_finds_what_is_wrong_and_changes_nothing(bench: Bench) -> None:
    m = bench.config("m")

    def wrong(change: Models, error: type[Exception]) -> None:
        for is_dry_run in (True, False):
            with pytest.raises(error):
                bench.core.change(lambda _: change, ANN, is_dry_run=is_dry_run)
        assert bench.core.configured == bench.core.applied == (m,)

    before, after = bench.core.change(lambda _: (bench.config("n"),), ANN, is_dry_run=True)
    assert (before, after) == ((m,), (bench.config("n"),))
    assert bench.core.configured == (m,)
    wrong((m, m), InvalidArgument)
    wrong((replace(m, base_path="relative"),), InvalidArgument)
    wrong((replace(m, model_platform="onnx"),), InvalidArgument)
    wrong((m, bench.config("n", platform="none")), InvalidArgument)
    wrong((replace(m, version_labels={"stable": 7}),), FailedPrecondition)
    batching = BatchingParameters(max_batch_size=3, allowed_batch_sizes=(2,))
    wrong((replace(m, options=ModelOptions(batching=batching)),), InvalidArgument)


def test_a_request_names_no_place_that_is_not_its_to_name(bench: Bench) -> None:
    bench.core._admission._base_paths = BasePaths(())
    bench.core._admission.name(bench.core.configured)
    with pytest.raises(PermissionDenied):
        bench.core.change(lambda models: (*models, bench.config("n")), ANN)
    label = PutLabel("m", "stable", 1)
    bench.core.change(lambda models: made(models, label), ANN)
    assert bench.core.labels("m") == {"stable": 1}


@pytest.mark.parametrize("files", ["/etc/cron.d/x", "/logs/m2", "/logs/m/../../etc/x"])
def test_a_request_has_nothing_logged_to_files_that_nobody_named_before(
    bench: Bench, files: str
) -> None:
    bench.core._admission._may_name_log_files = False
    own = replace(bench.config("m"), logging_config=log_config("/logs/m"))
    bench.apply(own)
    wrong = replace(bench.config("m"), logging_config=log_config(files, "file"))
    text = "A request cannot set the files of the request log of model m"
    with pytest.raises(PermissionDenied, match=text):
        bench.core.change(lambda models: made(models, PutModel(wrong)), ANN)
    with pytest.raises(PermissionDenied, match=text):
        bench.core.apply((wrong,), caller=Caller(actor=ANN))
    assert bench.core.configured == bench.core.applied == (own,)


def test_files_that_the_configuration_has_may_be_named_for_any_model_and_again(
    bench: Bench,
) -> None:
    bench.core._admission._may_name_log_files = False
    own = replace(bench.config("m"), logging_config=log_config("/logs/m"))
    other = replace(bench.config("n"), logging_config=log_config("/logs/m", "file"))
    bench.apply(own)
    bench.core.change(lambda models: (*models, other), ANN)
    bench.core.change(lambda _: (bench.config("m"),), ANN)
    bench.core.change(lambda _: (own,), ANN)  # back to what the file says
    with pytest.raises(FailedPrecondition):  # a file that is refused takes nothing away
        bench.apply(bench.config("m", labels={"stable": 9}))
    bench.core.change(lambda models: made(models, PutLabel("m", "stable", 1)), ANN)
    assert bench.core.configured == (replace(own, version_labels={"stable": 1}),)


def test_any_files_may_be_named_where_any_base_path_may_and_everybody_is_let_in() -> None:
    def may(**flags: Any) -> bool:
        return core_options(read_configuration(ServerOptions(**flags), ())).may_name_log_files

    assert may()  # tensorflow_model_server
    assert may(allowed_base_paths="/models, *")
    assert not may(allowed_base_paths="")  # salver serve
    assert not may(allowed_base_paths="/models,s3://models")
    guarded = read_configuration(ServerOptions(), ())
    guarded = replace(guarded, options=ServerOptions(auth_config_file="auth.yaml"))
    assert not core_options(guarded).may_name_log_files


# -- what a reload cannot say --------------------------------------------------------------------


def _reload(bench: Bench, *models: ModelConfig) -> Models:
    bench.core.apply(models, caller=Caller(actor=ANN))
    return bench.core.configured


@pytest.mark.parametrize("name", ["m", "n"])
def test_no_reload_gives_a_model_options_for_its_backend_or_a_program_to_run(
    bench: Bench, name: str
) -> None:
    own = bench.config("n", options=ModelOptions(options={"a": "2"}, python_executable="/p"))
    bench.apply(bench.config("m"), own)
    for options, what in (
        (ModelOptions(options={"a": "1"}), "options"),
        (ModelOptions(python_executable="/bin/sh"), "python_executable"),
    ):
        with pytest.raises(PermissionDenied, match=f"cannot set the {what} of model {name}"):
            _reload(bench, bench.config(name, options=options))
    assert bench.core.configured == bench.core.applied == (bench.config("m"), own)


def test_a_model_keeps_the_options_of_its_backend_over_a_reload(bench: Bench) -> None:
    bench.apply(bench.config("m", options=ModelOptions(options={"a": "1"}, max_queued_runs=3)))
    kept = bench.config("m", options=ModelOptions(options={"a": "1"}))
    assert _reload(bench, bench.config("m")) == (kept,)
    assert _reload(bench, kept) == (kept,)


def test_a_reload_takes_no_model_out_of_its_processes(bench: Bench) -> None:
    kept = ModelOptions(isolation="process", instances=2, on_timeout="kill")
    bench.apply(bench.config("m", options=kept))
    with pytest.raises(PermissionDenied, match="cannot set the isolation of model m"):
        _reload(bench, bench.config("m", options=ModelOptions(isolation="none")))
    assert _reload(bench, bench.config("m")) == (bench.config("m", options=kept),)
    more = _reload(bench, bench.config("m", options=ModelOptions(instances=3)))
    assert more == (bench.config("m", options=replace(kept, instances=3)),)


def test_a_model_comes_back_with_the_processes_that_the_file_gives_it(bench: Bench) -> None:
    apart = bench.config("m", options=ModelOptions(isolation="process"))
    bench.apply(apart)
    assert _reload(bench) == ()
    assert _reload(bench, bench.config("m")) == (apart,)


def test_a_reload_undoes_no_change_that_was_made_before_its_turn(bench: Bench) -> None:
    batched = BatchingParameters(max_batch_size=3)
    with bench.core._applying:
        reload = threading.Thread(target=_reload, args=(bench, bench.config("m")))
        reload.start()
        until_s = time.monotonic() + WAIT_S
        while not bench.core._turn.locked():  # it has read what there is, and waits
            assert time.monotonic() < until_s
        bench.core._configured = made(bench.core._configured, PutBatching("m", batched))
    reload.join(WAIT_S)
    assert bench.core.configured[0].options.batching == batched


# ------------------------------------------------------------------------------------------------


def test_limits_and_labels_load_nothing_again_and_other_options_do(bench: Bench) -> None:
    count = len(bench.loads)
    bench.core.change(lambda m: made(m, PutLabel("m", "stable", 1)), ANN)
    limited = bench.config("m", options=ModelOptions(max_queued_runs=3))
    bench.core.change(lambda m: made(m, PutModel(limited)), ANN)
    bench.until("m", 1, VersionState.AVAILABLE)
    assert len(bench.loads) == count


def test_of_many_at_once_each_sees_what_the_one_before_has_done(bench: Bench) -> None:
    def one_more(models: Models) -> Models:
        (model,) = models
        limits = ModelOptions(max_queued_runs=(model.options.max_queued_runs or 0) + 1)
        return (replace(model, options=limits),)

    threads = [threading.Thread(target=lambda: bench.core.change(one_more, ANN)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert bench.core.configured[0].options.max_queued_runs == 50


def test_before_the_first_configuration_there_is_none_to_change(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.add("m", 1)
    with pytest.raises(Unavailable, match="no configuration yet"):
        bench.core.change(lambda _: (bench.config("m"),), ANN)
    bench.core.apply(None)  # a file that asks for nothing
    bench.core.change(lambda _: (bench.config("m"),), ANN)
    bench.until("m", 1, VersionState.AVAILABLE)
    bench.core.close(WAIT_S)


def test_a_configuration_that_was_refused_takes_nothing_of_the_present_one_along(
    bench: Bench,
) -> None:
    with pytest.raises(FailedPrecondition):
        bench.apply(bench.config("m", labels={"stable": 9}))
    assert bench.core.applied is None
    assert bench.core.configured == (bench.config("m"),)
    bench.core.change(lambda models: models, ANN)  # the same again is in effect as a whole
    assert bench.core.applied == (bench.config("m"),)


@pytest.mark.parametrize(
    "wrong", [{"platform": "onnx"}, {"platform": "none"}, {"labels": {"stable": 9}}]
)
def test_a_file_that_is_refused_names_no_place_and_takes_none_away(
    bench: Bench, wrong: dict[str, Any]
) -> None:
    bench.core._admission._base_paths = BasePaths(())
    m = bench.config("m")
    bench.apply(m)
    with pytest.raises((InvalidArgument, FailedPrecondition)):
        bench.apply(replace(bench.config("m", **wrong), base_path=str(bench.root / "n")))
    bench.core.change(lambda models: made(models, PutLabel("m", "stable", 1)), ANN)
    again = replace(m, name="again")
    bench.core.change(lambda models: (*models, again), ANN)
    assert bench.core.named == (m,)
    assert_is_denied(bench, m, bench.config("n"))
    with pytest.raises(PermissionDenied):
        bench.core.apply((m, bench.config("n")), caller=Caller(actor=ANN))


def assert_is_denied(bench: Bench, *models: ModelConfig) -> None:
    with pytest.raises(PermissionDenied, match="allowed_base_paths"):
        bench.core.change(lambda _: models, ANN)


def test_a_model_that_stays_where_it_is_holds_up_no_change(bench: Bench) -> None:
    bench.core._admission._base_paths = BasePaths([str(bench.root / "n")])
    bench.apply(bench.config("m"))
    bench.core.change(lambda models: (*models, bench.config("n")), ANN)
    bench.core._admission._base_paths = BasePaths([str(bench.root / "other")])
    bench.core.change(lambda models: made(models, PutLabel("m", "stable", 1)), ANN)
    assert bench.core.labels("m") == {"stable": 1}
    elsewhere = replace(bench.config("n"), base_path=str(bench.root / "moved"))
    assert_is_denied(bench, bench.config("m"), elsewhere)
    assert_is_denied(bench, bench.config("m"), replace(elsewhere, name="o"))


# -- loading again -------------------------------------------------------------------------------


def test_versions_are_loaded_again_when_somebody_wants_it(bench: Bench) -> None:
    count = len(bench.loads)
    bench.core.reload("m", ANN)
    bench.until("m", 1, VersionState.AVAILABLE)
    assert len(bench.loads) == count + 1


def test_a_version_that_had_failed_is_tried_again(bench: Bench) -> None:
    bench.add("n", 2, broken=True)
    bench.core.change(lambda models: (*models, bench.config("n")), ANN)
    bench.until("n", 2, VersionState.END)
    bench.add("n", 2)
    bench.core.reload("n", ANN)
    bench.until("n", 2, VersionState.AVAILABLE)


def test_only_what_is_configured_and_not_unloaded_is_loaded_again(bench: Bench) -> None:
    with pytest.raises(NotFound, match="Model x is not configured"):
        bench.core.reload("x", ANN)
    bench.core.set_loaded("m", is_loaded=False)
    with pytest.raises(FailedPrecondition, match="Model m is unloaded"):
        bench.core.reload("m", ANN)
