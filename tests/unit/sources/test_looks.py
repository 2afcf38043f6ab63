import os
from pathlib import Path

import pytest

from salver.sources.file_system import LISTED_IN_TURN, Looks


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Many:
    """More base paths than are always listed."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.looks = Looks(self.clock)
        self.root = root
        self.names = [f"m{number}" for number in range(3 * LISTED_IN_TURN)]
        for name in self.names:
            (root / name).mkdir()

    def listed(self, after_s: float = 5.0) -> list[str]:
        self.clock.now_s += after_s
        return self.looks.to_list([(name, str(self.root / name)) for name in self.names])


@pytest.fixture
def many(tmp_path: Path) -> Many:
    return Many(tmp_path)


def rested(many: Many) -> None:
    """Two looks, far enough apart to know what has not changed between them."""
    assert many.listed() == many.names
    assert many.listed() == many.names


def test_few_base_paths_are_always_listed(tmp_path: Path) -> None:
    looks = Looks(Clock())
    places = [(name, str(tmp_path)) for name in ("a", "b")]
    assert [looks.to_list(places) for _ in range(4)] == [["a", "b"]] * 4


def test_no_base_path_is_none_to_list() -> None:
    assert Looks(Clock()).to_list([]) == []


def test_of_many_that_rest_all_are_listed_in_turns(many: Many) -> None:
    rested(many)
    third, fourth, fifth = many.listed(), many.listed(), many.listed()
    assert {len(third), len(fourth), len(fifth)} == {LISTED_IN_TURN}
    assert {*third, *fourth, *fifth} == {*many.names}


def test_one_that_changes_is_listed_until_it_rests(many: Many) -> None:
    rested(many)
    changed = next(name for name in many.names if name not in many.listed())
    (many.root / changed / "1").mkdir()
    assert changed in many.listed(1.0)
    # In the same tick of the file system's clock something more may have come.
    assert changed in many.listed(1.0)
    assert changed in many.listed(3.0)
    later = [changed in many.listed() for _ in range(3)]
    assert sorted(later) == [False, False, True]  # in its turn


def test_one_that_cannot_be_looked_at_is_always_listed(many: Many) -> None:
    rested(many)
    gone = many.names[0]
    os.rmdir(many.root / gone)
    assert all(gone in many.listed() for _ in range(4))


def test_one_that_was_made_anew_is_listed(many: Many) -> None:
    rested(many)
    anew = next(name for name in many.names if name not in many.listed())
    (many.root / "other").mkdir()
    os.rmdir(many.root / anew)
    (many.root / "other").rename(many.root / anew)
    assert anew in many.listed()
