import signal
from pathlib import Path

import pytest

from salver.vocabulary.servable import ServableId
from salver.workers.causes import (
    MemoryKills,
    cause_of_end,
    is_fault,
    short_cause,
    while_running,
)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "exit status 3"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-signal.SIGKILL, "SIGKILL (out of memory?)"),
        (-64 - 50, "signal 114"),
    ],
)
def test_a_cause_is_a_status_or_the_name_of_a_signal(code: int, text: str) -> None:
    assert cause_of_end(code) == text


def test_what_was_being_loaded_is_named() -> None:
    loading = [ServableId("m", version) for version in (2, 1)]
    assert cause_of_end(-signal.SIGABRT, loading) == (
        "SIGABRT, while it was loading {name: m version: 1}, {name: m version: 2}"
    )


def test_of_many_only_some_are_named() -> None:
    text = cause_of_end(1, [ServableId("m", version) for version in range(9)])
    assert text.endswith("{name: m version: 3} and 5 more")


def test_what_was_running_is_named() -> None:
    assert while_running("SIGABRT", []) == "SIGABRT"
    assert while_running("SIGABRT", [ServableId("m", 1)]) == (
        "SIGABRT, while it was running {name: m version: 1}"
    )


def test_a_cause_in_a_word_has_no_explanation() -> None:
    assert short_cause(-signal.SIGKILL) == "SIGKILL"
    assert short_cause(3) == "exit status 3"


def test_who_is_ended_by_another_has_no_fault() -> None:
    assert [is_fault(code) for code in (0, 3, -signal.SIGABRT, -signal.SIGSEGV)] == [True] * 4
    assert [is_fault(code) for code in (-signal.SIGKILL, -signal.SIGTERM)] == [False] * 2


def test_kills_for_want_of_memory_are_seen_once(tmp_path: Path) -> None:
    path = tmp_path / "vmstat"
    path.write_text("pgfault 5\noom_kill 3\nother 1\n")
    kills = MemoryKills(path)
    assert not kills.happened()
    path.write_text("pgfault 5\noom_kill 4\n")
    assert [kills.happened(), kills.happened()] == [True, False]


def test_a_system_that_does_not_count_them_has_none(tmp_path: Path) -> None:
    assert not MemoryKills(tmp_path / "none").happened()
