from pathlib import Path

import pytest

from salver.cluster.journal_file import JournalFile, default_journal, node_directory


def test_what_was_written_is_read_by_the_next(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "journal.json")
    assert JournalFile(path).read() is None
    JournalFile(path).write({"generation": 3})
    assert JournalFile(path).read() == {"generation": 3}


def test_the_same_again_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    file = JournalFile(str(path))
    file.write({"generation": 3})
    before = path.stat().st_ino
    file.write({"generation": 3})
    assert path.stat().st_ino == before
    file.write({"generation": 4})
    assert path.stat().st_ino != before


@pytest.mark.parametrize("content", ['{"gener', "[]", "\0\0\0"])
def test_a_file_that_is_of_no_use_is_kept_beside(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal.json"
    path.write_text(content)
    file = JournalFile(str(path))
    assert file.read() is None
    assert (tmp_path / "journal.unreadable").read_text() == content
    file.write({"generation": 1})
    assert JournalFile(str(path)).read() == {"generation": 1}


def test_a_disk_that_takes_nothing_is_a_problem_until_it_does(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    path.mkdir()
    file = JournalFile(str(path))
    file.write({"generation": 1})
    assert "cannot be written" in file.problem
    path.rmdir()
    file.write({"generation": 1})
    assert file.problem == ""
    assert JournalFile(str(path)).read() == {"generation": 1}


def test_it_lies_where_programs_keep_their_state() -> None:
    assert default_journal("shop", {"XDG_STATE_HOME": "/state"}) == (
        "/state/salver/cluster/shop/journal.json"
    )
    assert default_journal("shop", {}).startswith(str(Path.home()))
    assert node_directory("/state/j.json", "n1") == Path("/state/nodes/n1")
