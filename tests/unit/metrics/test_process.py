import os
import platform
import sys
import time
from pathlib import Path

import pytest

from salver.metrics.process import build_family, process_families


def read(proc: Path | None = None) -> dict[str, float]:
    families = process_families() if proc is None else process_families(proc)
    return {
        family.metric.name.removeprefix("salver_process_"): value
        for family in families
        for _, value in family.cells
        if isinstance(value, int | float)
    }


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_numbers_are_those_of_this_process() -> None:
    values = read()
    assert 0 < values["cpu_seconds_total"] < 1e6
    assert 1 << 20 < values["resident_memory_bytes"] < 1 << 40
    now_s = time.time()  # noqa: TID251 - compared with what the system says
    assert now_s - 1e6 < values["start_time_seconds"] <= now_s + 1
    assert values["threads"] >= 1
    assert 3 <= values["open_fds"] <= values["max_fds"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_open_file_counts() -> None:
    before = read()["open_fds"]
    with open(os.devnull):
        assert read()["open_fds"] == before + 1


def test_where_the_system_does_not_tell_there_are_no_cells(tmp_path: Path) -> None:
    assert set(read(tmp_path)) == {"cpu_seconds_total", "max_fds"}


def test_a_command_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    fields = " ".join(["S", *map(str, range(4, 60))])
    (tmp_path / "self" / "stat").write_text(f"1 (a) b (c) {fields}\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1000\n")
    values = read(tmp_path)
    assert values["threads"] == 20
    assert values["start_time_seconds"] == 1000 + 22 / os.sysconf("SC_CLK_TCK")
    assert values["resident_memory_bytes"] % 24 == 0


def test_the_build_says_what_runs() -> None:
    family = build_family("1.2.3", "2.21.0")
    assert family.cells == [(("1.2.3", platform.python_version(), "2.21.0"), 1)]
