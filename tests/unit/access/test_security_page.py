"""Each line of the threat model names the tests that hold it."""

import re
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[2]
_PAGE = _TESTS.parent / "docs" / "security.md"
_NAMED = re.compile(r"`([a-z_/0-9]+\.py)::(test_\w+)`")


def _rows() -> list[str]:
    section = _PAGE.read_text().partition("\n## Access control\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def test_there_are_lines() -> None:
    assert len(_rows()) > 30


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row.split("|")[1].strip())
def test_a_threat_has_a_test_that_exists(row: str) -> None:
    named = _NAMED.findall(row)
    assert named
    for path, name in named:
        text = (_TESTS / path).read_text()
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), name
