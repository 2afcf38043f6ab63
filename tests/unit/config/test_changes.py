from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from salver.config.batching import BatchingParameters
from salver.config.changes import (
    Condition,
    DeleteLabel,
    DeleteModel,
    Difference,
    PutBatching,
    PutConfig,
    PutLabel,
    PutModel,
    Stale,
    Tags,
    differences,
    made,
)
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.errors import InvalidArgument, NotFound, PermissionDenied
from salver.vocabulary.servable import All


def model(name: str, **more: object) -> ModelConfig:
    return ModelConfig(
        name=name,
        base_path=f"/{name}",
        model_platform="tensorflow",
        **more,  # type: ignore[arg-type]
    )


A, B = model("a"), model("b")


def test_a_model_is_added_at_the_end_and_replaced_in_its_place() -> None:
    assert made((A,), PutModel(B)) == (A, B)
    other = model("a", version_labels={"x": 1})
    assert made((A, B), PutModel(other)) == (other, B)


def test_a_model_that_goes_takes_no_other_along() -> None:
    assert made((A, B), DeleteModel("a")) == (B,)
    with pytest.raises(NotFound, match="Model c is not configured"):
        made((A, B), DeleteModel("c"))


def test_labels_come_move_and_go() -> None:
    once = made((A, B), PutLabel("a", "stable", 1))
    assert once == (model("a", version_labels={"stable": 1}), B)
    assert made(once, PutLabel("a", "stable", 2))[0].version_labels == {"stable": 2}
    assert made(once, DeleteLabel("a", "stable")) == (A, B)
    with pytest.raises(NotFound, match="Model a has no label other"):
        made(once, DeleteLabel("a", "other"))
    with pytest.raises(InvalidArgument):
        made(once, PutLabel("a", "", 1))


def test_batching_parameters_are_the_models_own_until_they_are_taken_away() -> None:
    parameters = BatchingParameters(max_batch_size=3)
    own = made((A,), PutBatching("a", parameters))
    assert own[0].options.batching == parameters
    assert made(own, PutBatching("a", None)) == (A,)


def test_what_a_request_does_not_say_of_how_a_model_is_run_stays_but_for_limits() -> None:
    options = ModelOptions(
        isolation="process", options={"a": "1"}, python_executable="/p", max_queued_runs=3
    )
    before = (model("a", options=options),)
    kept = made(before, PutModel(A))[0].options
    assert kept == ModelOptions(isolation="process", options={"a": "1"}, python_executable="/p")
    assert made(before, PutConfig((A,)))[0].options == kept


@pytest.mark.parametrize(
    "options",
    [
        ModelOptions(options={"custom_op": "/evil.so"}),
        ModelOptions(python_executable="/tmp/python"),
        ModelOptions(isolation="none"),
    ],
)
def test_no_request_says_what_code_runs_or_has_a_model_leave_its_process(
    options: ModelOptions,
) -> None:
    before = (model("a", options=ModelOptions(isolation="process")),)
    for change in (
        PutModel(model("a", options=options)),
        PutConfig((model("a", options=options),)),
    ):
        with pytest.raises(PermissionDenied, match="A request cannot set"):
            made(before, change)


def test_isolation_by_a_flag_is_taken_off_by_no_request() -> None:
    alone = model("a", options=ModelOptions(isolation="none"))
    for before in ((A,), ()):
        with pytest.raises(PermissionDenied, match="cannot set the isolation of model a"):
            made(before, PutModel(alone))
    assert made((alone,), PutModel(alone)) == (alone,)
    assert made((alone,), PutModel(A)) == (alone,)


@pytest.mark.parametrize("path", ["/a", "/a/", "/x/../a", "file:///a", "/a/3", "/"])
def test_a_place_is_served_in_the_server_by_no_other_name(path: str) -> None:
    apart = model("a", options=ModelOptions(isolation="process"))
    alone = model("n", options=ModelOptions(isolation="none"))
    named = replace(B, base_path=path)
    for change in (PutModel(named), PutConfig((named,))):
        assert made((apart,), change)[-1].options.isolation == "process"
    moved = replace(alone, base_path=path)
    with pytest.raises(PermissionDenied, match="cannot set the isolation of model n"):
        made((apart, alone), PutModel(moved))
    moved = replace(moved, options=ModelOptions())
    assert made((apart, alone), PutModel(moved))[-1].options.isolation == "process"
    assert made((A, alone), PutModel(moved))[-1].options.isolation == ""  # as the server says
    assert made((apart,), PutModel(replace(B, base_path="/other")))[-1].options.isolation == ""


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("s3://models/a", "S3://models/a"),
        ("s3://models/a", "s3://models//a/"),
        ("abfs://models/a", "ABFSS://models/a"),
        ("https://host/a/1.tar.gz", "https://HOST:443/%61/1.tar.gz"),
        ("hf://team/repo", "HF://team/repo"),
    ],
)
def test_a_place_of_a_store_is_served_in_the_server_by_no_other_spelling(
    path: str, other: str
) -> None:
    apart = replace(A, base_path=path, options=ModelOptions(isolation="process"))
    for base_path, isolation in ((other, "process"), (path + "-b", "")):
        named = replace(B, base_path=base_path)
        assert made((apart,), PutModel(named))[-1].options.isolation == isolation


def test_a_path_of_this_machine_with_a_scheme_in_it_is_no_uri(tmp_path: Path) -> None:
    (tmp_path / "s3:").mkdir()
    apart = replace(A, base_path=f"{tmp_path}/a", options=ModelOptions(isolation="process"))
    named = replace(B, base_path=f"{tmp_path}/s3://../a")
    assert made((apart,), PutModel(named))[-1].options.isolation == "process"


