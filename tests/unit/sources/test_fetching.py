import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.toy_source import CHUNK_BYTES, ToySource

from salver.errors import (
    Cancelled,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from salver.instruments.cache import Cache
from salver.instruments.files import Footprint, footprint
from salver.instruments.manifest import make_manifest
from salver.sources.fetching import fetch_version
from salver.sources.protocol import Stage, Version
from salver.sources.records import read_record
from salver.sources.verification import Verification

WAIT_S = 30.0


class Watched:
    """A stage: what was told, and when to stop."""

    def __init__(self, stop_after: int = sys.maxsize) -> None:
        self.told: list[int] = []
        self._stop_after = stop_after

    def check(self) -> None:
        if self.told and self.told[-1] >= self._stop_after:
            raise Cancelled("not wanted any more")

    def progress(self, done_bytes: int) -> None:
        self.told.append(done_bytes)
        self.check()

    def wait(self, seconds: float) -> None:
        self.check()


def published(root: Path, chunks: int = 3, revision: str = "") -> Version:
    """A version in the toy store."""
    origin = root / "store" / "m" / "1"
    (origin / "variables").mkdir(parents=True, exist_ok=True)
    (origin / "saved_model.pb").write_bytes(b"graph")
    (origin / "variables" / "data").write_bytes(os.urandom(chunks * CHUNK_BYTES))
    return Version(f"toy://{origin}", footprint(str(origin)), revision)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def origin_of(version: Version) -> Path:
    return Path(version.location.removeprefix("toy://"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def names(tmp_path: Path, ending: str) -> list[str]:
    return [path.name for path in (tmp_path / "cache").glob(f"*{ending}")]


def test_a_version_is_fetched_whole_with_its_progress(cache: Cache, tmp_path: Path) -> None:
    version, stage = published(tmp_path), Watched()
    held = fetch_version(1, version, ToySource(), cache, stage)
    assert contents(held.path) == contents(origin_of(version))
    assert stage.told == [5, 1005, 2005, 3005]
    assert version.files is not None
    assert stage.told[-1] == version.files.size_bytes
    held.close()
    again = Watched()
    fetch_version(1, version, ToySource(), cache, again).close()
    assert again.told == []
    assert names(tmp_path, ".partial") == []


def test_another_revision_is_another_version(cache: Cache, tmp_path: Path) -> None:
    fetch_version(1, published(tmp_path), ToySource(), cache, Watched()).close()
    for revision in ("a", "b"):
        stage = Watched()
        fetch_version(1, published(tmp_path, revision=revision), ToySource(), cache, stage).close()
        assert stage.told


def test_a_fetch_that_is_cancelled_or_fails_leaves_nothing_to_load_and_goes_on_later(
    cache: Cache, tmp_path: Path
) -> None:
    version = published(tmp_path)
    with pytest.raises(Cancelled):
        fetch_version(1, version, ToySource(), cache, Watched(stop_after=1005))
    (origin_of(version).parent / "behaviour.json").write_text('{"fails": true}')
    with pytest.raises(Unavailable):
        fetch_version(1, version, ToySource(), cache, Watched())
    assert names(tmp_path, ".entry") == []
    (origin_of(version).parent / "behaviour.json").unlink()
    stage = Watched()
    held = fetch_version(1, version, ToySource(), cache, stage)
    assert stage.told == [3005]  # the rest alone
    assert contents(held.path) == contents(origin_of(version))
    held.close()


class Forgetful(ToySource):
    """Begins anew."""

    can_resume = False


def test_who_cannot_resume_begins_with_an_empty_directory(cache: Cache, tmp_path: Path) -> None:
    version = published(tmp_path)
    with pytest.raises(Cancelled):
        fetch_version(1, version, Forgetful(), cache, Watched(stop_after=1005))
    assert names(tmp_path, ".partial") == []
    held = fetch_version(1, version, Forgetful(), cache, Watched())
    assert contents(held.path) == contents(origin_of(version))
    held.close()


class Making:
    """Makes what it is told to."""

    can_resume = False

    def __init__(self, make: Callable[[Path], object]) -> None:
        self._make = make

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        self._make(into)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda into: (into / "a").symlink_to("/etc/passwd"), "a in it is a link"),
        (lambda into: (into / "a").symlink_to("saved_model.pb"), "a in it is a link"),
        (lambda into: (into / "d").symlink_to("/etc"), "d in it is a link"),
        (lambda into: os.mkfifo(into / "pipe"), "pipe in it is no regular file"),
    ],
)
def test_what_is_no_file_is_refused(
    cache: Cache, tmp_path: Path, make: Callable[[Path], object], what: str
) -> None:
    with pytest.raises(InvalidArgument, match=what):
        fetch_version(1, Version("odd://m/1"), Making(make), cache, Watched())
    assert names(tmp_path, ".entry") == names(tmp_path, ".partial") == []


