import os
import platform
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from salver.instruments import heap
from salver.instruments.heap import (
    joined,
    keep_freed_pages,
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
