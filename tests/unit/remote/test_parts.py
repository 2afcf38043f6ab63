import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.serving import eventually

from salver.errors import Aborted, Cancelled, DataLoss, InvalidArgument, ServingError, Unavailable
from salver.remote.backing_off import Backoff
from salver.remote.bandwidth import Bandwidth
from salver.remote.errors import RangesIgnored, StoreBusy
from salver.remote.parts import NOTES, Parts, RemoteFile, check_names


class Stage:
    """Lets everything pass, until it is told otherwise."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.stop_at = -1

    def check(self) -> None:
        pass

    def progress(self, done_bytes: int) -> None:
        self.done.append(done_bytes)
        if 0 <= self.stop_at <= done_bytes:
            raise Cancelled("unwanted")

    def wait(self, _seconds: float) -> None:
        pass


class Shop:
    """A `Reader` of contents in memory, with faults."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.has_ranges = True
        self.asked: list[tuple[str, int, int]] = []
        self.fault: Any = None
        self.lock = threading.Lock()

    def read(self, file: RemoteFile, start: int, stop: int, chunk_bytes: int) -> Iterator[bytes]:
        with self.lock:
            self.asked.append((file.name, start, stop))
        content = self.contents[file.name][start:stop]
        for at in range(0, len(content), 3):
            chunk = content[at : at + 3]
            if self.fault is not None:
                chunk = self.fault(file, start + at, chunk)
            yield chunk

    def files(self, *, has_sums: bool = False) -> list[RemoteFile]:
        return [
            RemoteFile(name, len(c), "etag", hashlib.sha256(c).hexdigest() if has_sums else "")
            for name, c in self.contents.items()
        ]


CONTENTS = {"saved_model.pb": bytes(range(50)), "variables/index": b"abc", "assets/none": b""}


def fetch(
    shop: Shop,
    into: Path,
    stage: Stage | None = None,
    *,
    files: list[RemoteFile] | None = None,
    is_behind: bool = False,
    bandwidth: Bandwidth | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    into.mkdir(exist_ok=True)
    Parts(
        shop.files(has_sums=True) if files is None else files,
        *(into, shop, stage or Stage(), bandwidth or Bandwidth()),
        part_bytes=10,
        location="s3://b/m/1",
        backoff=Backoff(0.0, 0.0),
        is_behind=is_behind,
        clock=clock,
    ).run()


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    }


def test_all_files_arrive_in_parts_and_nothing_else(tmp_path: Path) -> None:
    shop, stage = Shop(CONTENTS), Stage()
    fetch(shop, tmp_path / "v", stage)
    assert tree(tmp_path / "v") == CONTENTS
    assert ("saved_model.pb", 40, 50) in shop.asked
    assert stage.done[-1] == 53


@pytest.mark.skipif(sys.platform != "linux", reason="a single thread has no priority there")
@pytest.mark.parametrize("is_behind", [True, False])
def test_a_fetch_of_a_server_runs_behind_the_threads_that_serve(
    tmp_path: Path, *, is_behind: bool
) -> None:
    shop, places = Shop(CONTENTS), set()

    def look(_file: RemoteFile, _at: int, chunk: bytes) -> bytes:
        places.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return chunk

    shop.fault, mine = look, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    fetch(shop, tmp_path / "v", is_behind=is_behind)
    assert places == {max(mine, 10) if is_behind else mine}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


def test_a_fetch_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    shop = Shop(CONTENTS)

    def fail(file: RemoteFile, at: int, chunk: bytes) -> bytes:
        if at >= 40:
            raise InvalidArgument("broken")
        return chunk

    shop.fault = fail
    with pytest.raises(InvalidArgument, match="broken"):
        fetch(shop, tmp_path / "v")
    noted = (tmp_path / "v" / NOTES).read_text().splitlines()
    shop.fault, before = None, len(shop.asked)
    fetch(shop, tmp_path / "v")
    assert tree(tmp_path / "v") == CONTENTS
    for start, stop, name in (line.split(" ", 2) for line in noted):
        assert (name, int(start), int(stop)) not in shop.asked[before:]


