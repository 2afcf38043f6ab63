import os
from pathlib import Path

import pytest

from salver.instruments.machine import memory_bytes

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


class TestMemory:
    """What groups in groups may use."""

    def limit(self, root: Path, groups: str, **files: str) -> int:
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(groups)
        for name, text in files.items():
            file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_max", ".max")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return memory_bytes(root)

    def test_it_is_the_machine_s_where_nothing_says_less(self, tmp_path: Path) -> None:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        assert memory_bytes(tmp_path) == machine
        assert self.limit(tmp_path, "0::/a\n", a__memory_max="max\n") == machine

    def test_it_is_the_least_of_the_group_and_those_above(self, tmp_path: Path) -> None:
        found = self.limit(
            tmp_path, "0::/a/b\n", a__b__memory_max="max\n", a__memory_max="3000000\n"
        )
        assert found == 3_000_000

    def test_a_group_that_is_the_root_of_its_namespace_is_read(self, tmp_path: Path) -> None:
        assert self.limit(tmp_path, "0::/\n", memory_max="5000000\n") == 5_000_000

    def test_the_first_version_of_groups_is_read_too(self, tmp_path: Path) -> None:
        groups = "3:cpu,cpuacct:/x\n2:memory:/x\n"
        file = tmp_path / "sys/fs/cgroup/memory/x/memory.limit_in_bytes"
        file.parent.mkdir(parents=True)
        file.write_text("7000000\n")
        assert self.limit(tmp_path, groups) == 7_000_000
