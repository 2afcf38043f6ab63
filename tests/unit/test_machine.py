import os
from pathlib import Path

import pytest

from salver.machine import memory_bytes

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
GIB = 1 << 30


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_where_nothing_limits_it_the_memory_is_the_machines(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path) == PHYSICAL


def test_a_container_has_what_its_group_may_have(tmp_path: Path) -> None:
    write(tmp_path, sys__fs__cgroup__memory_dot_max="1073741824\n")
    assert memory_bytes(tmp_path) == GIB


def test_a_service_has_what_its_own_group_may_have(tmp_path: Path) -> None:
    write(tmp_path, proc__self__cgroup="1:name=x:/y\n0::/a/b\n")
    write(tmp_path, sys__fs__cgroup__a__b__memory_dot_max="1073741824\n")
    assert memory_bytes(tmp_path) == GIB


def test_the_first_version_of_cgroups_says_it_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, sys__fs__cgroup__memory__memory_dot_limit_in_bytes="1073741824\n")
    assert memory_bytes(tmp_path) == GIB


@pytest.mark.parametrize("text", ["max\n", "", "9223372036854771712\n", "0\n", "-1\n"])
def test_what_limits_nothing_is_no_limit(tmp_path: Path, text: str) -> None:
    write(tmp_path, sys__fs__cgroup__memory_dot_max=text)
    assert memory_bytes(tmp_path) == PHYSICAL


def test_this_machine_has_some() -> None:
    assert 0 < memory_bytes() <= PHYSICAL