def test_what_there_is_of_a_part_is_not_asked_for_again(tmp_path: Path) -> None:
    shop = Shop({"x": bytes(range(19))})

    def fail(_file: RemoteFile, at: int, chunk: bytes) -> bytes:
        if at == 16:
            raise InvalidArgument("broken")
        return chunk

    shop.fault = fail
    with pytest.raises(InvalidArgument, match="broken"):
        fetch(shop, tmp_path / "v")
    shop.fault = None
    fetch(shop, tmp_path / "v")
    assert ("x", 16, 19) in shop.asked
    assert tree(tmp_path / "v") == shop.contents


def test_a_part_that_ends_early_is_asked_for_from_there(tmp_path: Path) -> None:
    shop = Shop({"x": bytes(range(9))})
    cut: list[int] = []

    def end(_file: RemoteFile, at: int, chunk: bytes) -> bytes:
        if at == 3 and not cut:
            cut.append(at)
            raise Unavailable("reset")
        return chunk

    shop.fault = end
    fetch(shop, tmp_path / "v")
    assert tree(tmp_path / "v") == shop.contents
    assert shop.asked == [("x", 0, 9), ("x", 3, 9)]


def test_a_store_that_never_sends_all_is_given_up(tmp_path: Path) -> None:
    shop = Shop({"x": b"123456"})
    files = [RemoteFile("x", 9)]
    with pytest.raises(Unavailable, match="s3://b/m/1: x ended after 6 of 9 bytes"):
        fetch(shop, tmp_path / "v", files=files)


def test_more_bytes_than_were_listed_are_of_another_file(tmp_path: Path) -> None:
    shop = Shop({"x": b"123456"})

    def more(_file: RemoteFile, _at: int, chunk: bytes) -> bytes:
        return chunk + b"more"

    shop.fault = more
    with pytest.raises(Aborted, match="x has more bytes than were listed"):
        fetch(shop, tmp_path / "v")


def test_a_store_that_knows_no_parts_is_read_in_whole_files(tmp_path: Path) -> None:
    class Whole(Shop):
        def read(
            self, file: RemoteFile, start: int, stop: int, chunk_bytes: int
        ) -> Iterator[bytes]:
            if start or stop < file.size:
                self.has_ranges = False
                raise RangesIgnored
            return super().read(file, start, stop, chunk_bytes)

    shop = Whole(CONTENTS)
    fetch(shop, tmp_path / "v")
    assert tree(tmp_path / "v") == CONTENTS
    assert ("saved_model.pb", 0, 50) in shop.asked


def test_a_wrong_checksum_is_final_and_the_next_fetch_brings_that_file_anew(
    tmp_path: Path,
) -> None:
    shop = Shop(CONTENTS)
    right = shop.files(has_sums=True)
    shop.contents = {**CONTENTS, "variables/index": b"xyz"}
    with pytest.raises(DataLoss, match="variables/index is not the file that its checks") as raised:
        fetch(shop, tmp_path / "v", files=right)
    assert raised.value.is_final
    shop.contents, before = CONTENTS, len(shop.asked)
    fetch(shop, tmp_path / "v", files=right)
    assert shop.asked[before:] == [("variables/index", 0, 3)]
    assert tree(tmp_path / "v") == CONTENTS


def test_a_fetch_that_nobody_wants_ends_though_the_store_hangs(tmp_path: Path) -> None:
    shop, stage, let_go = Shop(CONTENTS), Stage(), threading.Event()

    def hang(_file: RemoteFile, at: int, chunk: bytes) -> bytes:
        if at >= 30:
            let_go.wait(10)
        return chunk

    shop.fault, stage.stop_at = hang, 30
    with pytest.raises(Cancelled):
        fetch(shop, tmp_path / "v", stage)
    let_go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("salver-part-"):
            thread.join(10)
    assert "40 50" not in (tmp_path / "v" / NOTES).read_text()