def test_a_link_is_the_place_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    options = ModelOptions(isolation="process")
    apart = replace(A, base_path=str(tmp_path / "real"), options=options)
    after = made((apart,), PutModel(replace(B, base_path=str(tmp_path / "link"))))
    assert after[-1].options == options


def test_a_model_that_was_removed_comes_back_with_its_processes() -> None:
    apart = model("a", options=ModelOptions(isolation="process"))
    assert made((), PutModel(A), (apart,))[0].options.isolation == "process"
    assert made((A,), PutModel(A), (apart,)) == (A,)  # the file has been changed by now


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"base_path": "/of/another"}, {}),
        ({"logging_config": b"\x0a\x00"}, {}),
        ({}, {"isolation": "process"}),
        ({}, {"instances": 200}),
        ({}, {"max_resident_bytes": 1}),
        ({}, {"cpus": 3}),
        ({}, {"on_timeout": "kill"}),
        ({}, {"max_concurrent_runs": 1000}),
        ({}, {"max_queued_runs": 0}),
    ],
)
def test_who_administers_one_model_has_it_served_from_where_and_as_it_is(
    fields: dict[str, Any], options: dict[str, Any]
) -> None:
    changed = replace(A, **fields, options=ModelOptions(**options))
    (name,) = (fields or options).keys()
    with pytest.raises(PermissionDenied, match=f"To change {name} of model a takes a role of all"):
        made((A, B), PutModel(changed, is_of_one=True))
    assert made((A, B), PutModel(changed)) == (changed, B)


def test_who_administers_one_model_sets_its_labels_and_adds_no_other() -> None:
    labels = replace(A, version_labels={"stable": 1}, version_policy=All())
    options = ModelOptions(isolation="process", instances=2, max_queued_runs=0, on_timeout="kill")
    after = made((replace(A, options=options), B), PutModel(labels, is_of_one=True))[0]
    assert after == replace(labels, options=options)
    with pytest.raises(PermissionDenied, match="To add model b takes a role of all models"):
        made((A,), PutModel(B, is_of_one=True))


@pytest.mark.parametrize("limit", ["max_concurrent_runs", "max_queued_runs"])
@pytest.mark.parametrize(
    ("before", "after", "is_permitted"),
    [(4, 4, True), (4, 1, True), (0, 0, True), (4, 5, False), (4, 0, False), (0, 5, False)],
)
def test_who_administers_one_model_may_lower_its_limits_and_not_raise_them(
    limit: str, before: int, after: int, is_permitted: bool
) -> None:
    was = replace(A, options=ModelOptions(**{limit: before}))  # type: ignore[arg-type]
    new = replace(A, options=ModelOptions(**{limit: after}))  # type: ignore[arg-type]
    if is_permitted:
        assert made((was,), PutModel(new, is_of_one=True)) == (new,)
    else:
        with pytest.raises(PermissionDenied, match=f"To change {limit} of model a takes a role"):
            made((was,), PutModel(new, is_of_one=True))
    assert made((was,), PutModel(new)) == (new,)
    assert made((was,), PutModel(A, is_of_one=True)) == (was,)


# -- conditions ----------------------------------------------------------------------------------


def test_a_change_may_depend_on_the_tag_of_its_model_or_of_the_configuration() -> None:
    tags, models = Tags(), (A, B)
    for tag in (tags.of(A), tags.of_all(models), "*"):
        Condition((tag,)).check(tags, models, "a")
    Condition((tags.of_all(models),)).check(tags, models, None)
    Condition(("*",)).check(tags, models, None)
    for wrong in (tags.of(B), "other", ""):
        with pytest.raises(Stale):
            Condition((wrong,)).check(tags, models, "a")
    Condition(("other", tags.of(A))).check(tags, models, "a")


def test_any_tag_is_none_of_a_model_that_is_not_there() -> None:
    with pytest.raises(Stale):
        Condition(("*",)).check(Tags(), (A,), "b")


def test_what_is_to_be_new_must_not_be_there() -> None:
    Condition(is_new=True).check(Tags(), (A,), "b")
    for name in ("a", None):
        with pytest.raises(Stale, match="is there already"):
            Condition(is_new=True).check(Tags(), (A,), name)


def test_tags_tell_order_and_content_and_are_kept_for_no_model_that_has_gone() -> None:
    tags = Tags()
    assert tags.of_all((A, B)) != tags.of_all((B, A))
    assert tags.of_all((A, B)) == Tags().of_all((model("a"), model("b")))
    for number in range(100):
        tags.of_all((model(str(number)),))
    assert len(tags._of) <= 3


# -- differences ---------------------------------------------------------------------------------


def test_differences_name_the_fields_and_both_values() -> None:
    new = model("a", version_labels={"s": 1}, options=ModelOptions(max_queued_runs=0))
    c = model("c")
    found, more = differences((A, B), (new, c))
    assert more == 0
    assert found[0].model == "b"
    assert (found[0].field, found[0].after) == ("", None)
    assert found[1:3] == (
        Difference("a", "version_labels", None, {"s": 1}),
        Difference("a", "salver", None, {"max_queued_runs": 0}),
    )
    assert found[3].model == "c"
    assert found[3].before is None


def test_of_many_differences_the_first_are_told_and_the_others_counted() -> None:
    found, more = differences((), tuple(model(str(n)) for n in range(130)))
    assert (len(found), more) == (100, 30)
