import os
import platform
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from salver import heap
from salver.heap import (
    joined,
    keep_freed_pages,
    memory_bytes,
    return_freed_pages,
    unfilled_bytes,
)


@pytest.fixture(autouse=True)
def ask_anew() -> Iterator[None]:
    keep_freed_pages.cache_clear()
    yield
    keep_freed_pages.cache_clear()


def test_bytes_hold_what_is_written_to_their_view() -> None:
    whole, view = unfilled_bytes(5)
    view[:2] = b"ab"
    view[2:] = b"cde"
    assert whole == b"abcde"
    assert len(view) == 5


def test_too_much_is_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        unfilled_bytes(1 << 60)


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_the_environment_has_the_last_word(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_pages()


def test_an_allocator_that_cannot_be_told_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_python", object())
    assert not keep_freed_pages()


def test_the_allocator_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    class Allocator:
        def mallopt(self, parameter: int, value: int) -> int:
            told.append((parameter, value))
            return 1

    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(heap, "_python", Allocator())
    assert keep_freed_pages()
    assert keep_freed_pages()
    assert told == [(-3, 32 << 20), (-1, 32 << 20)]


def test_an_allocator_without_a_way_to_return_pages_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heap, "_allocator", object())
    assert not return_freed_pages()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_pages_between_what_is_kept_are_returned() -> None:
    size, count = 64_000, 1600  # each too small for pages of its own
    kept = [bytes([number % 256]) * size for number in range(count)]
    full = resident_bytes()
    del kept[1::2]
    return_freed_pages()
    assert resident_bytes() < full - size * count // 4


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("size", [0, 1, 100, 400_000])
def test_pieces_of_any_kind_are_joined_and_let_go(size: int) -> None:
    one = os.urandom(size)
    pieces = deque([one, bytearray(one), memoryview(one), one])
    assert joined(pieces) == one * 4
    assert not pieces


class TestMemory:
    """What a container may use, as Linux tells it."""

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
