import math
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.request_log.rotation import OPEN_SUFFIX, FileLimits, RotatingFile, open_new

START = 1_769_851_800.123456  # 2026-01-31 09:30:00.123456 UTC


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., RotatingFile]


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Make:
    def make(
        limits: FileLimits | None = None, opener: Callable[[str], int] = open_new
    ) -> RotatingFile:
        prefix = str(tmp_path / "logs" / "m")
        return RotatingFile(prefix, ".log", limits or FileLimits(), clock=clock, opener=opener)

    return make


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "logs").iterdir())


def test_a_file_is_named_by_its_time_and_marked_while_it_grows(make: Make, tmp_path: Path) -> None:
    file = make()
    assert not (tmp_path / "logs").exists()
    file.write(b"ab")
    file.write(b"c")
    name = f"m-20260131T093000.123456Z-{os.getpid()}.log"
    assert names(tmp_path) == [name + OPEN_SUFFIX]
    assert (tmp_path / "logs" / (name + OPEN_SUFFIX)).read_bytes() == b"abc"
    file.complete()
    assert names(tmp_path) == [name]
    file.complete()  # there is none
    assert names(tmp_path) == [name]


def test_what_would_make_a_file_too_large_goes_to_the_next(make: Make, tmp_path: Path) -> None:
    file = make(FileLimits(max_file_bytes=4))
    for data in (b"abc", b"d", b"e", b"longer than a file"):
        file.write(data)
    file.complete()
    found = [(tmp_path / "logs" / name).read_bytes() for name in names(tmp_path)]
    assert found == [b"abcd", b"e", b"longer than a file"]


def test_an_old_file_is_completed(make: Make, clock: Clock, tmp_path: Path) -> None:
    file = make(FileLimits(max_file_s=10))
    assert file.seconds_left() is None
    file.complete_if_old()
    file.write(b"a")
    clock.now += 4
    assert file.seconds_left() == pytest.approx(6)
    file.complete_if_old()
    assert names(tmp_path)[0].endswith(OPEN_SUFFIX)
    clock.now += 6
    assert file.seconds_left() == 0
    file.complete_if_old()
    assert not names(tmp_path)[0].endswith(OPEN_SUFFIX)
    file.write(b"b")
    clock.now += 10
    file.write(b"c")
    assert len(names(tmp_path)) == 3


def test_without_a_limit_no_file_gets_old(make: Make, clock: Clock) -> None:
    file = make(FileLimits(max_file_s=math.inf))
    file.write(b"a")
    clock.now += 1e9
    assert file.seconds_left() is None


def test_two_logs_of_one_prefix_have_files_of_their_own(make: Make, tmp_path: Path) -> None:
    first, second, third = make(), make(), make()
    first.write(b"a")
    second.write(b"b")
    first.complete()
    third.write(b"c")
    assert len(names(tmp_path)) == 3


def test_the_oldest_are_deleted_above_the_limit_but_never_the_last(
    make: Make, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "m-other").write_bytes(b"x" * 100)
    file = make(FileLimits(max_total_bytes=10))
    for data in (b"a" * 6, b"b" * 4, b"c" * 4):
        file.write(data)
        file.complete()
        clock.now += 1
    first, second, other = names(tmp_path)
    assert other == "m-other"
    assert (tmp_path / "logs" / first).read_bytes() == b"b" * 4
    assert (tmp_path / "logs" / second).read_bytes() == b"c" * 4
    file.write(b"d" * 20)
    file.complete()
    last, _ = names(tmp_path)
    assert (tmp_path / "logs" / last).read_bytes() == b"d" * 20


def test_a_file_that_was_moved_or_deleted_is_left(make: Make, clock: Clock, tmp_path: Path) -> None:
    file = make()
    file.write(b"a")
    (name,) = names(tmp_path)
    (tmp_path / "logs" / name).rename(tmp_path / "moved")
    clock.now += 1
    file.write(b"b")
    (name,) = names(tmp_path)
    assert (tmp_path / "logs" / name).read_bytes() == b"b"
    assert (tmp_path / "moved").read_bytes() == b"a"
    (tmp_path / "logs" / name).write_bytes(b"")
    other = tmp_path / "other"
    other.write_bytes(b"other")
    other.rename(tmp_path / "logs" / name)
    clock.now += 1
    file.write(b"c")
    assert (tmp_path / "logs" / name).read_bytes() == b"other"


def test_a_full_disk_leaves_no_file(make: Make, tmp_path: Path) -> None:
    paths = []

    def full(path: str) -> int:
        paths.append(path)
        return os.open("/dev/full", os.O_WRONLY)

    file = make(opener=full)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"a")
    assert file.seconds_left() is None
    assert len(paths) == 1


def test_half_a_record_is_taken_back(make: Make, tmp_path: Path) -> None:
    file = make()
    file.write(b"whole")
    (name,) = names(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.write(b"does not fit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "logs" / name).read_bytes() == b"whole"
    file.write(b", again")
    assert (tmp_path / "logs" / name).read_bytes() == b"whole, again"


def test_a_file_that_cannot_be_cut_is_left_and_another_begun(tmp_path: Path, clock: Clock) -> None:
    descriptors = []

    def pipe(path: str) -> int:
        reading, writing = os.pipe()
        descriptors.append(reading)
        os.symlink(f"/proc/self/fd/{writing}", path)
        return writing

    file = RotatingFile(str(tmp_path / "m"), ".log", FileLimits(), clock=clock, opener=pipe)
    file.write(b"a")
    os.close(descriptors[0])
    with pytest.raises(BrokenPipeError):
        file.write(b"b")
    clock.now += 1
    file.write(b"c")
    assert os.read(descriptors[1], 10) == b"c"
    os.close(descriptors[1])
    with pytest.raises(BrokenPipeError):
        file.write(b"d")


def test_what_a_killed_server_left_open_is_completed(make: Make, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    left = "m-20260130T093000.123456Z-7.log"
    others = ["m-1.log.open", "n-20260130T093000.123456Z-7.log.open"]
    for name in (left + OPEN_SUFFIX, *others):
        (tmp_path / "logs" / name).write_bytes(b"old")
    make().write(b"a")
    mine = f"m-20260131T093000.123456Z-{os.getpid()}.log.open"
    assert names(tmp_path) == sorted([left, mine, *others])
    assert (tmp_path / "logs" / left).read_bytes() == b"old"


def test_a_file_that_another_server_still_writes_is_left_alone(make: Make, tmp_path: Path) -> None:
    first, second = make(), make()
    first.write(b"a")
    second.write(b"b")
    assert len(names(tmp_path)) == 2
    assert all(name.endswith(OPEN_SUFFIX) for name in names(tmp_path))
    first.write(b"c")
    second.complete()
    first.complete()
    found = [(tmp_path / "logs" / name).read_bytes() for name in names(tmp_path)]
    assert found == [b"ac", b"b"]


def test_what_looks_like_an_abandoned_file_and_is_a_pipe_is_left_alone(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    pipe = "m-20260130T093000.123456Z-7.log" + OPEN_SUFFIX
    os.mkfifo(tmp_path / "logs" / pipe)
    make().write(b"a")
    assert pipe in names(tmp_path)
