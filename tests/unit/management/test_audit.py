import json
from dataclasses import replace

import pytest

from salver.config.models import ModelConfig
from salver.errors import NotFound
from salver.management.applied import Applied
from salver.management.audit import Audit, Entry, audit_line
from salver.vocabulary.access import Actor

ANN = Actor("ann", "api_key", "10.0.0.1", "PUT /admin/v1/models/m")


def model(name: str) -> ModelConfig:
    return ModelConfig(name=name, base_path=f"/{name}", model_platform="tensorflow")


@pytest.fixture
def written() -> list[Entry]:
    return []


@pytest.fixture
def audit(written: list[Entry]) -> Audit:
    return Audit(written.append, now=lambda: 1.5)


def test_who_changed_what_is_told_with_the_newest_first(audit: Audit) -> None:
    audit.applied(Applied((), (model("m"),), None))
    audit.applied(Applied((model("m"),), (model("m"), model("n")), ANN))
    audit.applied(Applied((), (), ANN, "n", "unload"))
    audit.failed(ANN, "configure", "m", "ABORTED", "changed" * 1000)
    failed, unload, added, first = audit.entries(10)
    assert (first["via"], first["principal"], first["revision"]) == ("start", "", 1)
    assert added["time"] == "1970-01-01T00:00:01.500Z"
    assert (added["principal"], added["principal_kind"], added["peer"]) == (
        "ann", "api_key", "10.0.0.1",
    )  # fmt: skip
    assert (added["action"], added["model"], added["outcome"]) == ("configure", "n", "OK")
    assert added["changes"][0]["after"]["base_path"] == "/n"
    assert (unload["action"], unload["model"], unload["revision"]) == ("unload", "n", 0)
    assert (failed["outcome"], len(failed["message"])) == ("ABORTED", 1000)
    assert [each["number"] for each in audit.entries(2)] == [4, 3]
    assert audit.entries(0) == []


def test_a_setting_is_on_record_with_what_it_was(audit: Audit) -> None:
    audit.adjusted(ANN, "log_level", "info", "debug")
    (entry,) = audit.entries(1)
    assert (entry["principal"], entry["action"], entry["revision"]) == ("ann", "log_level", 0)
    change = {"model": "", "field": "log_level", "before": "info", "after": "debug"}
    assert entry["changes"] == [change]


def test_what_the_file_says_is_not_laid_to_anybody(audit: Audit) -> None:
    audit.applied(Applied((), (model("m"),), None))
    audit.applied(Applied((model("m"),), (), None))
    assert audit.entries(1)[0]["via"] == "--model_config_file"


def test_each_entry_is_written_as_a_line_of_json(audit: Audit, written: list[Entry]) -> None:
    audit.applied(Applied((), (model("m"),), ANN))
    audit.did(ANN, "clear_quarantine", "m")
    lines = [json.loads(audit_line(entry)) for entry in written]
    assert [line["action"] for line in lines] == ["configure", "clear_quarantine"]
    assert lines == list(reversed(audit.entries(2)))
    assert audit_line(written[0]).count(b"\n") == 1


def test_earlier_configurations_are_told_whole(audit: Audit) -> None:
    audit.applied(Applied((), (model("m"),), None))
    audit.applied(Applied((model("m"),), (), ANN))
    assert [each["revision"] for each in audit.revisions()] == [2, 1]
    told = audit.revision(1)
    assert [each["name"] for each in told["config"]["models"]] == ["m"]
    assert audit.revision(2)["config"]["models"] == []
    with pytest.raises(NotFound):
        audit.revision(3)


def test_memory_is_bounded(audit: Audit) -> None:
    for _ in range(1200):
        audit.applied(Applied((), (model("m"),), ANN))
    assert len(audit.entries(5000)) == 1000
    assert len(audit.revisions()) == 100
    with pytest.raises(NotFound):
        audit.revision(1)


def test_what_may_be_secret_in_a_base_path_is_on_no_record(
    audit: Audit, written: list[Entry]
) -> None:
    url = "https://ann:secret@example.org/m?token=secret"
    store = replace(model("m"), base_path=url)
    audit.applied(Applied((), (store,), ANN))
    audit.applied(Applied((store,), (replace(store, base_path="/m"),), ANN))
    audit.applied(Applied((store,), (), ANN))
    assert "secret" not in json.dumps([*audit.entries(9), *audit.revisions()])
    assert b"secret" not in b"".join(map(audit_line, written))
    assert audit.entries(1)[0]["changes"][0]["before"]["base_path"] == "https://example.org/m"


def test_a_key_where_a_name_belongs_is_on_no_record(audit: Audit, written: list[Entry]) -> None:
    key = f"salver_shop_{'x' * 32}"
    audit.failed(
        replace(ANN, via=f"PUT /admin/v1/models/{key}"), "configure", key, "X", f"No {key}"
    )
    (entry,) = audit.entries(1)
    assert (entry["model"], entry["message"]) == ("salver_shop_…", "No salver_shop_…")
    assert "x" * 32 not in audit_line(written[0]).decode()


def test_long_names_and_errors_are_cut(audit: Audit, written: list[Entry]) -> None:
    long = "x" * 10_000
    stranger = Actor(long, "jwt", long, long)
    audit.failed(stranger, "reload", long, "NOT_FOUND", long)
    audit.did(stranger, "clear_quarantine", long)
    audit.applied(Applied((), (), stranger, long, "unload"))
    audit.applied(Applied((), (model(long),), stranger))
    for entry in written:
        assert (entry.actor.name, entry.actor.peer) == ("x" * 256, "x" * 256)
        assert entry.model == "x" * 256
        assert len(entry.actor.via) == 1000
    assert len(written) == 4
    assert max(map(len, map(audit_line, written[:3]))) < 4000
    assert written[0].message == "x" * 1000
    assert audit.entries(4)[-1] == json.loads(audit_line(written[0]))


def test_what_is_very_long_is_counted_and_not_kept(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(model("long"), base_path="/" + "x" * 100_000)
    audit.applied(Applied((), (model("m"), long), ANN))
    (entry,) = audit.entries(1)
    assert [each["model"] for each in entry["changes"]] == ["m"]
    assert entry["more_changes"] == 1
    monkeypatch.setattr("salver.management.audit._MOST_REVISION_BYTES", 250_000)
    for _ in range(5):
        audit.applied(Applied((), (long,), ANN))
    assert [each["revision"] for each in audit.revisions()] == [6, 5]
