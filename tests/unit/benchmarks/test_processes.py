from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def processes(module_named: Callable[[str], Any]) -> Any:
    return module_named("processes")


def test_free_ports_differ(processes: Any) -> None:
    assert len(set(processes.free_ports(20))) == 20


def test_a_family_has_the_children_of_its_children_and_no_others(processes: Any) -> None:
    pairs = [(1, 0), (10, 1), (11, 10), (12, 11), (13, 10), (20, 1), (21, 20)]
    assert processes.family_of(10, pairs) == [10, 11, 13, 12]


def test_a_process_without_children_is_its_own_family(processes: Any) -> None:
    assert processes.family_of(10, [(11, 1)]) == [10]
