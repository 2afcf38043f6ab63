import json
from pathlib import Path

import pytest

from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.management.audit import Audit
from salver.server.audit_log import drop, lost_entries, open_audit_log
from salver.vocabulary.access import Actor


def test_without_the_flag_there_is_no_file() -> None:
    assert open_audit_log(ServerOptions()) is None
    Audit(drop).did(Actor(), "clear_quarantine", "m")


def test_entries_are_appended_to_the_file_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("before\n")
    log = open_audit_log(ServerOptions(audit_log=str(path)))
    assert log is not None
    audit = Audit(log)
    for model in ("m", "n"):
        audit.did(Actor("ann"), "clear_quarantine", model)
    log.close()
    first, *lines = path.read_text().splitlines()
    assert first == "before"
    assert [json.loads(line)["model"] for line in lines] == ["m", "n"]


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="Could not open --audit_log="):
        open_audit_log(ServerOptions(audit_log=str(tmp_path / "none" / "audit.log")))


def test_entries_that_are_lost_are_told_from_the_first_one_on() -> None:
    log = open_audit_log(ServerOptions(audit_log="/dev/full"))
    assert log is not None
    (before,) = lost_entries(log)
    assert (before.metric.name, before.cells) == (
        "salver_dropped_log_records_total",
        [(("audit", "disk"), 0)],
    )
    Audit(log).did(Actor("ann"), "clear_quarantine", "m")
    log.close()
    (after,) = lost_entries(log)
    assert after.cells == [(("audit", "disk"), 1)]


def test_without_a_file_nothing_is_told() -> None:
    assert lost_entries(None) == []