class Jumps:
    """A clock that goes on by ten seconds at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 10.0
        return self.now_s


def test_a_fetch_from_a_store_that_drips_fails_and_the_next_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    shop, gate = Shop({"m": bytes(range(50))}), threading.Event()

    def drip(_file: RemoteFile, at: int, chunk: bytes) -> bytes:
        if at % 10 == 3:
            assert gate.wait(30)
        return chunk

    shop.fault = drip
    with pytest.raises(Unavailable, match=r"m/1: fewer than 1000 bytes a second have come for 60"):
        fetch(shop, tmp_path / "v", clock=Jumps())
    shop.fault = None
    shop.asked.clear()
    fetch(shop, tmp_path / "v")
    gate.set()
    assert sorted(shop.asked) == [("m", at + 3, at + 10) for at in range(0, 50, 10)]
    assert tree(tmp_path / "v") == {"m": bytes(range(50))}


class SlowLimit(Bandwidth):
    """A limit that lets nothing pass for ten minutes of a clock."""

    def __init__(self, clock: Jumps) -> None:
        super().__init__()
        self.clock = clock

    def take(self, count: int, check: Any) -> None:
        eventually("ten minutes have gone by", lambda: self.clock.now_s > 600.0)


def test_a_fetch_that_a_limit_of_ours_makes_slow_goes_on(tmp_path: Path) -> None:
    clock = Jumps()
    fetch(Shop(CONTENTS), tmp_path / "v", clock=clock, bandwidth=SlowLimit(clock))
    assert tree(tmp_path / "v") == CONTENTS


def test_a_store_that_asks_to_be_left_alone_for_minutes_is_not_one_that_drips(
    tmp_path: Path,
) -> None:
    clock, shop, busy = Jumps(), Shop({"m": b"abc"}), StoreBusy("busy")
    busy.retry_after_s = 2.0  # which are many looks, and minutes of that clock

    def fail_once(_file: RemoteFile, _at: int, chunk: bytes) -> bytes:
        shop.fault = None
        raise busy

    shop.fault = fail_once
    fetch(shop, tmp_path / "v", clock=clock)
    assert clock.now_s > 120.0
    assert tree(tmp_path / "v") == {"m": b"abc"}


def test_a_link_in_the_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    os.symlink(tmp_path / "precious", tmp_path / "v" / "saved_model.pb")
    with pytest.raises(OSError, match="symbolic"):
        fetch(Shop(CONTENTS), tmp_path / "v")
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "names",
    [
        ["../x"],
        ["/etc/x"],
        ["a//b"],
        ["a/./b"],
        ["a\\b"],
        ["a\0b"],
        ["a\nb"],
        [NOTES],
        [f"{NOTES}/x"],
        ["x", "X"],
        ["a/x", "A/y"],
        ["a", "a/x"],
        ["A", "a/x"],
        ["stra\u00dfe", "STRASSE"],
    ],
)
def test_names_that_cannot_all_stand_in_a_directory_are_refused(
    names: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgument, match="cannot"):
        check_names(names, tmp_path)


def test_names_that_can_are_not() -> None:
    check_names(["a/x", "a/y", "b", "a.b", "\u00fc/x"], Path("/v"))


def test_an_error_of_the_disk_is_not_hidden(tmp_path: Path) -> None:
    shop = Shop(CONTENTS)
    (tmp_path / "v" / "saved_model.pb").mkdir(parents=True)
    with pytest.raises((OSError, ServingError)):
        fetch(shop, tmp_path / "v")


def test_how_far_a_part_is_is_noted_for_whoever_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.remote.parts._NOTE_BYTES", 6)
    shop, seen = Shop({"model": bytes(50)}), list[str]()

    def fault(_file: RemoteFile, at: int, chunk: bytes) -> bytes:
        if at == 30:
            seen.append((tmp_path / NOTES).read_text())
        return chunk

    shop.fault = fault
    fetch_parts = Parts(shop.files(), tmp_path, shop, Stage(), Bandwidth(0), part_bytes=50)
    fetch_parts.run()
    assert seen[0].splitlines()[-1] == "0 30 model"


def test_what_was_there_already_is_told_before_anything_else(tmp_path: Path) -> None:
    class Told(Stage):
        def resumed(self, done_bytes: int) -> None:
            assert not self.done
            self.before = done_bytes

    (tmp_path / "model").write_bytes(bytes(20))
    # Killed while it was written:
    (tmp_path / NOTES).write_text("0 10 model\n10 20 model\n20 25 mod")
    shop, stage = Shop({"model": bytes(50)}), Told()
    fetch(shop, tmp_path, stage)
    assert stage.before == 20
    assert (tmp_path / "model").read_bytes() == bytes(50)
    assert min(start for _, start, _ in shop.asked) == 20
