from salver.config.model_options import LoadSettings
from salver.vocabulary.servable import ServableId
from salver.workers.versions import Stage, Versions

A, B = ServableId("a", 1), ServableId("b", 1)


def test_marks_lead_to_the_versions_that_answer() -> None:
    versions = Versions()
    for id in (A, B):
        versions[id] = versions.new(LoadSettings("tensorflow"), id, f"/{id.name}/1")
    marks = {id: versions[id].source.mark for id in (A, B)}
    assert len({0, *marks.values()}) == 3
    assert versions.answering(marks.values()) == frozenset()
    versions[A].stage = Stage.PUBLISHED
    versions[B].stage = Stage.ISOLATED
    assert versions.answering([*marks.values(), 77]) == {A, B}
    del versions[B]
    assert versions.answering(marks.values()) == {A}
    assert versions.marked([*marks.values(), 77]) == {A, B}


def test_a_version_that_is_loaded_anew_answers_for_its_old_mark() -> None:
    versions = Versions()
    old = versions.new(LoadSettings("tensorflow"), A, "/a/1")
    versions[A] = versions.new(LoadSettings("tensorflow"), A, "/a/1")
    versions[A].stage = Stage.PUBLISHED
    assert versions.answering([old.source.mark]) == {A}


def test_only_so_many_marks_are_remembered() -> None:
    versions = Versions()
    first = versions.new(LoadSettings("tensorflow"), A, "/a/1")
    versions[A] = first
    first.stage = Stage.PUBLISHED
    for _ in range(10_000):
        versions.new(LoadSettings("tensorflow"), B, "/b/1")
    assert versions.answering([first.source.mark]) == frozenset()


def test_only_what_workers_run_is_wanted_by_a_new_worker() -> None:
    version = Versions().new(LoadSettings("tensorflow"), A, "/a/1")
    wanted = {}
    for version.stage in Stage:
        wanted[version.stage] = version.is_wanted
    assert {stage for stage in wanted if wanted[stage]} == {Stage.LOADED, Stage.PUBLISHED}