@pytest.mark.parametrize("location", ["odd://../../etc/1", "odd://m/1\n", "odd://" + "x" * 5000])
def test_a_location_names_no_place_on_this_machine(
    cache: Cache, tmp_path: Path, location: str
) -> None:
    held = fetch_version(1, Version(location), Making(lambda _into: None), cache, Watched())
    assert held.path.parent.parent == tmp_path / "cache"
    assert held.path.name == "1"
    held.close()


def test_an_error_of_the_system_is_told_as_ours(cache: Cache) -> None:
    def fail(into: Path) -> None:
        (into / "absent").read_bytes()

    with pytest.raises(NotFound, match="absent; No such file or directory"):
        fetch_version(1, Version("odd://m/1"), Making(fail), cache, Watched())


def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", max_bytes=100)
    large = Version("odd://m/1", Footprint(1, 101, 0, 0))

    def must_not(into: Path) -> None:
        raise AssertionError(into)

    with pytest.raises(ResourceExhausted, match="No room for 101 bytes"):
        fetch_version(1, large, Making(must_not), cache, Watched())


def test_several_that_want_a_version_fetch_it_once(cache: Cache, tmp_path: Path) -> None:
    version = published(tmp_path)
    stages = [Watched() for _ in range(4)]

    def fetch(stage: Watched) -> None:
        fetch_version(1, version, ToySource(), cache, stage).close()

    threads = [threading.Thread(target=fetch, args=(stage,)) for stage in stages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sum(bool(stage.told) for stage in stages) == 1


def test_what_a_killed_process_has_fetched_by_half_is_never_used_and_gone_on_from(
    cache: Cache, tmp_path: Path
) -> None:
    version = published(tmp_path, chunks=50)
    (origin_of(version).parent / "behaviour.json").write_text('{"hangs": true}')
    program = (
        "import sys; from pathlib import Path;"
        "from tests.unit.sources.test_fetching import *;"
        f"fetch_version(1, Version({version.location!r}, {version.files!r}), ToySource(),"
        f" Cache({str(tmp_path / 'cache')!r}), Watched())"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    child = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        pause, until_s = threading.Event(), time.monotonic() + WAIT_S
        while not any(p.stat().st_size for p in (tmp_path / "cache").rglob("saved_model.pb")):
            assert child.poll() is None
            assert time.monotonic() < until_s
            pause.wait(0.02)
        cache.sweep()
        assert len(names(tmp_path, ".partial")) == 1  # which is in use
    finally:
        child.kill()
        child.wait(WAIT_S)
    assert names(tmp_path, ".entry") == []
    cache.sweep()
    (partial,) = names(tmp_path, ".partial")
    left = sum(len(content) for content in contents(tmp_path / "cache" / partial / "made").values())
    assert left
    (origin_of(version).parent / "behaviour.json").unlink()
    stage = Watched()
    held = fetch_version(1, version, ToySource(), cache, stage)
    assert contents(held.path) == contents(origin_of(version))
    assert stage.told[0] > left
    held.close()
    assert names(tmp_path, ".partial") == []


def test_what_was_fetched_whole_and_not_yet_written_through_is_not_fetched_again(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_directory: Path) -> None:
        raise KeyboardInterrupt

    version = published(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("salver.instruments.cache._write_through", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch_version(1, version, ToySource(), cache, Watched())
    stage = Watched()
    held = fetch_version(1, version, ToySource(), cache, stage)
    assert stage.told == []
    assert contents(held.path) == contents(origin_of(version))
    held.close()


def test_what_was_left_whole_is_compared_with_the_sums_that_are_demanded_now(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_directory: Path) -> None:
        raise KeyboardInterrupt

    version = published(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("salver.instruments.cache._write_through", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch_version(1, version, ToySource(), cache, Watched())
    with pytest.raises(FailedPrecondition, match="has no SHA256SUMS"):
        fetch_version(1, version, ToySource(), cache, Watched(), Verification(is_required=True))


class Dirty(ToySource):
    """Brings a file by which the sums do not fit, until it is mended."""

    is_dirty = True

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        super().fetch(version, into, stage)
        if self.is_dirty:
            (into / "saved_model.pb").write_bytes(b"dirty")


def test_what_does_not_fit_its_sums_is_not_kept_and_no_later_fetch_goes_on_from_it(
    cache: Cache, tmp_path: Path
) -> None:
    version, fetcher = published(tmp_path), Dirty()
    (origin_of(version) / "SHA256SUMS").write_bytes(make_manifest(origin_of(version)))
    with pytest.raises(DataLoss) as caught:
        fetch_version(1, version, fetcher, cache, Watched())
    assert caught.value.is_final
    assert names(tmp_path, ".entry") == []
    fetcher.is_dirty = False
    fetch_version(1, version, fetcher, cache, Watched()).close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "saved_model.pb").write_bytes(b""),
        lambda path: (path / "variables" / "data").unlink(),
        lambda path: (path / "more").touch(),
    ],
)
def test_what_is_damaged_in_the_cache_is_fetched_anew(
    cache: Cache, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    version = published(tmp_path)
    held = fetch_version(1, version, ToySource(), cache, Watched())
    held.close()
    damage(held.path)
    stage = Watched()
    again = fetch_version(1, version, ToySource(), cache, stage)
    assert stage.told
    assert contents(again.path) == contents(origin_of(version))
    damage(again.path)
    with pytest.raises(DataLoss):  # it is in use, and so neither removed nor given out
        fetch_version(1, version, ToySource(), cache, Watched())
    again.close()


def test_the_cache_remembers_where_a_version_came_from(cache: Cache, tmp_path: Path) -> None:
    version = published(tmp_path, revision="etag-1")
    held = fetch_version(1, version, ToySource(), cache, Watched())
    record = read_record(held.path.parent)
    assert record is not None
    assert (record.number, record.version) == (1, version)
    assert record.sizes == {"saved_model.pb": 5, "variables/data": 3000}
    assert record.size_bytes == 3005
    held.close()
    (held.path.parent / "version.json").write_text("{")
    assert read_record(held.path.parent) is None
    again = fetch_version(1, version, ToySource(), cache, Watched())  # as of earlier releases
    again.close()


class Full(ToySource):
    """Comes upon a disk that is full."""

    number = errno.ENOSPC

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        raise OSError(self.number, os.strerror(self.number))


def test_a_full_disk_is_an_error_that_names_the_cache_and_the_version(
    cache: Cache, tmp_path: Path
) -> None:
    fetcher = Full()
    for fetcher.number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(ResourceExhausted, match="is full: no room for toy://") as caught:
            fetch_version(1, published(tmp_path), fetcher, cache, Watched())
        assert str(cache.directory) in caught.value.message
        assert "--model_cache=PATH" in (caught.value.hint or "")


FETCHES_INTO_LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
from salver.errors import ServingError
from salver.instruments.cache import Cache
from salver.sources.fetching import fetch_version
from salver.sources.protocol import Version
from tests.toy_source import ToySource
from tests.unit.sources.test_fetching import Watched

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    fetch_version(1, Version(sys.argv[1]), ToySource(), Cache(sys.argv[2]), Watched())
except ServingError as error:
    print(error.status)
"""


def test_a_file_that_cannot_grow_fails_its_fetch_alone_and_leaves_no_entry(
    cache: Cache, tmp_path: Path
) -> None:
    version = published(tmp_path, chunks=20)
    done = subprocess.run(
        [sys.executable, "-c", FETCHES_INTO_LITTLE_ROOM, version.location, str(cache.directory)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])},
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    assert done.stdout == f"OUT_OF_RANGE: {version.location}; File too large\n"
    assert not any(entry.is_whole for entry in cache.entries())
    fetch_version(1, version, ToySource(), cache, Watched()).close()


def test_a_disk_that_is_full_in_the_middle_of_a_fetch_fails_it_alone(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    try:
        cache = Cache(disk / "cache")
        small, large = Version(published(tmp_path).location), published(tmp_path / "b", chunks=100)
        fetch_version(1, small, ToySource(), cache, Watched()).close()
        with pytest.raises(ResourceExhausted, match="is full: no room for toy://"):
            fetch_version(1, Version(large.location), ToySource(), cache, Watched())
        cache.sweep()
        again = Watched()
        fetch_version(1, small, ToySource(), cache, again).close()
        assert again.told == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
